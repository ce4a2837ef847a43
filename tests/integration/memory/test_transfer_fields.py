"""Nothing of an agent is lost on the way through a file: its fields are listed from the contracts and the stored rows.

A new field fails these tests until it is exported, or until the reason why it is not is written here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from uuid import uuid4

from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memgpt.memory.v1 import (
    agent_pb2,
    archival_memory_service_pb2,
    block_pb2,
    context_pb2,
    heartbeat_pb2,
    message_pb2,
    passage_pb2,
    tool_pb2,
)
from memgpt.memory.v1 import agent_state_service_pb2 as pb
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece, ExportEnd, ExportHeader, ExportRewind, ExportWindow
from memgpt_memory.agents import AgentRow, AgentState

from tests.integration.memory.client import Memory, connected
from tests.integration.memory.conftest import Serve
from tests.integration.memory.test_edits import SPOKEN, answer, edit, says, turn, undo
from tests.integration.memory.test_transfer import content, exported, full, imported

NEW_IN_CONTRACTS = {
    "Agent.agent_id": "another agent",
    "Agent.name": "given by the import here; unique within a tenant",
    "Agent.create_time": "of the new agent",
    "Agent.update_time": "of the new agent",
    "Agent.etag": "counts writes of the new agent",
    "Attachment.attach_time": "of the new agent",
    "Block.etag": "counts writes of the new block",
    "Block.update_time": "of the new block",
    "Block.shared_block_id": "a file must not write into blocks of other agents; the value comes along",
    "Heartbeats.etag": "counts writes of the new plan",
    "Message.message_id": "unique in a store",
    "Message.agent_id": "another agent",
    "Passage.passage_id": "unique in a store",
    "Passage.agent_id": "another agent",
    "Passage.citation": "only in passages of sources",
}

KEPT_IN_STATE = (
    *("blocks", "system", "description", "block_descriptions", "summary", "links", "tools", "heartbeats", "rewinds"),
    *("preset", "persona", "human", "model", "context_window", "time_zone", "user_id", "message_ttl", "note_ttl"),
    *("tags", "origin", "message_count", "window_start"),
)
NEW_IN_STATE = {
    "id": "another agent",
    "row": "listed by its fields",
    "tenant": "the importing one's",
    "name": "given by the import here",
    "created": "of the new agent",
    "updated": "of the new agent",
    "settings_version": "counts writes of the new agent",
    "deleting": "marks of the import itself",
    "importing": "marks of the import itself",
    "next_text": "numbers of stored texts",
    "next_note": "notes are numbered without the gaps of deleted ones",
    "dead_notes": "notes are numbered without the gaps of deleted ones",
    "dead_count": "notes are numbered without the gaps of deleted ones",
    "forgotten": "messages are numbered without the gaps of forgotten ones",
    "unfreed_messages": "forgotten messages are not exported",
    "unfreed_notes": "deleted notes are not exported",
    "shared": "a file must not write into blocks of other agents",
    "epoch": "turns are not exported",
    "turn": "turns are not exported",
    "turn_count": "turns are not exported",
    "inserts": "requests of the original",
    "text_bytes": "counted again",
    "tokens": "usage of the original",
    "tokens_today": "usage of the original",
    "token_day": "usage of the original",
}

PLAN = json.dumps(
    {
        "heartbeats": [
            {"heartbeat_id": "hb_1", "cron": "0 9 * * *", "reason": "Water the plants: ü", "created": 1.5e9}
        ],
        "paused_until": 2.5e9,
        "self_scheduled": True,
        "max_turns_per_day": 5,
        "max_tokens_per_day": 9_000,
    }
)


def tool_server(number: int) -> tool_pb2.ToolServer:
    function = tool_pb2.ToolFunction(
        name=f"weather_{number}", description="Tell the weather: ü", parameters='{"type": "object"}'
    )
    return tool_pb2.ToolServer(address=f"tools-{number}.example.org:443", functions=[function])


async def everything(memory: Memory) -> str:
    """An agent with a value in every field that an export keeps."""
    agent_id = await full(memory, "original")
    update = agent_pb2.Agent(
        agent_id=agent_id, user_id="user ü", message_ttl=Duration(seconds=10**9), note_ttl=Duration(seconds=10**9 + 1)
    )
    request = pb.UpdateAgentRequest(agent=update)
    request.update_mask.paths.extend(["user_id", "message_ttl", "note_ttl"])
    await memory.agents.UpdateAgent(request)
    await memory.blocks.SetBlock(
        block_request(agent_id, block_pb2.BlockEdit(label="rules", value="Be brief.", read_only=True))
    )
    for number in range(2):
        await memory.agents.PutToolServer(pb.PutToolServerRequest(agent_id=agent_id, server=tool_server(number)))
    await memory.agents.PutHeartbeats(
        pb.PutHeartbeatsRequest(agent_id=agent_id, heartbeats=heartbeat_pb2.Heartbeats(plan=PLAN))
    )
    told = answer("first")
    told[0].function_call.endpoint_data = '{"signature": "x"}'
    await turn(memory, agent_id, says("one"), told)
    await turn(memory, agent_id, says("two"), answer("second"))
    await undo(memory, agent_id)
    await turn(memory, agent_id, says("three"), answer("third"))
    await edit(memory, agent_id, SPOKEN, "better")
    pieces = await exported(memory, agent_id)
    pieces[1].agent.origin = "letta:0123"
    return (await imported(memory, pieces, "second")).agent.agent_id


def block_request(agent_id: str, block: block_pb2.BlockEdit) -> Any:
    from memgpt.memory.v1 import block_service_pb2

    return block_service_pb2.SetBlockRequest(agent_id=agent_id, block=block)


def leaves(descriptor: Descriptor, known: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the fields of a message and of those in it that are ours, as `Message.field`."""
    for field in descriptor.fields:
        name = f"{descriptor.name}.{field.name}"
        yield name
        inner = field.message_type
        if inner is not None and inner.full_name.startswith("memgpt.") and inner.full_name not in known:
            yield from leaves(inner, known | {descriptor.full_name})


