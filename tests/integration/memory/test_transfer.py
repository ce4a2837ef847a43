"""Agents from one store to another, whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.memory.v1 import agent_pb2, block_pb2, message_pb2, tool_pb2
from memgpt.memory.v1 import agent_state_service_pb2 as pb
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece, ExportEnd, ExportHeader, ExportRewind, ExportWindow
from memgpt.memory.v1.heartbeat_pb2 import Heartbeats
from memgpt_memory.maintenance import transfer
from memgpt_memory.rpc import _agent_state as agent_state
from memgpt_memory.store.filters import EVERY_ROW
from memgpt_memory.store.layout import MESSAGES, RECORDS
from memgpt_memory.store.rows import Key, RecordKind
from memgpt_runtime.errors import Reason, Unavailable
from memgpt_runtime.pagination import PAGE_BYTES

from tests.integration.memory.client import (
    INVALID,
    NOT_FOUND,
    PRECONDITION,
    UNAVAILABLE,
    Memory,
    refused,
    user,
)
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import When, failing_upserts
from tests.integration.memory.test_edits import SPOKEN, answer, booted, edit, says, turn, undo


async def exported(memory: Memory, agent_id: str) -> list[AgentPiece]:
    stream = memory.agents.ExportAgent(pb.ExportAgentRequest(agent_id=agent_id))
    return [response.piece async for response in stream]


async def imported(
    memory: Memory, pieces: Iterable[AgentPiece], name: str = "", request_id: str = ""
) -> pb.ImportAgentResponse:
    async def requests() -> AsyncIterator[pb.ImportAgentRequest]:
        request = pb.ImportAgentRequest(name=name, request_id=request_id)
        for piece in pieces:
            request.piece.CopyFrom(piece)
            yield request
            request = pb.ImportAgentRequest()

    return await memory.agents.ImportAgent(requests())  # type: ignore[no-any-return]


def content(pieces: Iterable[AgentPiece]) -> list[AgentPiece]:
    """Pieces without what another store gives anew."""
    kept = []
    for original in pieces:
        piece = AgentPiece()
        piece.CopyFrom(original)
        piece.header.ClearField("export_time") if piece.HasField("header") else None
        parts: list[tuple[Any, tuple[str, ...]]] = [
            (piece.agent, ("agent_id", "create_time", "update_time", "etag", "attachments")),
            (piece.block, ("etag", "update_time")),
            (piece.message, ("message_id", "agent_id")),
            (piece.passage, ("passage_id", "agent_id")),
        ]
        for part, names in parts:
            for name in names:
                if part.ByteSize():
                    part.ClearField(name)
        kept.append(piece)
    return kept


async def full(memory: Memory, name: str) -> str:
    """An agent with something of everything; answers its id."""
    agent = await memory.agent(
        name,
        preset="memgpt_docs",
        persona="p",
        human="h",
        system="Be kind. " * 7_000,
        model="m",
        context_window=9_000,
        time_zone="Europe/Berlin",
        description="Wanders between stores.",
        tags=["travel", "tag ü"],
        blocks=[
            block_pb2.BlockEdit(label="human", value="Ünïcode 漢字", limit=50, description="Who the user is: ü"),
            block_pb2.BlockEdit(label="empty", value=""),
        ],
        messages=[user("boot")],
    )
    agent_id = agent.agent_id
    source = await memory.source("paper")
    await memory.load(source.source_id, "a.txt", ["a document"])
    await memory.attach(agent_id, source.source_id)
    await memory.attach(agent_id, (await memory.source("left behind")).source_id)
    grant = await memory.begin(agent_id, f"request {name}", "hello " + "long " * 60_000)
    call = message_pb2.FunctionCall(call_id="c1", name="send_message", arguments='{"message": "hi"}')
    await memory.agents.CommitStep(
        pb.CommitStepRequest(
            agent_id=agent_id,
            lease=grant.lease,
            step=1,
            messages=[
                message_pb2.NewMessage(
                    role=message_pb2.ROLE_ASSISTANT,
                    text="I think",
                    function_call=call,
                    usage=message_pb2.Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=5),
                ),
                message_pb2.NewMessage(role=message_pb2.ROLE_TOOL, text="ok", call_id="c1"),
            ],
        )
    )
    for step in range(2, 42):
        await memory.commit(agent_id, grant.lease, step, f"thought {step}")
    eviction = pb.Eviction(before_sequence=3, summary="We said hello.")
    await memory.commit(agent_id, grant.lease, 42, "the last", eviction=eviction)
    await memory.end(agent_id, grant.lease)
    ids = await memory.insert(agent_id, *[f"note {n}" for n in range(300)], tags=["travel", "tag ü"])
    await memory.insert(agent_id, "untagged")
    await memory.delete(agent_id, *ids[5:20])
    return agent_id


async def test_an_agent_moves_to_another_store_and_tenant(serve: Serve, milvus_uri: str, tmp_path: Path) -> None:
    async with serve(str(tmp_path / "first.db")) as memory:
        pieces = await exported(memory, await full(memory, "wanderer"))
    kinds = [piece.WhichOneof("piece") for piece in pieces]
    assert kinds == ["header", "agent", "block", "block", "window", *["message"] * 45, *["passage"] * 286, "end"]
    async with serve(milvus_uri) as other:
        memory = other.of("another-tenant")
        source = await memory.source("paper")
        answer = await imported(memory, pieces, request_id="r")
        assert list(answer.missing_source_names) == ["left behind"]
        agent = answer.agent
        assert [each.source_id for each in agent.attachments] == [source.source_id]
        assert (await imported(memory, pieces, request_id="r")).agent == agent
        again = await exported(memory, agent.agent_id)
        assert content(again) == content(pieces)
        hits = await memory.pages("note 77", size=100, agent_id=agent.agent_id)
        assert hits[0].passage.text == "note 77"
        assert len(hits) == 286
        context = await memory.context(agent.agent_id)
        assert (context.summary, context.messages[0].sequence) == ("We said hello.", 3)
        with refused(grpc.StatusCode.ALREADY_EXISTS, "NAME_TAKEN"):
            await imported(memory, pieces)
        await memory.turn(agent.agent_id, "it", "goes on")
        await memory.insert(agent.agent_id, "a new note")
        assert (await imported(memory, pieces, name="twin")).agent.name == "twin"
        with refused(NOT_FOUND):
            await exported(other, agent.agent_id)
    async with serve(milvus_uri) as other:
        memory = other.of("another-tenant")
        assert len(await memory.history(agent.agent_id)) == 47
        assert len(await memory.texts("x", agent_id=agent.agent_id)) == 287


async def test_what_was_taken_back_and_edited_moves_as_it_is(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent_id = await booted(memory)
        await turn(memory, agent_id, says("one"), answer("first"))
        await turn(memory, agent_id, says("two"), answer("second"))
        await undo(memory, agent_id)
        await turn(memory, agent_id, says("three"), answer("third"))
        await edit(memory, agent_id, SPOKEN, "better")
        before, shown = await memory.history(agent_id), (await memory.context(agent_id)).messages
        assert sum(message.HasField("rewind") for message in before) > 3
        assert any(message.HasField("replaces") for message in before)
        pieces = await exported(memory, agent_id)
        moved = (await imported(memory, pieces, name="twin")).agent
        assert moved.rewound_count == sum(message.HasField("rewind") for message in before)

        def told(messages: Iterable[message_pb2.Message]) -> list[message_pb2.Message]:
            return [piece.message for piece in content(AgentPiece(message=message) for message in messages)]

        assert told(await memory.history(moved.agent_id)) == told(before)
        assert told((await memory.context(moved.agent_id)).messages) == told(shown)
        assert content(await exported(memory, moved.agent_id))[2:] == content(pieces)[2:]
        # It goes on as the original would.
        for one in (agent_id, moved.agent_id):
            await undo(memory, one)
            await turn(memory, one, says("four"), answer("fourth"))
        texts = [[m.text for m in (await memory.context(one)).messages] for one in (agent_id, moved.agent_id)]
        assert texts[0] == texts[1]
        assert "three" not in "".join(texts[0])


async def test_many_rewinds_move_in_several_pieces(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_REWINDS", 2)
    async with serve(milvus_lite_uri) as memory:
        agent_id = await booted(memory)
        for number in range(5):
            await turn(memory, agent_id, says(str(number)), answer("told"))
            await undo(memory, agent_id)
            await turn(memory, agent_id, says("kept"), answer("told"))
        pieces = await exported(memory, agent_id)
        windows = [piece for piece in pieces if piece.HasField("window")]
        assert [len(piece.window.rewinds) for piece in windows] == [2, 2, 1]
        moved = (await imported(memory, pieces, name="twin")).agent
        assert moved.rewound_count > 0
        assert content(await exported(memory, moved.agent_id))[2:] == content(pieces)[2:]
        place = pieces.index(windows[1])
        for other in (windows[0], AgentPiece(window=ExportWindow(start_sequence=windows[0].window.start_sequence + 1))):
            with refused(INVALID):
                await imported(memory, [*pieces[:place], other, *pieces[place:]], "third")


def test_a_piece_with_rewinds_fits_into_a_response() -> None:
    longest = ExportRewind(
        first=1 << 40, end=1 << 40, turn_id="t" * 64, create_time=Timestamp(seconds=1 << 34, nanos=1)
    )
    rewinds = [longest] * transfer._REWINDS
    piece = AgentPiece(window=ExportWindow(start_sequence=1 << 40, summary="\U0001d54f" * 20_000, rewinds=rewinds))
    assert piece.ByteSize() < PAGE_BYTES


async def test_a_file_of_the_first_format_is_read(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        pieces = await exported(memory, await full(memory, "old"))
        assert pieces[0].header.format_version == 2
        moved = (await imported(memory, changed(0, format_version=1)(pieces), "new")).agent
        assert content(await exported(memory, moved.agent_id))[2:] == content(pieces)[2:]
        assert not (await memory.agents.ListToolServers(pb.ListToolServersRequest(agent_id=moved.agent_id))).servers


async def test_an_imported_note_fits_into_rows(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent_id = (await memory.agent("a")).agent_id
        await memory.insert(agent_id, "to be replaced")
        pieces = await exported(memory, agent_id)
        pieces[-2].passage.text = "begin" + " " * 200_000 + "end"
        moved = (await imported(memory, pieces, name="b")).agent
        assert sorted(await memory.texts("x", agent_id=moved.agent_id)) == ["begin", "end"]


Change = Callable[[list[AgentPiece]], list[AgentPiece]]


def changed(index: int, **fields: Any) -> Change:
    def change(pieces: list[AgentPiece]) -> list[AgentPiece]:
        copies = [AgentPiece.FromString(piece.SerializeToString()) for piece in pieces]
        kind = copies[index].WhichOneof("piece")
        assert kind is not None
        for name, value in fields.items():
            setattr(getattr(copies[index], kind), name, value)
        return copies

    return change


def timed(index: int, **fields: int) -> Change:
    def change(pieces: list[AgentPiece]) -> list[AgentPiece]:
        copies = [AgentPiece.FromString(piece.SerializeToString()) for piece in pieces]
        piece = copies[index].message if copies[index].HasField("message") else copies[index].passage
        piece.create_time.CopyFrom(Timestamp(**fields))
        return copies

    return change


FUNCTION = tool_pb2.ToolFunction(name="f", description="Do it.", parameters="{}")
TOOLS = AgentPiece(tool_server=tool_pb2.ToolServer(address="a:1", functions=[FUNCTION]))
HEARTBEATS = AgentPiece(heartbeats=Heartbeats(plan="a plan"))


def named(name: str) -> tool_pb2.ToolFunction:
    return tool_pb2.ToolFunction(name=name, description="Do it.", parameters="{}")


def with_tools(*servers: tool_pb2.ToolServer) -> Change:
    def change(pieces: list[AgentPiece]) -> list[AgentPiece]:
        counted = changed(-1, tool_server_count=len(servers))(pieces)
        return [*counted[:3], *(AgentPiece(tool_server=server) for server in servers), *counted[3:]]

    return change


BROKEN: dict[str, tuple[grpc.StatusCode, Change]] = {
    "nothing": (INVALID, lambda _: []),
    "a header alone": (INVALID, lambda pieces: pieces[:1]),
    "no header": (INVALID, lambda pieces: pieces[1:]),
    "no agent": (INVALID, lambda pieces: [pieces[0], *pieces[2:]]),
    "no window": (INVALID, lambda pieces: [*pieces[:3], *pieces[4:]]),
    "cut off": (INVALID, lambda pieces: pieces[:-1]),
    "cut off early": (INVALID, lambda pieces: pieces[:6]),
    "a message is missing": (INVALID, lambda pieces: [*pieces[:5], *pieces[6:]]),
    "a note is missing": (INVALID, lambda pieces: [*pieces[:-2], pieces[-1]]),
    "twice the end": (INVALID, lambda pieces: [*pieces, pieces[-1]]),
    "twice the agent": (INVALID, lambda pieces: [*pieces[:2], *pieces[1:]]),
    "a block late": (INVALID, lambda pieces: [*pieces[:2], *pieces[3:-1], pieces[2], pieces[-1]]),
    "notes before messages": (INVALID, lambda pieces: [*pieces[:4], pieces[-2], *pieces[4:-2], pieces[-1]]),
    "a newer format": (PRECONDITION, changed(0, format_version=3)),
    "no format": (PRECONDITION, changed(0, format_version=0)),
    "tools that were not counted": (INVALID, lambda pieces: [*pieces[:3], TOOLS, *pieces[3:]]),
    "tools without an address": (INVALID, with_tools(tool_pb2.ToolServer(functions=[FUNCTION]))),
    "tools without functions": (INVALID, with_tools(tool_pb2.ToolServer(address="a:1"))),
    "the same tools twice": (INVALID, with_tools(TOOLS.tool_server, TOOLS.tool_server)),
    "two tools of the same name": (
        grpc.StatusCode.ALREADY_EXISTS,
        with_tools(TOOLS.tool_server, tool_pb2.ToolServer(address="b:1", functions=[FUNCTION])),
    ),
    "more tools than an agent has": (
        PRECONDITION,
        with_tools(*(tool_pb2.ToolServer(address=f"a:{n}", functions=[named(f"f{n}")]) for n in range(1, 18))),
    ),
    "tools before the blocks": (INVALID, lambda pieces: [*pieces[:2], TOOLS, *pieces[2:]]),
    "tools after the window": (INVALID, lambda pieces: [*pieces[:4], TOOLS, *pieces[4:]]),
    "heartbeats that were not counted": (INVALID, lambda pieces: [*pieces[:3], HEARTBEATS, *pieces[3:]]),
    "heartbeats twice": (INVALID, lambda pieces: [*pieces[:3], HEARTBEATS, HEARTBEATS, *pieces[3:]]),
    "empty heartbeats": (INVALID, lambda pieces: [*pieces[:3], AgentPiece(heartbeats=Heartbeats()), *pieces[3:]]),
    "counted tools that are missing": (INVALID, changed(-1, tool_server_count=1)),
    "counted heartbeats that are missing": (INVALID, changed(-1, heartbeats_count=1)),
    "no name": (INVALID, changed(1, name="")),
    "no time zone": (INVALID, changed(1, time_zone="Mars/Olympus")),
    "a block over its limit": (INVALID, changed(2, value="x" * 51)),
    "a block without a name": (INVALID, changed(2, label="")),
    "a window beyond the messages": (INVALID, changed(3, start_sequence=99)),
    "a message of nobody": (INVALID, changed(4, role=message_pb2.ROLE_UNSPECIFIED)),
    "a message of the system": (INVALID, changed(4, role=message_pb2.ROLE_SYSTEM)),
    "a message too long": (INVALID, changed(4, text="x" * (1 << 20) + "x")),
    "a turn with a path": (INVALID, changed(4, turn_id="../x")),
    "a blank note": (INVALID, changed(-2, text=" ")),
    "a message of a time that no store holds": (INVALID, timed(4, seconds=2**62)),
    "a message of a time that no calendar has": (INVALID, timed(4, seconds=253_402_300_800)),
    "a message of a time before all": (INVALID, timed(4, seconds=-1)),
    "a note of a time that no store holds": (INVALID, timed(-2, seconds=-(2**62))),
    "a note of a time that is none": (INVALID, timed(-2, nanos=2_000_000_000)),
}


async def rows(memory: Memory) -> tuple[int, int, list[str]]:
    """Rows of messages and notes, and the kinds of records that are not the store's or a request's."""
    store = memory.core().store
    records = await store.query(RECORDS, EVERY_ROW, RecordKind)
    kinds = [row.kind for row in records if row.kind not in ("store", "request")]
    passages = memory.core().agents.passages.collection
    messages = await store.query(MESSAGES, EVERY_ROW, Key)
    return len(messages), len(await store.query(passages, EVERY_ROW, Key)), sorted(kinds)


async def test_what_is_not_whole_leaves_nothing(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent_id = (await memory.agent("a", blocks=[block_pb2.BlockEdit(label="human", value="x", limit=50)])).agent_id
        await memory.turn(agent_id, "one", "two", "three")
        await memory.insert(agent_id, *[f"note {n}" for n in range(5)])
        pieces = await exported(memory, agent_id)
        before = await rows(memory)
        for kind, (code, change) in BROKEN.items():
            with refused(code) as said:
                await imported(memory, change(pieces), name="" if kind == "no name" else "b", request_id=kind)
            assert await rows(memory) == before, (kind, said)
        # Milvus may fail at any write, the last included, which may have happened.
        whens: list[When] = ["before", "after"]
        for when in whens:
            for collection in ("memgpt_messages", "memgpt_passages"):
                with failing_upserts(memory.core().store, collection, when), refused(UNAVAILABLE):
                    await imported(memory, pieces, "b", request_id=f"{when} {collection}")
                assert await rows(memory) == before
            failing = failing_upserts(
                memory.core().store,
                "memgpt_records",
                when,
                only=lambda row: row.kind == "agent" and '"deleting":true' not in row.body,
            )
            with failing, refused(UNAVAILABLE):
                await imported(memory, pieces, "b", request_id=f"{when} the last")
            assert await rows(memory) == before
        # A client that goes away.
        call = memory.agents.ImportAgent()
        for piece in pieces[:6]:
            request_id = "gone" if piece is pieces[0] else ""
            await call.write(pb.ImportAgentRequest(piece=piece, name="b", request_id=request_id))
        while (await rows(memory))[2] == before[2]:
            pass  # until it has begun
        call.cancel()
        async with asyncio.timeout(60):
            while await rows(memory) != before:
                pass
        assert (await imported(memory, pieces, "b", request_id="gone")).agent.message_count == 3


async def test_an_import_that_stalls_is_given_up(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_state, "_PAUSE_SECONDS", 0.2)
    async with serve(milvus_lite_uri) as memory:
        pieces = await exported(memory, (await memory.agent("a")).agent_id)
        before = await rows(memory)
        call = memory.agents.ImportAgent()
        for piece in pieces[:-1]:
            request = pb.ImportAgentRequest(piece=piece)
            if piece is pieces[0]:
                request.name, request.request_id = "b", "r"
            await call.write(request)
        with refused(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"):
            await call
        assert await rows(memory) == before
        assert (await imported(memory, pieces, "b", request_id="r")).agent.name == "b"


async def test_a_crash_leaves_no_half_agent(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = uuid4().hex
    header = AgentPiece(header=ExportHeader(format_version=1))
    begin = [AgentPiece(agent=agent_pb2.Agent(name=mark)), AgentPiece(window=ExportWindow())]
    message = message_pb2.Message(role=message_pb2.ROLE_USER, text=mark)
    messages = [AgentPiece(message=message) for _ in range(40)]
    for number, piece in enumerate(messages):
        piece.message.sequence = number
    end = AgentPiece(end=ExportEnd(message_count=40))

    async def crash(_: object) -> None:
        raise Unavailable(Reason.STORE_UNAVAILABLE, "injected")

    async with serve(milvus_lite_uri) as memory:
        with monkeypatch.context() as patch:
            patch.setattr(memory.core().agents, "_purge", crash)
            with refused(UNAVAILABLE):
                await imported(memory, [header, *begin, *messages], request_id="r")
        assert len(await memory.core().store.query(MESSAGES, EVERY_ROW, Key)) >= 32
        assert await memory.listed() == []
    async with serve(milvus_lite_uri) as memory:
        assert await memory.core().store.query(MESSAGES, EVERY_ROW, Key) == []
        assert await memory.listed() == []
        answer = await imported(memory, [header, *begin, *messages, end], request_id="r")
        assert [message.text for message in await memory.history(answer.agent.agent_id)] == [mark] * 40
