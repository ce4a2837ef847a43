"""Blocks of core memory that several agents have in common: one value, at all times, for all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from memgpt.memory.v1 import agent_state_service_pb2 as state_pb
from memgpt.memory.v1 import block_pb2, block_service_pb2, shared_block_pb2, store_service_pb2
from memgpt.memory.v1 import shared_block_service_pb2 as pb
from memgpt.memory.v1.agent_piece_pb2 import SharedBlockLabel

from tests.integration.memory.client import (
    ABORTED,
    NOT_FOUND,
    PRECONDITION,
    TAKEN,
    UNAVAILABLE,
    Memory,
    connected,
    refused,
)
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import failing_upserts
from tests.integration.memory.test_state import get_block, labels, set_block
from tests.support.processes import ServiceProcess
from tests.support.waiting import until


async def create(memory: Memory, value: str = "", **fields: Any) -> shared_block_pb2.SharedBlock:
    fields.setdefault("name", f"block {uuid4().hex}")
    return (await memory.shared.CreateSharedBlock(pb.CreateSharedBlockRequest(value=value, **fields))).block  # type: ignore[no-any-return]


async def get(memory: Memory, block_id: str) -> shared_block_pb2.SharedBlock:
    return (await memory.shared.GetSharedBlock(pb.GetSharedBlockRequest(block_id=block_id))).block  # type: ignore[no-any-return]


async def update(memory: Memory, block_id: str, **fields: Any) -> shared_block_pb2.SharedBlock:
    edit = shared_block_pb2.SharedBlockEdit(block_id=block_id, **fields)
    return (await memory.shared.UpdateSharedBlock(pb.UpdateSharedBlockRequest(block=edit))).block  # type: ignore[no-any-return]


async def attach(memory: Memory, agent_id: str, block_id: str, label: str = "team") -> block_pb2.Block:
    request = pb.AttachBlockRequest(agent_id=agent_id, block_id=block_id, label=label)
    return (await memory.shared.AttachBlock(request)).block  # type: ignore[no-any-return]


async def detach(memory: Memory, agent_id: str, block_id: str) -> None:
    await memory.shared.DetachBlock(pb.DetachBlockRequest(agent_id=agent_id, block_id=block_id))


async def delete(memory: Memory, block_id: str, *, detach: bool = False) -> None:
    await memory.shared.DeleteSharedBlock(pb.DeleteSharedBlockRequest(block_id=block_id, detach=detach))


async def pair(memory: Memory, value: str = "old") -> tuple[str, str, shared_block_pb2.SharedBlock]:
    """Two agents with a block in common."""
    block = await create(memory, value)
    one, two = (await memory.agent()).agent_id, (await memory.agent()).agent_id
    await attach(memory, one, block.block_id)
    await attach(memory, two, block.block_id)
    return one, two, block


async def values(memory: Memory, *agents: str) -> list[str]:
    """The value in each agent's window."""
    contexts = [await memory.context(agent) for agent in agents]
    return [next(b.value for b in context.blocks if b.label == "team") for context in contexts]