def compare(before: Message, after: Message, seen: set[str]) -> None:
    """Compare all fields that an export keeps, and note those that have a value."""
    for field in before.DESCRIPTOR.fields:
        name = f"{before.DESCRIPTOR.name}.{field.name}"
        if name in NEW_IN_CONTRACTS:
            continue
        theirs, ours = getattr(before, field.name), getattr(after, field.name)
        if field in {one for one, _ in before.ListFields()}:
            seen.add(name)
        if not is_own(field):
            assert theirs == ours, name
        elif field.is_repeated:
            assert len(theirs) == len(ours), name
            for one, other in zip(theirs, ours, strict=True):
                compare(one, other, seen)
        else:
            assert before.HasField(field.name) == after.HasField(field.name), name
            compare(theirs, ours, seen)


def is_own(field: Any) -> bool:
    return field.message_type is not None and field.message_type.full_name.startswith("memgpt.")


async def notes(memory: Memory, agent_id: str) -> list[passage_pb2.Passage]:
    found: list[passage_pb2.Passage] = []
    request = archival_memory_service_pb2.ListPassagesRequest(
        scope=archival_memory_service_pb2.PassageScope(agent_id=agent_id), page_size=1000
    )
    while True:
        page = await memory.archive.ListPassages(request)
        found += page.passages
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_every_field_of_the_contracts_comes_along(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory:
        before = await everything(memory)
        after = (await imported(memory, await exported(memory, before), "third")).agent.agent_id
        seen: set[str] = set()
        compare(await memory.context(before), await memory.context(after), seen)
        for one, other in zip(await memory.history(before), await memory.history(after), strict=True):
            compare(one, other, seen)
        theirs, ours = await notes(memory, before), await notes(memory, after)
        assert len(theirs) > 200
        for note, copy in zip(theirs, ours, strict=True):
            compare(note, copy, seen)
    everywhere = {*leaves(context_pb2.AgentContext.DESCRIPTOR), *leaves(passage_pb2.Passage.DESCRIPTOR)}
    missing = {name for name in everywhere - seen if name not in NEW_IN_CONTRACTS and not name.startswith("Citation.")}
    assert not missing, "export these fields, or say in NEW_IN_CONTRACTS why not"


async def test_every_field_of_the_stored_agent_comes_along(serve: Serve, milvus_lite_uri: str) -> None:
    stored = {one.name for one in fields(AgentState)} | set(AgentRow.model_fields)
    assert stored == {*KEPT_IN_STATE, *NEW_IN_STATE}, "export the new field, or say in NEW_IN_STATE why not"
    async with serve(milvus_lite_uri) as memory:
        before = await everything(memory)
        after = (await imported(memory, await exported(memory, before), "third")).agent.agent_id
        values = [await kept_values(memory, one) for one in (before, after)]
        for name in KEPT_IN_STATE:
            assert values[0][name], f"{name} has no value, so nothing is tested"
            assert values[0][name] == values[1][name], name


async def kept_values(memory: Memory, agent_id: str) -> dict[str, Any]:
    core = memory.core()
    state = await core.agents.repository.read_state(await core.agents.get("default", agent_id))
    found = {name: getattr(state, name, None) or getattr(state.row, name, None) for name in KEPT_IN_STATE}
    found["links"] = [link.source_id for link in state.links]
    found["rewinds"] = list(state.rewinds)
    return found


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn", "Co")), max_size=40)
SAID = TEXT.filter(str.strip)
NAME = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,20}", fullmatch=True)
TIME = st.builds(
    Timestamp,
    seconds=st.integers(1, 253_370_764_799),
    nanos=st.integers(0, 999_999).map(lambda microseconds: microseconds * 1_000),
)


