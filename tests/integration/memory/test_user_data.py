"""Everything about one user: listed, exported, and erased with a receipt, also across a crash."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from memgpt.memory.v1 import agent_pb2
from memgpt.memory.v1 import agent_state_service_pb2 as state_pb
from memgpt.memory.v1 import user_data_service_pb2 as pb
from memgpt_memory.records import RETENTION, Record
from memgpt_memory.store.filters import Equals
from memgpt_memory.store.layout import RECORDS, Collection
from memgpt_memory.store.rows import Key
from memgpt_runtime import clock as runtime_clock
from memgpt_runtime import reasons

from tests.integration.memory.client import UNAVAILABLE, Memory, connected, refused
from tests.integration.memory.conftest import Serve
from tests.integration.memory.test_concurrent_creation import Gate
from tests.integration.memory.test_deletion import delete_agent
from tests.integration.memory.test_shared_blocks import attach, create
from tests.integration.memory.test_state import labels, set_block
from tests.integration.memory.test_transfer import content, exported
from tests.support.processes import ServiceProcess


async def of_user(memory: Memory, user_id: str) -> list[str]:
    page = await memory.agents.ListAgents(state_pb.ListAgentsRequest(user_id=user_id, page_size=1000))
    assert page.total_size == len(page.agents)
    return [agent.agent_id for agent in page.agents]


async def erase(memory: Memory, user_id: str, request_id: str = "") -> pb.EraseUserResponse:
    request = pb.EraseUserRequest(user_id=user_id, request_id=request_id or uuid4().hex)
    return await memory.users.EraseUser(request)  # type: ignore[no-any-return]


def owner_of(record: Record) -> str:
    return str(json.loads(record.body).get("user_id", ""))


async def populated(memory: Memory) -> tuple[list[str], str]:
    """Two agents of Ada's with a message and a note each and a shared block, which an agent of Bob's has too."""
    block = await create(memory, "Ada likes tea", user_id="ada")
    agents = [(await memory.agent(user_id="ada")).agent_id for _ in range(2)]
    bob = (await memory.agent(user_id="bob")).agent_id
    for agent_id in (*agents, bob):
        await set_block(memory, agent_id, "human", "someone")
        await memory.turn(agent_id, "hello")
        await memory.insert(agent_id, "a note")
        await attach(memory, agent_id, block.block_id)
    return agents, bob


async def test_agents_are_listed_by_user(memory: Memory) -> None:
    agents, bob = await populated(memory)
    assert await of_user(memory, "ada") == agents
    assert await of_user(memory, "bob") == [bob]
    assert len(await of_user(memory, "")) == 3
    changed = agent_pb2.Agent(agent_id=agents[0], user_id="bob")
    request = state_pb.UpdateAgentRequest(agent=changed, update_mask=FieldMask(paths=["user_id"]))
    assert (await memory.agents.UpdateAgent(request)).agent.user_id == "bob"
    assert await of_user(memory, "ada") == agents[1:]
    assert await of_user(memory.of(f"t{uuid4().hex}"), "ada") == []


async def test_an_export_has_every_agent_and_block_of_the_user(memory: Memory) -> None:
    agents, _ = await populated(memory)
    items = [item async for item in memory.users.ExportUser(pb.ExportUserRequest(user_id="ada"))]
    assert [item.shared_block.value for item in items if item.HasField("shared_block")] == ["Ada likes tea"]
    pieces = [item.piece for item in items if item.HasField("piece")]
    assert [piece.agent.agent_id for piece in pieces if piece.HasField("agent")] == agents
    assert sum(piece.HasField("end") for piece in pieces) == 2
    assert [piece.passage.text for piece in pieces if piece.HasField("passage")] == ["a note"] * 2
    assert [item async for item in memory.users.ExportUser(pb.ExportUserRequest(user_id="nobody"))] == []


async def test_an_erasure_deletes_the_users_own_only_and_counts_it(memory: Memory) -> None:
    _, bob = await populated(memory)
    receipt = await erase(memory, "ada", "r1")
    counts = receipt.agent_count, receipt.block_count, receipt.message_count, receipt.note_count
    assert (*counts, receipt.shared_block_count) == (2, 2, 2, 2, 1)
    assert receipt.HasField("end_time")
    assert await erase(memory, "ada", "r1") == receipt
    assert await of_user(memory, "ada") == []
    assert await of_user(memory, "") == [bob]
    assert await labels(memory, bob) == ["human"]
    again = await erase(memory, "ada")
    assert (again.agent_count, again.shared_block_count) == (0, 0)


async def test_a_receipt_does_not_outlive_the_memory_of_its_request(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same id names another request then, which must not get a receipt of what it has not erased."""
    async with serve(str(tmp_path / "a.db")) as memory:
        await populated(memory)
        assert (await erase(memory, "ada", "r1")).agent_count == 2
        monkeypatch.setattr(runtime_clock, "_stopped", runtime_clock.now() + timedelta(microseconds=RETENTION + 1))
        await memory.core().idempotency.forget_old()
        await populated(memory)
        assert (await erase(memory, "ada", "r1")).agent_count == 2
        assert await of_user(memory, "ada") == []