def files_with(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


def edit(value: str, etag: str = "") -> block_pb2.BlockEdit:
    return block_pb2.BlockEdit(label="team", value=value, etag=etag)


async def test_every_write_changes_the_one_value(memory: Memory) -> None:
    one, two, block = await pair(memory)
    assert await values(memory, one, two) == ["old", "old"]
    await set_block(memory, one, "team", "by one")
    assert await values(memory, one, two) == ["by one", "by one"]
    await update(memory, block.block_id, value="by itself")
    assert await values(memory, one, two) == ["by itself", "by itself"]
    grant = await memory.begin(two, uuid4().hex, "hello")
    committed = await memory.commit(two, grant.lease, 1, "I edit", blocks=[edit("by a step")])
    assert [b.value for b in committed.context.blocks] == ["by a step"]
    assert await values(memory, one, two) == ["by a step", "by a step"]
    found = await get(memory, block.block_id)
    assert (found.value, found.etag) == ("by a step", (await get_block(memory, one, "team")).etag)
    assert (await get_block(memory, one, "team")).shared_block_id == block.block_id


async def test_the_next_step_of_a_running_turn_sees_the_new_value(memory: Memory) -> None:
    one, two, _ = await pair(memory)
    first = await memory.begin(one, uuid4().hex, "hello")
    await set_block(memory, two, "team", "new")
    step = await memory.commit(one, first.lease, 1, "thinking")
    assert [b.value for b in step.context.blocks] == ["new"]


async def test_a_late_edit_is_reported_and_changes_nothing(memory: Memory) -> None:
    one, two, block = await pair(memory)
    grant = await memory.begin(one, uuid4().hex, "hello")
    etag = grant.context.blocks[0].etag
    await set_block(memory, two, "team", "first")
    with refused(ABORTED, "ETAG_MISMATCH"):
        await memory.commit(one, grant.lease, 1, "I edit", blocks=[edit("late", etag)])
    with refused(ABORTED, "ETAG_MISMATCH"):
        await set_block(memory, one, "team", "late", etag=etag)
    with refused(ABORTED, "ETAG_MISMATCH"):
        await update(memory, block.block_id, value="late", etag=etag)
    assert await values(memory, one, two) == ["first", "first"]
    await memory.commit(one, grant.lease, 1, "again", blocks=[edit("second", (await get(memory, block.block_id)).etag)])
    assert await values(memory, one, two) == ["second", "second"]


async def test_only_one_of_many_edits_with_one_etag_wins(memory: Memory) -> None:
    block = await create(memory)
    agents = [(await memory.agent()).agent_id for _ in range(6)]
    for agent in agents:
        await attach(memory, agent, block.block_id)
    grants = [await memory.begin(agent, uuid4().hex, "hello") for agent in agents]
    etag = grants[0].context.blocks[0].etag

    async def write(agent: str, grant: state_pb.TurnGrant) -> bool:
        try:
            await memory.commit(agent, grant.lease, 1, "I edit", blocks=[edit(agent, etag)])
        except grpc.aio.AioRpcError as error:
            return error.code() is not ABORTED
        return True

    won = await asyncio.gather(*map(write, agents, grants))
    assert sum(won) == 1
    assert await values(memory, *agents) == [agents[won.index(True)]] * 6


async def test_names_ids_and_limits(memory: Memory) -> None:
    block = await create(memory, "x", name="plan", limit=5, read_only=True, request_id="r1")
    again = await memory.shared.CreateSharedBlock(
        pb.CreateSharedBlockRequest(value="x", name="plan", limit=5, read_only=True, request_id="r1")
    )
    assert again.block == block
    with refused(TAKEN):
        await create(memory, name="plan")
    by_name = await memory.shared.GetSharedBlock(pb.GetSharedBlockRequest(name="plan"))
    assert by_name.block == block
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "BLOCK_LIMIT_EXCEEDED"):
        await update(memory, block.block_id, value="too long")
    agent = (await memory.agent()).agent_id
    await attach(memory, agent, block.block_id)
    grant = await memory.begin(agent, uuid4().hex, "hello")
    with refused(PRECONDITION):
        await memory.commit(agent, grant.lease, 1, "I edit", blocks=[edit("mine")])
    other = memory.of(f"t{uuid4().hex}")
    for call in (get(other, block.block_id), update(other, block.block_id, value="y")):
        with refused(NOT_FOUND):
            await call
    stranger = (await other.agent()).agent_id
    with refused(NOT_FOUND):
        await attach(other, stranger, block.block_id)
    await delete(other, block.block_id)
    assert (await get(memory, block.block_id)).value == "x"


async def test_lists_are_paged(memory: Memory) -> None:
    made = [(await create(memory, "v" * 10)).block_id for _ in range(5)]
    found: list[str] = []
    token = ""
    while True:
        page = await memory.shared.ListSharedBlocks(pb.ListSharedBlocksRequest(page_size=2, page_token=token))
        found += [block.block_id for block in page.blocks]
        assert page.total_size == 5
        token = page.next_page_token
        if not token:
            break
    assert found == made


async def test_attaching_and_detaching(memory: Memory) -> None:
    one, two, block = await pair(memory)
    await attach(memory, one, block.block_id)
    with refused(PRECONDITION, "IN_USE"):
        await attach(memory, one, block.block_id, "other")
    await set_block(memory, one, "own", "mine")
    assert await labels(memory, one) == ["own", "team"]
    other = await create(memory)
    with refused(TAKEN):
        await attach(memory, one, other.block_id, "own")
    agents = await memory.shared.ListBlockAgents(pb.ListBlockAgentsRequest(block_id=block.block_id))
    assert [agent.agent_id for agent in agents.agents] == [one, two]
    assert {agent.label for agent in agents.agents} == {"team"}
    await set_block(memory, one, "team", "kept")
    await detach(memory, one, block.block_id)
    await detach(memory, one, block.block_id)
    assert await labels(memory, one) == ["own"]
    assert await values(memory, two) == ["kept"]
    await memory.blocks.DeleteBlock(block_service_pb2.DeleteBlockRequest(agent_id=two, label="team"))
    assert (await get(memory, block.block_id)).value == "kept"
    agents = await memory.shared.ListBlockAgents(pb.ListBlockAgentsRequest(block_id=block.block_id))
    assert list(agents.agents) == []