@st.composite
def agents(draw: st.DrawFn) -> list[AgentPiece]:
    """The pieces of any agent."""
    agent = agent_pb2.Agent(
        name=uuid4().hex,
        system=draw(TEXT),
        model=draw(TEXT),
        context_window=draw(st.sampled_from([0, 8_192])),
        time_zone=draw(st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"])),
        description=draw(TEXT),
        tags=draw(st.lists(SAID, max_size=3, unique=True)),
        user_id=draw(TEXT),
    )
    blocks = [
        block_pb2.Block(
            label=label,
            value=draw(TEXT),
            limit=draw(st.integers(40, 20_000)),
            read_only=draw(st.booleans()),
            description=draw(TEXT),
        )
        for label in draw(st.lists(NAME, max_size=4, unique=True))
    ]
    tools = [tool_server(number) for number in draw(st.lists(st.integers(0, 99), max_size=3, unique=True))]
    plans = draw(st.lists(SAID, max_size=1))
    said = draw(st.lists(st.tuples(TEXT, TIME), max_size=8))
    count = len(said)
    ends = sorted(draw(st.sets(st.integers(0, count), max_size=4)))
    rewinds = [
        ExportRewind(first=first, end=end, turn_id="turn", create_time=draw(TIME))
        for first, end in zip(ends[::2], ends[1::2], strict=False)
    ]
    window = ExportWindow(start_sequence=draw(st.integers(0, count)), summary=draw(TEXT), rewinds=rewinds)
    messages = [
        message_pb2.Message(
            sequence=number, role=message_pb2.ROLE_USER, text=text, create_time=time, turn_id="turn", step=number
        )
        for number, (text, time) in enumerate(said)
    ]
    passages = [
        passage_pb2.Passage(text=text, tags=["a"], create_time=time)
        for text, time in draw(st.lists(st.tuples(SAID, TIME), max_size=4))
    ]
    end = ExportEnd(
        block_count=len(blocks),
        message_count=count,
        passage_count=len(passages),
        tool_server_count=len(tools),
        heartbeats_count=len(plans),
    )
    return [
        AgentPiece(header=ExportHeader(format_version=2)),
        AgentPiece(agent=agent),
        *(AgentPiece(block=block) for block in blocks),
        *(AgentPiece(tool_server=server) for server in tools),
        *(AgentPiece(heartbeats=heartbeat_pb2.Heartbeats(plan=plan)) for plan in plans),
        AgentPiece(window=window),
        *(AgentPiece(message=message) for message in messages),
        *(AgentPiece(passage=passage) for passage in passages),
        AgentPiece(end=end),
    ]


def test_any_agent_comes_back_as_it_was(lite_process: str, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        tenant = f"t{uuid4().hex}"

        async def there_and_back(pieces: list[AgentPiece]) -> tuple[list[AgentPiece], list[AgentPiece]]:
            async with connected(lite_process, tenant) as memory:
                first = await exported(memory, (await imported(memory, pieces)).agent.agent_id)
                again = (await imported(memory, first, uuid4().hex)).agent.agent_id
                return first, await exported(memory, again)

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(agents())
        def check(pieces: list[AgentPiece]) -> None:
            first, second = runner.run(there_and_back(pieces))
            assert comparable(first) == comparable(pieces)
            assert comparable(second) == comparable(first)

        check()


def comparable(pieces: Iterable[AgentPiece]) -> list[AgentPiece]:
    """Pieces without what an import gives: also names, counts, and the time of a registration."""
    kept = content(pieces)
    for piece in kept:
        if piece.HasField("agent"):
            for name in ("name", "message_count", "passage_count", "rewound_count"):
                piece.agent.ClearField(name)
        if piece.HasField("tool_server"):
            piece.tool_server.ClearField("register_time")
    passages = sorted((piece for piece in kept if piece.HasField("passage")), key=str)
    return [piece for piece in kept if not piece.HasField("passage")] + passages
