"""Deleted data is in no file of the store after compaction."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memgpt.memory.v1 import block_pb2, store_service_pb2

from tests.integration.memory.client import PRECONDITION, Memory, batch, finish, header, refused, version
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import failing_deletes
from tests.integration.memory.test_concurrent_creation import Gate
from tests.integration.memory.test_deletion import delete_agent, delete_source, full_agent, full_source
from tests.integration.memory.test_disk import LONG
from tests.integration.memory.test_state import update
from tests.support.waiting import until


def files_with(store: Path, *marks: str) -> list[str]:
    """Return the files of a Lite store that contain a mark, even compressed."""
    found = []
    for file in sorted(path for path in store.rglob("*") if path.is_file()):
        content = file.read_bytes()
        if file.suffix == ".parquet":
            content += repr(pq.read_table(file).to_pylist()).encode()
        elif file.suffix == ".arrow":
            content += repr(pa.ipc.open_stream(content).read_all().to_pylist()).encode()
        found += [f"{file.relative_to(store)}: {mark}" for mark in marks if mark.encode() in content]
    return found


async def compact(memory: Memory) -> store_service_pb2.CompactResponse:
    return await memory.store.Compact(store_service_pb2.CompactRequest())  # type: ignore[no-any-return]


async def test_no_file_has_what_was_deleted_or_replaced(serve: Serve, milvus_lite_uri: str) -> None:
    gone, kept, file = uuid4().hex, uuid4().hex, Path(milvus_lite_uri)
    async with serve(milvus_lite_uri) as memory:
        other_source = await full_source(memory, kept)
        source_id = await full_source(memory, gone)
        agent_id = await full_agent(memory, gone, other_source)
        other_id = await full_agent(memory, kept, other_source)
        once = await memory.insert(other_id, f"{gone} a note", f"{kept} a note")
        await memory.blocks.SetBlock(_block(other_id, f"{gone} in a block"))
        ruled = await memory.agent("ruled", system=f"{gone} rules", request_id="ruled")
        await memory.load(other_source, "a.txt", [f"{gone} {n}" for n in range(20)])
    assert len({line.split("/")[1] for line in files_with(file, gone)}) == 3
    async with serve(milvus_lite_uri) as memory:  # by now it lies in files, and in logs after this
        await memory.insert(other_id, f"{kept} {gone} another", request_id="another")
        before = sorted(await memory.texts("x", agent_id=other_id))
        await delete_agent(memory, agent_id)
        await delete_source(memory, source_id)
        await memory.load(other_source, "a.txt", ["kept"])
        await update(memory, ruled.agent_id, "system", system=f"{kept} rules")
        # Deletions behind the scenes may fail: what they leave is found all the same.
        with failing_deletes(memory.core().store, "memgpt_records", times=1):
            await memory.blocks.SetBlock(_block(other_id, f"{kept} in a block"))
            await memory.core().agents.repository.close()
        with failing_deletes(memory.core().store, "memgpt_passages", times=1):
            await memory.delete(other_id, once[0])
        assert files_with(file, gone)
        said = await compact(memory)
        # The other agent's note is left.
        assert {line.split("/")[1].rsplit("_", 1)[0] for line in files_with(file, gone)} == {
            "memgpt_passages_wordllama_l2_256"
        }
        last = [hit for hit in await memory.pages("x", size=100, agent_id=other_id) if "another" in hit.passage.text]
        await memory.delete(other_id, last[0].passage.passage_id)
        await compact(memory)
        # Nor do the answers that are remembered of requests hold what was deleted or replaced.
        assert files_with(file, gone) == []
        assert await memory.insert(other_id, f"{kept} {gone} another", request_id="another") == []
        assert (await memory.agent("ruled", system=f"{gone} rules", request_id="ruled")).system == f"{kept} rules"
        after = sorted(await memory.texts("x", agent_id=other_id))
        assert set(after) == {text for text in before if gone not in text} | {"kept"}
        assert 0 < said.bytes_after < said.bytes_before
        assert (await memory.context(other_id)).blocks[0].value == f"{kept} in a block"
        await delete_agent(memory, other_id)
        await compact(memory)
        assert files_with(file, gone, other_id) == []
        await memory.insert((await memory.agent()).agent_id, "goes on")
    async with serve(milvus_lite_uri) as memory:
        assert len(await memory.texts("x", source_id=other_source)) == 31


def _block(agent_id: str, value: str) -> object:
    from memgpt.memory.v1 import block_service_pb2

    return block_service_pb2.SetBlockRequest(agent_id=agent_id, block=block_pb2.BlockEdit(label="human", value=value))


async def test_a_compaction_deletes_former_versions_and_keeps_no_files_in_memory(
    serve: Serve, milvus_lite_uri: str
) -> None:
    async with serve(milvus_lite_uri) as memory:
        source_id = (await memory.source()).source_id
        for name in ("a.txt", "b.txt"):
            await memory.load(source_id, name, ["old"])
        with failing_deletes(memory.core().store, "memgpt_passages"):
            await memory.load(source_id, "a.txt", ["new"])
    async with serve(milvus_lite_uri) as memory:
        core = memory.core()
        live = await core.sources.find(source_id)
        assert live is not None
        assert len(await core.passages.ids(memory.tenant, source_id)) == 3
        await compact(memory)
        assert len(await core.passages.ids(memory.tenant, source_id)) == 2
        assert (live.complete, list(live.files)) == (False, ["a.txt"])


async def test_a_compaction_deletes_what_uploads_left_that_were_not_completed(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        source_id = (await memory.source()).source_id
        await memory.load(source_id, "a.txt", ["old"])
        files = memory.core().sources.files
        uploads = []
        for name in ("a.txt", "b.txt", "c.txt"):
            stored = Gate(files.write_passages)
            stored.opened.set()
            monkeypatch.setattr(files, "write_passages", stored)
            uploads.append(memory.sources.UpsertPassages())
            await uploads[-1].write(header(source_id, version(name, [f"new {name}"])))
            await uploads[-1].write(batch([f"new {name}"]))
            await stored.reached.wait()
        for upload in uploads[:2]:
            upload.cancel()
        live = await memory.core().sources.find(source_id)
        assert live is not None
        locks = [live.locks[name] for name in ("a.txt", "b.txt")]
        await until(lambda: not any(lock.locked() for lock in locks))
        await compact(memory)
        assert len(await memory.core().passages.ids(memory.tenant, source_id)) == 2  # the visible one, and c.txt's
        await uploads[2].write(finish(1))
        await uploads[2].done_writing()
        await uploads[2]
        await memory.load(source_id, "b.txt", ["new b.txt"])
        assert sorted(await memory.texts("x", source_id=source_id)) == ["new b.txt", "new c.txt", "old"]


async def test_everything_goes_on_while_a_store_is_compacted(serve: Serve, milvus_uri: str) -> None:
    async with serve(milvus_uri) as memory:
        agents = [(await memory.agent()).agent_id for _ in range(4)]
        kept: dict[str, list[str]] = {agent_id: [] for agent_id in agents}
        done = asyncio.Event()

        async def work(agent_id: str) -> None:
            number = 0
            while not done.is_set() or number < 3:
                texts = [f"{number} {n} {LONG}" for n in range(20)]
                ids = await memory.insert(agent_id, *texts)
                await memory.delete(agent_id, *ids[:10])
                kept[agent_id] += texts[10:]
                await memory.turn(agent_id, f"{number}", "one")
                seen = await memory.texts("x", agent_id=agent_id)
                assert sorted(seen) == sorted(kept[agent_id])
                number += 1

        async def compacting() -> None:
            for _ in range(3):
                await compact(memory)
            done.set()

        await asyncio.gather(compacting(), *(work(agent_id) for agent_id in agents))
    async with serve(milvus_uri) as memory:
        for agent_id in agents:
            assert sorted(await memory.texts("x", agent_id=agent_id)) == sorted(kept[agent_id])
            assert len(await memory.history(agent_id)) % 2 == 0


async def test_a_store_that_is_being_moved_is_not_compacted(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        reembedding = memory.core().reembedding
        monkeypatch.setattr(reembedding, "_identity", reembedding._identity.begun(("other", 8)))
        with refused(PRECONDITION, "WRONG_STATE") as said:
            await compact(memory)
        assert "memgpt reembed" in said.message
