"""No response exceeds 3 MiB, however much a store holds: generated clients refuse messages over 4 MiB by default."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import grpc
import memgpt.agent.v1
import memgpt.common.v1
import memgpt.loader.v1
import memgpt.memory.v1
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from memgpt.common.v1 import permission_pb2
from memgpt.tool.v1.tool_service_pb2 import Tool

from tests.support.scripted_tool import ScriptedTool
from tests.support.suite import Suite

LIMIT = 3 << 20
PACKAGES = {"agent": memgpt.agent.v1, "loader": memgpt.loader.v1, "memory": memgpt.memory.v1}
WIDE = "\U0001d54f"
"""A character of four bytes."""

LONG_TAGS = [f"{number:02}{WIDE * 62}" for number in range(32)]
FILES = [{"name": f"{number:05}{'n' * 195}", "size": 1, "sha256": "0" * 64} for number in range(10_000)]

REQUESTS: Mapping[str, Mapping[str, Any]] = {
    "AgentService.GetAgent": {"agentId": "{agent}"},
    "AgentService.ListAgents": {},
    "AgentService.UpdateAgent": {"agent": {"agentId": "{agent}", "description": "new"}, "updateMask": "description"},
    "AgentService.ExportAgent": {"agentId": "{agent}"},
    "AgentService.SendMessage": {"agentId": "{agent}", "text": "Hello."},
    "AgentService.ListTurns": {"agentId": "{agent}"},
    "AgentService.AttachSource": {"agentId": "{agent}", "sourceId": "{source}"},
    "AgentService.DetachSource": {"agentId": "{agent}", "sourceId": "{source}"},
    "AgentService.ListSources": {},
    "AgentService.GetContext": {"agentId": "{agent}"},
    "AgentService.Summarize": {"agentId": "{agent}"},
    "AgentService.Retry": {"agentId": "{agent}"},
    "AgentService.ListProfiles": {"kind": "PROFILE_KIND_PERSONA"},
    "AgentService.ListHeartbeats": {"agentId": "{agent}"},
    "AgentService.RegisterTools": {"agentId": "{caller}", "address": "{tools}"},
    "AgentService.ListTools": {"agentId": "{caller}"},
    "LoaderService.CreateLoad": {"sourceName": "large", "files": FILES, "requestId": "large"},
    "LoaderService.GetLoad": {"loadId": "{load}"},
    "LoaderService.ListLoads": {},
    "LoaderService.CancelLoad": {"loadId": "{load}"},
    "LoaderService.WatchLoad": {"loadId": "{load}"},
    "LoaderService.ListFormats": {},
    "ApiKeyService.ListApiKeys": {},
    "ArchivalMemoryService.SearchPassages": {"scope": {"agentId": "{agent}"}, "query": "word"},
    "ArchivalMemoryService.InsertPassages": {"agentId": "{agent}", "texts": ["word " * 100_000], "tags": LONG_TAGS},
    "ArchivalMemoryService.ListPassages": {"scope": {"agentId": "{agent}"}},
    "ArchivalMemoryService.GetPassages": {"scope": {"agentId": "{agent}"}, "passageIds": "{passages}"},
    "QuotaService.GetUsage": {},
    "RecallMemoryService.SearchMessages": {"agentId": "{agent}", "query": "word", "neighbors": 2},
    "RecallMemoryService.ListMessages": {"agentId": "{agent}"},
    "SharedBlockService.ListSharedBlocks": {},
    "SharedBlockService.ListBlockAgents": {"blockId": "{block}"},
    "SourceService.ListSources": {},
    "SourceService.ListFiles": {"sourceId": "{source}"},
    "TenantService.ListTenants": {},
    "UserDataService.ExportUser": {"userId": "ada"},
}
"""A request for each RPC whose response could be large; ``{name}`` is a value of the store."""

LARGER_THAN_A_PAGE = {
    "AgentService.ListAgents",
    "AgentService.ListProfiles",
    "AgentService.ListSources",
    "ArchivalMemoryService.ListPassages",
    "ArchivalMemoryService.SearchPassages",
    "LoaderService.ListLoads",
    "RecallMemoryService.ListMessages",
    "RecallMemoryService.SearchMessages",
    "SharedBlockService.ListSharedBlocks",
    "SourceService.ListSources",
}
"""Lists whose content in the store does not fit into one page."""

BOUNDED = {
    "AgentService.CreateAgent": "one agent, as in GetAgent",
    "AgentService.ImportAgent": "one agent, as in GetAgent",
    "LoaderService.UploadFile": "one file with at most 21 notes of 400 characters",
    "ApiKeyService.CreateApiKey": "one key, which names at most 100 agents and 100 sources",
    "ApiKeyService.GetApiKey": "one key",
    "ApiKeyService.RotateApiKey": "one key",
    "ApiKeyService.RevokeApiKey": "one key",
    "IdentityService.WhoAmI": "one caller, as one key",
}
"""RPCs with lists in their responses that have a maximum, and why."""


def has_list(message: Descriptor) -> bool:
    """Return whether a message contains a list at any depth."""
    return any(
        each.is_repeated
        or (each.message_type and not each.message_type.full_name.startswith("google.") and has_list(each.message_type))
        for each in message.fields
    )


def services(package: ModuleType) -> Iterator[MethodDescriptor]:
    """Yield the methods of a package that callers may call."""
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.endswith("_service_pb2"):
            for service in importlib.import_module(
                f"{package.__name__}.{module.name}"
            ).DESCRIPTOR.services_by_name.values():
                yield from (
                    method
                    for method in service.methods
                    if method.GetOptions().Extensions[permission_pb2.permission] != permission_pb2.PERMISSION_INTERNAL
                )


METHODS = {
    f"{method.containing_service.name}.{method.name}": (place, method)
    for place, package in (*PACKAGES.items(), ("agent", memgpt.common.v1))
    for method in services(package)
}


def test_every_response_with_a_list_is_measured() -> None:
    """An RPC whose response could be large is called below, or has a reason why it cannot be."""
    lists = {name for name, (_, method) in METHODS.items() if has_list(method.output_type)}
    assert lists - REQUESTS.keys() - BOUNDED.keys() == set()
    assert (REQUESTS.keys() | BOUNDED.keys()) <= METHODS.keys()


@dataclass
class Store:
    """A suite that holds large things, and the values that requests name."""

    channels: Mapping[str, grpc.Channel]
    values: dict[str, Any] = field(default_factory=dict)

    def call(self, name: str, request: Mapping[str, Any]) -> Sequence[Message]:
        """Call an RPC with a request as JSON, and return its responses."""
        place, method = METHODS[name]
        path = f"/{method.containing_service.full_name}/{method.name}"
        message = json_format.ParseDict(dict(request), GetMessageClass(method.input_type)())
        serialize = GetMessageClass(method.input_type).SerializeToString
        parse = GetMessageClass(method.output_type).FromString
        channel = self.channels[place]
        if method.server_streaming:
            return list(channel.unary_stream(path, serialize, parse)(message, timeout=300))
        return [channel.unary_unary(path, serialize, parse)(message, timeout=300)]

    def one(self, name: str, /, **request: Any) -> Any:
        """Call a unary RPC."""
        (response,) = self.call(name, request)
        return response

    def filled(self, name: str) -> dict[str, Any]:
        """Return the request of an RPC with the values of the store."""
        request = json.loads(json.dumps(REQUESTS[name]), object_hook=self._fill)
        if "page_size" in METHODS[name][1].input_type.fields_by_name:
            request["pageSize"] = 1_000
        return dict(request)

    def _fill(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {
            key: self.values[value[1:-1]] if isinstance(value, str) and value[:1] == "{" else value
            for key, value in fields.items()
        }


def fill(store: Store, tools: Sequence[str]) -> None:
    """Fill a store so that every list, and every large thing, exceeds a response."""
    agent = store.one(
        "AgentService.CreateAgent",
        name="large",
        contextWindow=10_000_000,
        userId="ada",
        blocks=[{"label": f"block{number}", "value": WIDE * 20_000, "limit": 20_000} for number in range(30)],
    ).agent
    store.values |= {"agent": agent.agent_id, "tools": tools[0]}
    for _ in range(16):
        store.call("AgentService.SendMessage", {"agentId": agent.agent_id, "text": "word " * 50_000})
    passages: list[str] = []
    for _ in range(5):
        notes = {"agentId": agent.agent_id, "texts": ["word"] * 200, "tags": LONG_TAGS}
        passages += [each.passage_id for each in store.one("ArchivalMemoryService.InsertPassages", **notes).passages]
    store.values["passages"] = passages
    for number in range(15):
        created = store.one("AgentService.CreateAgent", name=f"agent {number}", system=WIDE * 65_536)
    store.values["caller"] = created.agent.agent_id
    for address in tools:
        store.one("AgentService.RegisterTools", agentId=created.agent.agent_id, address=address)
    for number in range(15):
        store.one("AgentService.PutProfile", kind="PROFILE_KIND_PERSONA", name=f"p{number}", text=WIDE * 65_536)
    for number in range(40):
        block = store.one("SharedBlockService.CreateSharedBlock", name=f"b{number}", value=WIDE * 20_000, limit=20_000)
    store.values["block"] = block.block.block_id
    for number in range(400):
        load = store.one(
            "LoaderService.CreateLoad",
            sourceName=f"source {number}",
            description=WIDE * 4_000,
            files=FILES[:1],
            tags={"tags": LONG_TAGS},
        ).load
    store.values["source"] = load.source_id
    store.values["load"] = store.one("LoaderService.CreateLoad", **REQUESTS["LoaderService.CreateLoad"]).load.load_id


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    schema = json.dumps({"type": "object", "properties": {"x": {"type": "string", "description": "d" * 14_000}}})
    functions = [Tool(name=f"f{number}", description=WIDE * 4_096, parameters=schema) for number in range(100)]
    unlimited = (("grpc.max_receive_message_length", -1),)
    with ExitStack() as stack:
        tools = [stack.enter_context(ScriptedTool({}, functions[first : first + 20])) for first in range(0, 100, 20)]
        suite = stack.enter_context(Suite(tmp_path_factory.mktemp("sizes"), MEMGPT_AGENT_TOOL_ADDRESSES="127.0.0.1:*"))
        addresses = {"agent": suite.agent_address, "loader": suite.loader_address, "memory": suite.memory_address}
        filled = Store(
            {
                place: stack.enter_context(grpc.insecure_channel(address, options=unlimited))
                for place, address in addresses.items()
            }
        )
        fill(filled, [tool.address for tool in tools])
        yield filled


def pages(store: Store, name: str) -> Iterator[Any]:
    """Yield the responses of an RPC, all pages of a list."""
    request = store.filled(name)
    while True:
        responses = store.call(name, request)
        yield from responses
        token = getattr(responses[-1], "next_page_token", "")
        if not token:
            return
        request["pageToken"] = token


@pytest.mark.timeout(1200)
def test_responses_fit(store: Store) -> None:
    """Every RPC whose response could be large is called on a store full of large things."""
    order = sorted(REQUESTS, key=lambda name: name in ("LoaderService.CancelLoad", "LoaderService.WatchLoad"))
    sizes = {name: [response.ByteSize() for response in pages(store, name)] for name in order}
    assert {name: max(found) for name, found in sizes.items() if max(found, default=0) > LIMIT} == {}
    assert {name for name, found in sizes.items() if len(found) > 1} >= LARGER_THAN_A_PAGE


def test_context_has_the_newest_messages(store: Store) -> None:
    context = store.one("AgentService.GetContext", agentId=store.values["agent"])
    every = [message for page in pages(store, "RecallMemoryService.ListMessages") for message in page.messages]
    current = sorted(message.sequence for message in every if not message.HasField("rewind"))
    shown = [each.message.sequence for each in context.messages]
    assert shown
    assert shown == current[-len(shown) :]
    assert context.omitted_message_count > 0
    assert len(context.blocks) == 32
    assert all(block.value for block in context.blocks)


def test_passages_beyond_a_response_have_only_their_id(store: Store) -> None:
    request = store.filled("ArchivalMemoryService.GetPassages")
    found = store.one("ArchivalMemoryService.GetPassages", **request).passages
    assert [passage.passage_id for passage in found] == request["passageIds"]
    whole = [bool(passage.text) for passage in found]
    assert whole == sorted(whole, reverse=True)
    assert len(set(whole)) == 2
