"""What a tenant has of every kind, for tests of isolation: things that others may know of, and secret ones."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.agent.v1.heartbeat_pb2 import Heartbeat
from memgpt.loader.v1 import loader_service_pb2 as loader_pb
from memgpt.loader.v1.load_pb2 import FileManifest
from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceStub
from memgpt.memory.v1 import api_key_service_pb2 as keys_pb
from memgpt.memory.v1 import archival_memory_service_pb2 as archive_pb
from memgpt.memory.v1 import quota_service_pb2 as quota_pb
from memgpt.memory.v1 import recall_memory_service_pb2 as recall_pb
from memgpt.memory.v1 import shared_block_service_pb2 as shared_pb
from memgpt.memory.v1 import source_service_pb2 as source_pb
from memgpt.memory.v1.archival_memory_service_pb2_grpc import ArchivalMemoryServiceStub
from memgpt.memory.v1.block_pb2 import BlockEdit
from memgpt.memory.v1.profile_pb2 import PROFILE_KIND_PERSONA
from memgpt.memory.v1.quota_service_pb2_grpc import QuotaServiceStub
from memgpt.memory.v1.recall_memory_service_pb2_grpc import RecallMemoryServiceStub
from memgpt.memory.v1.shared_block_service_pb2_grpc import SharedBlockServiceStub
from memgpt.memory.v1.source_service_pb2_grpc import SourceServiceStub

from tests.support.credentials import GuardedSuite, Metadata


@dataclass(frozen=True)
class Contents:
    """What a tenant has.

    Attributes:
        known: Ids, names and tokens that others may know, each with the name of the field that takes it.
        secrets: What others never know, so that it must not appear in their responses.
    """

    known: Sequence[tuple[str, str]]
    secrets: Sequence[bytes]


class _Stubs:
    """The stubs of a suite, all calls with the same credential."""

    def __init__(self, suite: GuardedSuite, metadata: Metadata) -> None:
        memory = suite.channel("memory")
        self._metadata = metadata
        self._stubs: dict[str, Any] = {
            "agents": AgentServiceStub(suite.channel("agent")),
            "loader": LoaderServiceStub(suite.channel("loader")),
            "archive": ArchivalMemoryServiceStub(memory),
            "recall": RecallMemoryServiceStub(memory),
            "shared": SharedBlockServiceStub(memory),
            "sources": SourceServiceStub(memory),
            "quotas": QuotaServiceStub(memory),
        }

    def __call__(self, stub: str, method: str, request: Any) -> Any:
        return getattr(self._stubs[stub], method)(request, metadata=self._metadata, timeout=60)


def fill(suite: GuardedSuite, tenant: str, metadata: Metadata) -> Contents:
    """Create two things of every kind in a tenant: one that others may know, and one that is secret."""
    call, word = _Stubs(suite, metadata), f"vault{secrets.token_hex(8)}"
    known = [*_create(call, f"known-{tenant}", word), ("tenant", tenant)]
    hidden = [value for _, value in _create(call, f"hidden-{secrets.token_hex(8)}", word)]
    taken = _load(call, f"taken-{tenant}", f"Another document about the {word}.".encode())
    known += [("load_id of its caller", taken.load_id), ("request_id of its caller", f"load-taken-{tenant}")]
    # The second page follows the thing that others know.
    for stub, method, request in (
        ("agents", "ListAgents", agent_pb.ListAgentsRequest(page_size=1)),
        ("agents", "ListSources", agent_pb.ListSourcesRequest(page_size=1)),
        ("loader", "ListLoads", loader_pb.ListLoadsRequest(page_size=1)),
        ("shared", "ListSharedBlocks", shared_pb.ListSharedBlocksRequest(page_size=1)),
    ):
        known.append(("page_token", call(stub, method, request).next_page_token))
    return Contents(known, [word.encode(), *(value.encode() for value in hidden)])


def _create(call: _Stubs, name: str, word: str) -> Iterator[tuple[str, str]]:
    """Create a thing of every kind with a name; all texts have the word."""
    description = f"About {word}."
    profile = agent_pb.PutProfileRequest(kind=PROFILE_KIND_PERSONA, name=name, text=f"I am {word}.")
    call("agents", "PutProfile", profile)
    blocks = [BlockEdit(label="notes", value=f"The {word} is mine.")]
    agent = call(
        "agents",
        "CreateAgent",
        agent_pb.CreateAgentRequest(
            name=name,
            persona=name,
            description=description,
            blocks=blocks,
            user_id=f"user-{name}",
            tags=[f"tag-{name}"],
        ),
    ).agent
    yield from (("agent_id", agent.agent_id), ("name", name), ("user_id", f"user-{name}"), ("tags", f"tag-{name}"))
    request_id = f"request-{name}"
    turn = agent_pb.SendMessageRequest(agent_id=agent.agent_id, text=f"Keep the {word}.", request_id=request_id)
    list(call("agents", "SendMessage", turn))
    yield "request_id", request_id
    later = Timestamp(seconds=agent.create_time.seconds + 300 * 24 * 3600)
    beat = Heartbeat(at=later, reason=f"Look after the {word}.")
    call("agents", "SetHeartbeat", agent_pb.SetHeartbeatRequest(agent_id=agent.agent_id, heartbeat=beat))
    note = archive_pb.InsertPassagesRequest(agent_id=agent.agent_id, texts=[f"A note on the {word}."])
    yield "passage_id", call("archive", "InsertPassages", note).passages[0].passage_id
    shared = shared_pb.CreateSharedBlockRequest(name=name, value=f"We share the {word}.", description=description)
    block_id = call("shared", "CreateSharedBlock", shared).block.block_id
    call(
        "shared", "AttachBlock", shared_pb.AttachBlockRequest(agent_id=agent.agent_id, block_id=block_id, label="ours")
    )
    yield "block_id", block_id
    load = _load(call, name, f"A document about the {word}.".encode())
    yield from (("load_id", load.load_id), ("source_id", load.source_id))
    call("agents", "AttachSource", agent_pb.AttachSourceRequest(agent_id=agent.agent_id, source_id=load.source_id))


def _load(call: _Stubs, name: str, data: bytes) -> Any:
    manifest = FileManifest(name=f"{name}.txt", size=len(data), sha256=hashlib.sha256(data).hexdigest())
    wanted = loader_pb.CreateLoadRequest(source_name=name, files=[manifest], request_id=f"load-{name}")
    load = call("loader", "CreateLoad", wanted).load
    header = loader_pb.UploadFileRequest.Header(load_id=load.load_id, name=manifest.name)
    pieces = [loader_pb.UploadFileRequest(header=header), loader_pb.UploadFileRequest(chunk=data)]
    call("loader", "UploadFile", iter(pieces))
    for event in call("loader", "WatchLoad", loader_pb.WatchLoadRequest(load_id=load.load_id)):
        if event.HasField("ended"):
            return event.ended
    raise AssertionError("the load has not ended")


def snapshot(suite: GuardedSuite, metadata: Metadata) -> dict[str, bytes]:
    """Return everything that a tenant has, as its admin sees it, by what it is."""
    call = _Stubs(suite, metadata)
    found: dict[str, Any] = {}
    agents = call("agents", "ListAgents", agent_pb.ListAgentsRequest()).agents
    found["agents"] = agents
    for agent in agents:
        id_ = agent.agent_id
        exported = call("agents", "ExportAgent", agent_pb.ExportAgentRequest(agent_id=id_))
        found[f"export {id_}"] = [one.piece for one in exported if not one.piece.HasField("header")]
        found[f"turns {id_}"] = call("agents", "ListTurns", agent_pb.ListTurnsRequest(agent_id=id_)).turns
        found[f"context {id_}"] = [call("agents", "GetContext", agent_pb.GetContextRequest(agent_id=id_))]
        found[f"heartbeats {id_}"] = [call("agents", "ListHeartbeats", agent_pb.ListHeartbeatsRequest(agent_id=id_))]
        found[f"tools {id_}"] = [call("agents", "ListTools", agent_pb.ListToolsRequest(agent_id=id_))]
        scope = archive_pb.PassageScope(agent_id=id_)
        found[f"notes {id_}"] = call("archive", "ListPassages", archive_pb.ListPassagesRequest(scope=scope)).passages
        found[f"messages {id_}"] = call("recall", "ListMessages", recall_pb.ListMessagesRequest(agent_id=id_)).messages
    sources = call("agents", "ListSources", agent_pb.ListSourcesRequest()).sources
    found["sources"] = sources
    for source in sources:
        request = source_pb.ListFilesRequest(source_id=source.source_id)
        found[f"files {source.source_id}"] = call("sources", "ListFiles", request).files
    found["loads"] = call("loader", "ListLoads", loader_pb.ListLoadsRequest()).loads
    found["shared blocks"] = call("shared", "ListSharedBlocks", shared_pb.ListSharedBlocksRequest()).blocks
    found["profiles"] = call("agents", "ListProfiles", agent_pb.ListProfilesRequest(kind=PROFILE_KIND_PERSONA)).profiles
    keys = suite.keys.ListApiKeys(keys_pb.ListApiKeysRequest(), metadata=metadata).api_keys
    for key in keys:
        key.ClearField("last_use_time")
    found["keys"] = keys
    usage = call("quotas", "GetUsage", quota_pb.GetUsageRequest())
    for field in ("searches_left", "turns_left", "loaded_bytes_left"):
        usage.usage.ClearField(field)
    found["usage"] = [usage]
    return {what: _bytes(messages) for what, messages in found.items()}


def _bytes(messages: Sequence[Message]) -> bytes:
    return b"\n".join(message.SerializeToString(deterministic=True) for message in messages)