@pytest.mark.parametrize("kind", ["agent", "shared_block"])
async def test_a_repeated_erasure_completes_a_deletion_that_failed_halfway(
    kind: str, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(str(tmp_path / "a.db")) as memory:
        await populated(memory)
        store = memory.core().store
        owned = {one.id for one in await store.query(RECORDS, Equals("kind", kind), Record) if owner_of(one) == "ada"}
        delete = store.delete
        failed: list[Collection] = []

        async def fail_once(target: Collection, ids: Sequence[str], **options: Any) -> None:
            if not failed and not owned.isdisjoint(ids):
                failed.append(target)
                raise reasons.store_unavailable("injected")
            await delete(target, ids, **options)

        monkeypatch.setattr(store, "delete", fail_once)
        with refused(UNAVAILABLE):
            await erase(memory, "ada", "r1")
        assert failed
        receipt = await erase(memory, "ada", "r1")
        assert (receipt.agent_count, receipt.shared_block_count) == (2, 1)
        assert await store.get(RECORDS, sorted(owned), Key) == {}


async def test_an_erasure_leaves_an_import_in_progress_alone(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are hidden as those of a deletion are; half of them would be missing in the imported agent."""
    async with serve(str(tmp_path / "a.db")) as memory:
        agent_id = (await memory.agent("a", user_id="ada")).agent_id
        await memory.turn(agent_id, *(f"message {number}" for number in range(40)))
        pieces = await exported(memory, agent_id)
        agents = memory.core().agents
        written, write = asyncio.Event(), agents.messages.write

        async def note(rows: Any) -> None:
            await write(rows)
            if rows and not rows[0].id.startswith(agent_id):
                written.set()

        monkeypatch.setattr(agents.messages, "write", note)
        call = memory.agents.ImportAgent()
        for piece in pieces[:-1]:
            await call.write(state_pb.ImportAgentRequest(piece=piece, name="b" if piece is pieces[0] else ""))
        await written.wait()
        assert (await erase(memory, "ada")).agent_count == 1
        await call.write(state_pb.ImportAgentRequest(piece=pieces[-1]))
        await call.done_writing()
        imported = (await call).agent.agent_id
        assert len(await memory.history(imported)) == 40
        assert content(await exported(memory, imported))[2:] == content(pieces)[2:]


async def test_an_erasure_goes_on_past_a_deletion_that_ends_in_the_meantime(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(str(tmp_path / "a.db")) as memory:
        doomed, other = [(await memory.agent(user_id="ada")).agent_id for _ in range(2)]
        agents = memory.core().agents
        purging, found = Gate(agents.repository.delete), Gate(agents.deleting)
        monkeypatch.setattr(agents.repository, "delete", purging)
        monkeypatch.setattr(agents, "deleting", found)
        deletion = asyncio.create_task(delete_agent(memory, doomed))
        await purging.reached.wait()
        erasure = asyncio.create_task(erase(memory, "ada"))
        await found.reached.wait()
        purging.opened.set()
        await deletion
        found.opened.set()
        assert (await erasure).agent_count == 1
        assert await of_user(memory, "ada") == [], other


async def test_an_erasure_does_not_wait_for_that_of_another_tenant(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(str(tmp_path / "a.db")) as memory:
        await populated(memory)
        agents = memory.core().agents
        held = Gate(agents.deleting)
        monkeypatch.setattr(agents, "deleting", held)
        erasure = asyncio.create_task(erase(memory, "ada"))
        await held.reached.wait()
        async with asyncio.timeout(20):
            assert (await erase(memory.of(f"t{uuid4().hex}"), "ada")).agent_count == 0
        held.opened.set()
        assert (await erasure).agent_count == 2


async def test_an_erasure_that_a_crash_interrupts_is_completed_and_counted_once(tmp_path: Path) -> None:
    armed = tmp_path / "armed"
    for number, death in enumerate(("before:armed:2", "after:armed:3", "after:armed:4", "before:armed:7")):
        home = tmp_path / str(number)
        home.mkdir()
        settings = {"DIE_ARMED": str(armed), "MEMGPT_MEMORY_LEASE_SECONDS": "0.2"}
        with ServiceProcess("tests.integration.memory.dying", home, name="memory", DIE_AT=death, **settings) as process:
            async with connected(await asyncio.to_thread(process.wait_ready)) as memory:
                await populated(memory)
                armed.touch()
                with refused(UNAVAILABLE):
                    await erase(memory, "ada", "r1")
                assert await asyncio.to_thread(process.wait, 60) == -9
                armed.unlink()
        with ServiceProcess("memgpt_memory", home) as process:
            async with connected(await asyncio.to_thread(process.wait_ready)) as memory:
                receipt = await erase(memory, "ada", "r1")
                counts = receipt.agent_count, receipt.block_count, receipt.message_count, receipt.note_count
                assert (*counts, receipt.shared_block_count) == (2, 2, 2, 2, 1), death
                assert await of_user(memory, "ada") == []
