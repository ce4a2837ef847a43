"""A client of Memory for tests: the generated stubs over a real socket, with shorthands for frequent operations."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from memgpt.memory.v1 import (
    agent_pb2,
    agent_state_service_pb2,
    agent_state_service_pb2_grpc,
    api_key_service_pb2_grpc,
    archival_memory_service_pb2,
    archival_memory_service_pb2_grpc,
    block_service_pb2_grpc,
    context_pb2,
    message_pb2,
    passage_pb2,
    profile_service_pb2_grpc,
    quota_service_pb2_grpc,
    recall_memory_service_pb2_grpc,
    shared_block_service_pb2_grpc,
    source_pb2,
    source_service_pb2,
    source_service_pb2_grpc,
    store_service_pb2_grpc,
    turn_pb2,
    user_data_service_pb2_grpc,
)
from memgpt_memory.core import Core

from tests.support.processes import open_channel

COMPLETED = turn_pb2.TurnOutcome(state=turn_pb2.TURN_STATE_COMPLETED)


class _Stub:
    """A generated stub whose every call carries the tenant."""

    def __init__(self, stub: Any, tenant: str) -> None:
        self._stub = stub
        self._metadata = (("x-memgpt-principal", f"tenant={tenant}"),)

    def __getattr__(self, name: str) -> Any:
        return partial(getattr(self._stub, name), metadata=self._metadata, timeout=120)


class Memory:
    """A client on behalf of one tenant.

    Attributes:
        agents, archive, blocks, profiles, quotas, recall, shared, sources, store, users: The stubs.
        address: The server's.
        core: Answers the parts of a server within the test's own process, to make its store fail.
    """

    core: Callable[[], Core]

    def __init__(self, channel: grpc.aio.Channel, tenant: str, address: str) -> None:
        self.channel = channel
        self.address = address
        self.tenant = tenant
        self.agents = _Stub(agent_state_service_pb2_grpc.AgentStateServiceStub(channel), tenant)
        self.archive = _Stub(archival_memory_service_pb2_grpc.ArchivalMemoryServiceStub(channel), tenant)
        self.blocks = _Stub(block_service_pb2_grpc.BlockServiceStub(channel), tenant)
        self.keys = _Stub(api_key_service_pb2_grpc.ApiKeyServiceStub(channel), tenant)
        self.profiles = _Stub(profile_service_pb2_grpc.ProfileServiceStub(channel), tenant)
        self.quotas = _Stub(quota_service_pb2_grpc.QuotaServiceStub(channel), tenant)
        self.recall = _Stub(recall_memory_service_pb2_grpc.RecallMemoryServiceStub(channel), tenant)
        self.shared = _Stub(shared_block_service_pb2_grpc.SharedBlockServiceStub(channel), tenant)
        self.sources = _Stub(source_service_pb2_grpc.SourceServiceStub(channel), tenant)
        self.users = _Stub(user_data_service_pb2_grpc.UserDataServiceStub(channel), tenant)
        self.store = _Stub(store_service_pb2_grpc.StoreServiceStub(channel), tenant)

    def of(self, tenant: str) -> Memory:
        """The same server, for another tenant."""
        return Memory(self.channel, tenant, self.address)

    async def agent(self, name: str = "", **fields: Any) -> agent_pb2.Agent:
        request = agent_state_service_pb2.CreateAgentRequest(name=name or f"agent {uuid4().hex}", **fields)
        return (await self.agents.CreateAgent(request)).agent  # type: ignore[no-any-return]

    async def listed(self) -> list[agent_pb2.Agent]:
        """The agents; no more than a page of them."""
        request = agent_state_service_pb2.ListAgentsRequest(page_size=1000)
        return list((await self.agents.ListAgents(request)).agents)

    async def insert(self, agent_id: str, *texts: str, tags: Sequence[str] = (), request_id: str = "") -> list[str]:
        """Store notes and return their ids."""
        ids: list[str] = []
        for start in range(0, len(texts), 256):
            request = archival_memory_service_pb2.InsertPassagesRequest(
                agent_id=agent_id, texts=texts[start : start + 256], tags=tags, request_id=request_id
            )
            ids += [passage.passage_id for passage in (await self.archive.InsertPassages(request)).passages]
        return ids

    async def delete(self, agent_id: str, *ids: str) -> int:
        request = archival_memory_service_pb2.DeletePassagesRequest(agent_id=agent_id, passage_ids=ids)
        return (await self.archive.DeletePassages(request)).deleted_count  # type: ignore[no-any-return]

    async def source(self, name: str = "", **fields: Any) -> source_pb2.Source:
        request = source_service_pb2.CreateSourceRequest(name=name or f"source {uuid4().hex}", **fields)
        return (await self.sources.CreateSource(request)).source  # type: ignore[no-any-return]

    async def load(
        self, source_id: str, name: str, texts: Sequence[str], tags: Sequence[str] = ()
    ) -> source_service_pb2.UpsertPassagesResponse:
        """Store a file whose version is derived from its texts."""
        stream = pieces(source_id, name, texts, tags)
        return await self.sources.UpsertPassages(stream)  # type: ignore[no-any-return]

    async def attach(self, agent_id: str, source_id: str) -> agent_pb2.Agent:
        request = source_service_pb2.AttachSourceRequest(agent_id=agent_id, source_id=source_id)
        return (await self.sources.AttachSource(request)).agent  # type: ignore[no-any-return]

    async def detach(self, agent_id: str, source_id: str) -> agent_pb2.Agent:
        request = source_service_pb2.DetachSourceRequest(agent_id=agent_id, source_id=source_id)
        return (await self.sources.DetachSource(request)).agent  # type: ignore[no-any-return]

    async def page(
        self, query: str, *, size: int = 0, token: str = "", agent_id: str = "", source_id: str = "", **fields: Any
    ) -> archival_memory_service_pb2.SearchPassagesResponse:
        scope = {"agent_id": agent_id} if agent_id else {"source_id": source_id}
        # Ranked by similarity by default, which is the same on both backends and has an oracle.
        fields.setdefault("mode", passage_pb2.SEARCH_MODE_DENSE)
        return await self.archive.SearchPassages(  # type: ignore[no-any-return]
            archival_memory_service_pb2.SearchPassagesRequest(
                scope=archival_memory_service_pb2.PassageScope(**scope),
                query=query,
                page_size=size,
                page_token=token,
                **fields,
            )
        )

    async def pages(self, query: str, *, size: int, token: str = "", **where: Any) -> list[passage_pb2.PassageHit]:
        """Return the joined pages from a token on, or from the first."""
        hits: list[passage_pb2.PassageHit] = []
        for _ in range(100_000):
            page = await self.page(query, size=size, token=token, **where)
            assert len(page.hits) <= size
            hits += page.hits
            token = page.next_page_token
            if not token:
                return hits
        raise AssertionError("the pages never end")

    async def texts(self, query: str, **where: Any) -> list[str]:
        """Return the texts of the whole ranking."""
        return [hit.passage.text for hit in await self.pages(query, size=1000, **where)]

    async def begin(
        self, agent_id: str, request_id: str, text: str = "", **fields: Any
    ) -> agent_state_service_pb2.TurnGrant:
        """Request a turn and wait for the grant."""
        async for event in self.begin_events(agent_id, request_id, text, **fields):
            if event.HasField("granted"):
                return event.granted  # type: ignore[no-any-return]
        raise AssertionError("the stream ended without a grant")

    def begin_events(self, agent_id: str, request_id: str, text: str = "", **fields: Any) -> Any:
        return self.agents.BeginTurn(
            agent_state_service_pb2.BeginTurnRequest(
                agent_id=agent_id,
                request_id=request_id,
                input=[user(text)] if text else [],
                fingerprint=hashlib.sha256(text.encode()).digest() if text else b"",
                **fields,
            )
        )

    async def commit(self, agent_id: str, lease: turn_pb2.Lease, step: int, *texts: str, **fields: Any) -> Any:
        """Commit a step whose messages are the model's thoughts."""
        return await self.agents.CommitStep(
            agent_state_service_pb2.CommitStepRequest(
                agent_id=agent_id, lease=lease, step=step, messages=[thought(text) for text in texts], **fields
            )
        )

    async def end(self, agent_id: str, lease: turn_pb2.Lease, outcome: turn_pb2.TurnOutcome = COMPLETED) -> Any:
        return await self.agents.EndTurn(
            agent_state_service_pb2.EndTurnRequest(agent_id=agent_id, lease=lease, outcome=outcome)
        )

    async def turn(self, agent_id: str, *texts: str) -> None:
        """Run a whole turn: its input and one step for each further text."""
        grant = await self.begin(agent_id, uuid4().hex, texts[0])
        for step, text in enumerate(texts[1:], 1):
            await self.commit(agent_id, grant.lease, step, text)
        await self.end(agent_id, grant.lease)

    async def context(self, agent_id: str) -> context_pb2.AgentContext:
        request = agent_state_service_pb2.LoadContextRequest(agent_id=agent_id)
        return (await self.agents.LoadContext(request)).context  # type: ignore[no-any-return]

    async def history(self, agent_id: str, **fields: Any) -> list[message_pb2.Message]:
        """Return every message of an agent, oldest first."""
        from memgpt.memory.v1 import recall_memory_service_pb2 as pb

        found: list[message_pb2.Message] = []
        token = ""
        while True:
            page = await self.recall.ListMessages(
                pb.ListMessagesRequest(agent_id=agent_id, page_size=1000, page_token=token)
            )
            found += page.messages
            token = page.next_page_token
            if not token:
                return found[::-1]