async def test_a_block_in_use_is_deleted_only_on_request(memory: Memory) -> None:
    one, two, block = await pair(memory)
    with refused(PRECONDITION, "IN_USE"):
        await delete(memory, block.block_id)
    await delete(memory, block.block_id, detach=True)
    await delete(memory, block.block_id)
    assert await labels(memory, one) == await labels(memory, two) == []
    with refused(NOT_FOUND, "BLOCK_NOT_FOUND"):
        await get(memory, block.block_id)
    grant = await memory.begin(one, uuid4().hex, "hello")
    with refused(NOT_FOUND, "BLOCK_NOT_FOUND"):
        await memory.commit(one, grant.lease, 1, "I edit", blocks=[edit("mine")])
    await set_block(memory, one, "team", "my own now")
    assert await values(memory, one) == ["my own now"]
    assert (await get_block(memory, one, "team")).shared_block_id == ""


async def test_a_value_outlives_the_agent_that_wrote_it(memory: Memory) -> None:
    one, two, block = await pair(memory)
    grant = await memory.begin(one, uuid4().hex, "hello")
    await memory.commit(one, grant.lease, 1, "I edit", blocks=[edit("last words")])
    await memory.agents.DeleteAgent(state_pb.DeleteAgentRequest(agent_id=one))
    assert await values(memory, two) == ["last words"]
    assert (await get(memory, block.block_id)).value == "last words"


async def test_an_export_has_the_value_and_an_import_makes_it_the_agents_own(memory: Memory) -> None:
    one, _, block = await pair(memory, "shared value")
    pieces = [p.piece async for p in memory.agents.ExportAgent(state_pb.ExportAgentRequest(agent_id=one))]
    assert [p.block.value for p in pieces if p.HasField("block")] == ["shared value"]

    async def stream() -> Any:
        for number, piece in enumerate(pieces):
            yield state_pb.ImportAgentRequest(piece=piece, name="" if number else f"copy {uuid4().hex}")

    copy = (await memory.agents.ImportAgent(stream())).agent.agent_id
    await update(memory, block.block_id, value="changed")
    assert await values(memory, one, copy) == ["changed", "shared value"]
    assert (await get_block(memory, copy, "team")).shared_block_id == ""


async def test_an_import_attaches_shared_blocks_in_place_of_the_agents_own(memory: Memory) -> None:
    one, two, block = await pair(memory, "of old")
    pieces = [p.piece async for p in memory.agents.ExportAgent(state_pb.ExportAgentRequest(agent_id=one))]
    await update(memory, block.block_id, value="newer")

    async def take(*shared: tuple[str, str], size: int = 100) -> str:
        """Import the agent, with `size` pieces in a request."""

        async def stream() -> Any:
            first: dict[str, Any] = {"name": f"copy {uuid4().hex}"}
            first["shared_blocks"] = [SharedBlockLabel(label=label, block_id=id_) for label, id_ in shared]
            for start in range(0, len(pieces), size):
                some = pieces[start : start + size]
                yield state_pb.ImportAgentRequest(piece=some[0], more_pieces=some[1:], **first)
                first = {}

        return (await memory.agents.ImportAgent(stream())).agent.agent_id  # type: ignore[no-any-return]

    for size in (1, 2, 100):
        copy = await take(("team", block.block_id), size=size)
        assert (await get_block(memory, copy, "team")).shared_block_id == block.block_id
        await update(memory, block.block_id, value=f"newest {size}")
        assert await values(memory, one, two, copy) == [f"newest {size}"] * 3
        listed = (await memory.shared.ListBlockAgents(pb.ListBlockAgentsRequest(block_id=block.block_id))).agents
        assert (copy, "team") in [(agent.agent_id, agent.label) for agent in listed]
    with refused(NOT_FOUND):
        await take(("team", "block_unknown"))
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        await take(("other", block.block_id))
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        await take(("team", block.block_id), ("other", block.block_id))
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        await take(("team", "a"), ("team", "b"))


async def test_values_survive_a_restart_and_a_compaction(serve: Serve, tmp_path: Path) -> None:
    uri = str(tmp_path / "m.db")
    async with serve(uri) as memory:
        one, two, block = await pair(memory, "a secret of old")
        grant = await memory.begin(one, uuid4().hex, "hello")
        await memory.commit(one, grant.lease, 1, "I edit", blocks=[edit("new")])
        await memory.end(one, grant.lease)
    async with serve(uri) as memory:
        assert await values(memory, one, two) == ["new", "new"]
        await memory.store.Compact(store_service_pb2.CompactRequest())
        await detach(memory, one, block.block_id)
        assert await values(memory, two) == ["new"]
    assert not await asyncio.to_thread(files_with, tmp_path, b"a secret of old")
    async with serve(uri) as memory:
        assert await values(memory, two) == ["new"]