def user(text: str) -> message_pb2.NewMessage:
    return message_pb2.NewMessage(role=message_pb2.ROLE_USER, text=text)


def thought(text: str) -> message_pb2.NewMessage:
    return message_pb2.NewMessage(role=message_pb2.ROLE_ASSISTANT, text=text)


def version(name: str, texts: Sequence[str]) -> source_pb2.FileVersion:
    """Return the version of a file with exactly these texts."""
    data = "\0".join(texts).encode()
    return source_pb2.FileVersion(
        name=name, sha256=hashlib.sha256(data).hexdigest(), size=len(data), media_type="text/plain", chunker_version="1"
    )


def header(
    source_id: str, file: source_pb2.FileVersion, tags: Sequence[str] = ()
) -> source_service_pb2.UpsertPassagesRequest:
    return source_service_pb2.UpsertPassagesRequest(
        header=source_service_pb2.UpsertPassagesRequest.Header(source_id=source_id, version=file, tags=tags)
    )


def batch(texts: Sequence[str], first: int = 0) -> source_service_pb2.UpsertPassagesRequest:
    return source_service_pb2.UpsertPassagesRequest(
        batch=source_service_pb2.UpsertPassagesRequest.Batch(
            passages=[
                source_pb2.NewPassage(index=index, text=text, page=1 + index // 10, start=0, end=len(text))
                for index, text in enumerate(texts, first)
            ]
        )
    )


def finish(passages: int, documents: int = 1) -> source_service_pb2.UpsertPassagesRequest:
    return source_service_pb2.UpsertPassagesRequest(
        finish=source_service_pb2.UpsertPassagesRequest.Finish(document_count=documents, passage_count=passages)
    )


async def pieces(
    source_id: str, name: str, texts: Sequence[str], tags: Sequence[str] = ()
) -> AsyncIterator[source_service_pb2.UpsertPassagesRequest]:
    """Yield the stream of a whole file."""
    yield header(source_id, version(name, texts), tags)
    for start in range(0, len(texts), 1000):
        yield batch(texts[start : start + 1000], start)
    yield finish(len(texts), 1 + (len(texts) - 1) // 10)


@asynccontextmanager
async def connected(address: str, tenant: str = "default") -> AsyncIterator[Memory]:
    """A client of a server."""
    async with open_channel(address) as channel:
        yield Memory(channel, tenant, address)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason in an error's ErrorInfo."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return ""


class refused:  # noqa: N801 - reads like pytest.raises
    """Expects a status, and optionally a reason, from the calls in the context.

    Attributes:
        message: Message of the error.
    """

    message = ""

    def __init__(self, code: grpc.StatusCode, reason: str = "") -> None:
        self._code = code
        self._reason = reason

    def __enter__(self) -> refused:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        __tracebackhide__ = True
        if error is None:
            pytest.fail(f"no error, but {self._code.name} was expected")
        if not isinstance(error, grpc.aio.AioRpcError):
            return False
        self.message = error.details() or ""
        assert error.code() is self._code, f"{error.code()}: {self.message}"
        if self._reason:
            assert reason_of(error) == self._reason
        return True


INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
TAKEN = grpc.StatusCode.ALREADY_EXISTS
ABORTED = grpc.StatusCode.ABORTED
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