@pytest.mark.parametrize("where", ["block", "agent"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_failed_write_leaves_both_or_none(serve: Serve, tmp_path: Path, where: str, when: Any) -> None:
    async with serve(str(tmp_path / "m.db")) as memory:
        one, two, block = await pair(memory)
        grant = await memory.begin(one, uuid4().hex, "hello")
        row = block.block_id if where == "block" else one
        failing = failing_upserts(memory.core().store, "memgpt_records", when, only=lambda found: found.id == row)
        with failing as failed, refused(UNAVAILABLE):
            await memory.commit(one, grant.lease, 1, "I edit", blocks=[edit("new")])
        assert len(failed) == 1
        done = where == "agent" and when == "after"
        assert await values(memory, one, two) == ["new" if done else "old"] * 2
        await memory.commit(one, grant.lease, 1, "again", blocks=[edit("newer")])
        assert await values(memory, one, two) == ["new" if done else "newer"] * 2
        await set_block(memory, two, "team", "last")
        assert await values(memory, one, two) == ["last", "last"]


async def test_memory_killed_at_every_write_of_a_step_that_edits_a_shared_block(tmp_path: Path) -> None:
    """`kill -9`: the step and the value are both there or both are not, and the repeated step completes them once."""
    armed = tmp_path / "armed"
    settings = {"DIE_ARMED": str(armed), "MEMGPT_MEMORY_LEASE_SECONDS": "0.2"}
    deaths = [f"{when}:armed:{number}" for number in (1, 2, 3) for when in ("before", "after")]
    one = two = request = expected = ""
    outcomes: set[bool] = set()
    for death in [*deaths, ""]:
        die_at = death or "before:armed:99"
        with ServiceProcess(
            "tests.integration.memory.dying", tmp_path, name="memory", DIE_AT=die_at, **settings
        ) as process:
            async with connected(await asyncio.to_thread(process.wait_ready)) as memory:
                if not one:
                    one, two, _ = await pair(memory, "")
                if request:
                    grant = await memory.begin(one, request)
                    done = grant.turn.committed_steps == 1
                    outcomes.add(done)
                    assert await values(memory, one, two) == [expected + request if done else expected] * 2
                    expected += request
                    if not done:
                        await memory.commit(one, grant.lease, 1, "I edit", blocks=[edit(expected)])
                    await memory.end(one, grant.lease)
                    assert await values(memory, one, two) == [expected, expected]
                if not death:
                    break
                request = uuid4().hex[:6]
                grant = await memory.begin(one, request, "hello")
                etag = grant.context.blocks[0].etag
                armed.touch()
                with refused(UNAVAILABLE):
                    await memory.commit(one, grant.lease, 1, "I edit", blocks=[edit(expected + request, etag)])
                assert await asyncio.to_thread(process.wait, 60) == -9
                armed.unlink()
    assert outcomes == {True, False}


async def test_a_key_that_is_restricted_to_an_agent_writes_the_blocks_of_its_own_only(memory: Memory) -> None:
    """What agents have in common is not its to change, also by the label that its own agent has for it."""
    mine = (await memory.agent()).agent_id
    block = await create(memory, "All agree.", read_only=True)
    await attach(memory, mine, block.block_id, "team")
    narrow = memory.of(f"{memory.tenant};role=user;agents={mine}")
    with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_PERMITTED"):
        await set_block(narrow, mine, "team", "Obey me.")
    assert (await set_block(narrow, mine, "own", "A note.")).value == "A note."
    assert (await get(memory, block.block_id)).value == "All agree."
    assert (await get_block(narrow, mine, "team")).value == "All agree."


async def test_a_deletion_that_waits_for_a_block_holds_up_no_other(serve: Serve, milvus_lite_uri: str) -> None:
    async with serve(milvus_lite_uri) as memory, asyncio.timeout(60):
        agents = [(await memory.agent()).agent_id for _ in range(2)]
        block = await create(memory)
        await attach(memory, agents[0], block.block_id)
        core = memory.core()
        live = await core.agents.get(memory.tenant, agents[0])
        async with core.shared_blocks.locked([block.block_id]):
            waiting = asyncio.create_task(delete_agent(memory, agents[0]))
            await until(live.lock.locked)
            await delete_agent(memory, agents[1])
            assert not waiting.done()
        await waiting


async def delete_agent(memory: Memory, agent_id: str) -> None:
    await memory.agents.DeleteAgent(state_pb.DeleteAgentRequest(agent_id=agent_id))
