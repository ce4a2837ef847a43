"""Damaged stores that are repaired: what is lost is listed, the rest is served, and every call ends.

``--kills`` sets how many times each file is harmed.
"""

from __future__ import annotations

import asyncio
import errno
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from memgpt.memory.v1 import agent_state_service_pb2 as state
from memgpt.memory.v1 import block_pb2, source_service_pb2
from memgpt.memory.v1.recall_memory_service_pb2 import ForgetMessagesRequest
from memgpt.memory.v1.shared_block_service_pb2 import GetSharedBlockRequest
from memgpt_memory.maintenance.reconciliation import LOST
from memgpt_memory.maintenance.repair import repair
from memgpt_memory.records import Record
from memgpt_memory.store.filters import EVERY_ROW
from memgpt_memory.store.layout import MESSAGES, RECORDS
from memgpt_memory.store.lite.files import INDEXES
from memgpt_runtime.errors import FailedPrecondition

from tests.integration.memory.client import PRECONDITION, Memory, refused
from tests.integration.memory.conftest import Serve
from tests.integration.memory.test_shared_blocks import attach, create, delete, update
from tests.support.processes import service_environment

LONG = "word " * 100
TEXTS = [f"text {number}" for number in range(12)]


@dataclass
class Content:
    """What Memory serves of a store."""

    blocks: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    window: int = 0
    notes: set[str] = field(default_factory=set)
    passages: set[str] = field(default_factory=set)
    files: list[str] = field(default_factory=list)
    exported: int = 0


async def content(memory: Memory) -> Content:
    """Read all that there is, by as many calls as possible."""
    found = Content()
    for agent in await memory.listed():
        assert (await memory.agents.GetAgent(state.GetAgentRequest(name=agent.name))).agent == agent
        context = await memory.context(agent.agent_id)
        found.blocks |= {block.label: block.value for block in context.blocks}
        found.window += len(context.messages)
        found.messages += [message.text for message in await memory.history(agent.agent_id)]
        found.notes |= set(await memory.texts("text", agent_id=agent.agent_id))
        export = memory.agents.ExportAgent(state.ExportAgentRequest(agent_id=agent.agent_id))
        found.exported += sum([response.piece.HasField("message") async for response in export])
    for source in (await memory.sources.ListSources(source_service_pb2.ListSourcesRequest())).sources:
        files = await memory.sources.ListFiles(source_service_pb2.ListFilesRequest(source_id=source.source_id))
        assert source.passage_count == sum(file.passage_count for file in files.files)
        found.files += [file.version.name for file in files.files]
        found.passages |= set(await memory.texts("text", source_id=source.source_id))
    return found


def flush(memory: Memory) -> None:
    store: Any = memory.core().store
    for name in list(store._ready):
        store._open_engine.flush(name)


async def filled(serve: Serve, path: Path, copy: Path) -> Content:
    """Fill a store, and copy it as a crash would leave it: in files and in logs."""
    async with serve(str(path)) as memory:
        blocks = [block_pb2.BlockEdit(label="human", value="Ada"), block_pb2.BlockEdit(label="persona", value="Bob")]
        agent_id = (await memory.agent("a", system=LONG, blocks=blocks)).agent_id
        source_id = (await memory.source("s")).source_id
        for number in range(3):
            await memory.turn(agent_id, f"question {number} {LONG}", f"answer {number} {LONG}")
            await memory.insert(agent_id, f"note {number} {LONG}")
            await memory.load(source_id, f"{number}.txt", [f"{number} {text}" for text in TEXTS])
            if number < 2:
                flush(memory)
        found = await content(memory)
        memory.core().store._open_engine.settle()  # type: ignore[attr-defined]
        await asyncio.to_thread(shutil.copytree, path, copy, ignore=shutil.ignore_patterns("LOCK", INDEXES))
    return found


def files_beside(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}*"))


def harms(path: Path, samples: int) -> Iterator[bytes | None]:
    """Yield what a file may become: missing, cut, or with a flipped bit."""
    whole, source = path.read_bytes(), random.Random(path.name)
    for number in range(samples):
        match (source.randrange(3) + number) % 3:
            case 0:
                yield None
            case 1:
                yield whole[: source.randrange(max(len(whole), 1))]
            case _ if whole:
                altered = bytearray(whole)
                altered[source.randrange(len(whole))] ^= 1 << source.randrange(8)
                yield bytes(altered)


@pytest.mark.timeout(3_600)
async def test_a_repaired_store_serves_what_is_whole(serve: Serve, tmp_path: Path, kills: int) -> None:
    whole, copy = tmp_path / "whole", tmp_path / "copy.db"
    expected = await filled(serve, tmp_path / "first.db", whole)
    assert (await asyncio.to_thread(repair, whole, change=True)) == ([], None)
    names = sorted(file.relative_to(whole) for file in whole.rglob("*") if file.is_file() and file.suffix != ".prev")
    assert len(names) > 12
    lossy = 0
    for name in names:
        for number, harm in enumerate(harms(whole / name, kills or 1)):
            shutil.copytree(whole, copy)
            (copy / name).unlink()
            if harm is not None:
                (copy / name).write_bytes(harm)
            losses, former = await asyncio.to_thread(repair, copy, change=True)
            async with serve(str(copy)) as memory:
                found = await content(memory)
            where = f"{name} {number} {losses}"
            if not losses:
                assert found == expected, where
            else:
                lossy += 1
                assert former is not None, where
                known = {*expected.messages, LOST}
                assert set(found.messages) <= known, where
                assert found.exported == len(found.messages), where
                assert LOST not in found.messages or any("messages" in loss for loss in losses), where
                assert found.notes <= expected.notes, where
                assert found.passages <= expected.passages, where
                assert set(found.blocks.values()) <= {"Ada", "Bob", ""}, where
                shutil.rmtree(former)
            shutil.rmtree(copy)
    assert lossy > len(names) // 3


async def test_lost_messages_leave_marks_outside_the_window_and_lost_files_can_be_loaded_again(
    serve: Serve, tmp_path: Path
) -> None:
    path, copy = tmp_path / "first.db", tmp_path / "copy.db"
    expected = await filled(serve, path, copy)
    for pattern in (
        f"collections/{MESSAGES.name}/partitions/*/data/*",
        "collections/memgpt_passages_*/partitions/*/data/*",
    ):
        sorted(copy.glob(pattern))[0].unlink()
    with pytest.raises(FailedPrecondition, match="memgpt-memory repair"):
        async with serve(str(copy)):
            pass
    losses, former = await asyncio.to_thread(repair, copy, change=True)
    assert former is not None
    assert any("2 of 6 messages" in loss for loss in losses)
    async with serve(str(copy)) as memory:
        found = await content(memory)
        assert found.messages[:2] == [LOST, LOST]
        assert found.messages[2:] == expected.messages[2:]
        agent = (await memory.listed())[0]
        assert [one.text for one in (await memory.context(agent.agent_id)).messages] == found.messages[2:]
        await memory.turn(agent.agent_id, "and on", "it goes")
        missing = {"0.txt", "1.txt", "2.txt"} - set(found.files)
        source = (await memory.sources.ListSources(source_service_pb2.ListSourcesRequest())).sources[0]
        for name in missing:
            await memory.load(source.source_id, name, [f"{name[0]} {text}" for text in TEXTS])
        assert (await content(memory)).passages == expected.passages
    assert (await asyncio.to_thread(repair, copy, change=False)) == ([], None)


async def test_what_was_deleted_or_forgotten_is_not_damage(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with serve(str(path)) as memory:
        agent_id = (await memory.agent("a")).agent_id
        await memory.turn(agent_id, "question", "answer")
        notes = await memory.insert(agent_id, "one note", "another")
        await memory.delete(agent_id, notes[0])
        await memory.recall.ForgetMessages(ForgetMessagesRequest(agent_id=agent_id, sequences=[0]))
        gone = (await memory.agent("gone")).agent_id
        await memory.agents.DeleteAgent(state.DeleteAgentRequest(agent_id=gone))
    assert (await asyncio.to_thread(repair, path, change=True)) == ([], None)
    async with serve(str(path)) as memory:
        assert [message.text for message in await memory.history(agent_id)] == ["answer"]


async def test_rows_that_are_only_in_the_log_are_not_lost(serve: Serve, tmp_path: Path) -> None:
    path, copy = tmp_path / "first.db", tmp_path / "copy.db"
    async with serve(str(path)) as memory:
        await memory.insert((await memory.agent("a")).agent_id, "a note")
        await memory.load((await memory.source("s")).source_id, "f.txt", TEXTS)
        expected = await content(memory)
        await asyncio.to_thread(shutil.copytree, path, copy, ignore=shutil.ignore_patterns("LOCK", INDEXES))
    assert not sorted(copy.rglob("*.parquet"))
    assert (await asyncio.to_thread(repair, copy, change=True)) == ([], None)
    next(iter(copy.glob("collections/memgpt_passages_*/schema.json"))).write_text("{}")
    losses, _ = await asyncio.to_thread(repair, copy, change=True)
    assert [loss.partition(": ")[2] for loss in losses] == ["its schema, which was written again; no row is affected"]
    async with serve(str(copy)) as memory:
        assert await content(memory) == expected


async def test_a_disk_that_refuses_to_read_is_no_damage(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, copy = tmp_path / "first.db", tmp_path / "copy.db"
    await filled(serve, store, copy)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("pyarrow.parquet.ParquetFile", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        await asyncio.to_thread(repair, copy, change=True)
    assert files_beside(copy) == [copy]


async def test_a_shared_block_that_lost_its_value_is_empty_and_keeps_its_name_and_agents(
    serve: Serve, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    async with serve(str(path)) as memory:
        agent_id = (await memory.agent("a")).agent_id
        lost, kept = [(await create(memory, "old", name=name)).block_id for name in ("lost", "kept")]
        for block_id, label in ((lost, "one"), (kept, "two")):
            await attach(memory, agent_id, block_id, label)
            grant = await memory.begin(agent_id, label, "question")
            edit = block_pb2.BlockEdit(label=label, value="new")
            await memory.commit(agent_id, grant.lease, 1, "answer", blocks=[edit])
            await memory.end(agent_id, grant.lease)
        store = memory.core().store
        records = await store.query(RECORDS, EVERY_ROW, Record)
        gone = [one.id for one in records if one.kind == "block_link" or (one.kind, one.parent) == ("text", lost)]
        gone += [one.id for one in records if one.kind == "name" and one.parent in (lost, kept)]
        await store.delete(RECORDS, gone)
    losses, _ = await asyncio.to_thread(repair, path, change=True)
    assert losses == [f"shared block {lost} (lost): its value"]
    async with serve(str(path)) as memory:
        context = await memory.context(agent_id)
        assert {block.label: block.value for block in context.blocks} == {"one": "", "two": "new"}
        for block_id, name in ((lost, "lost"), (kept, "kept")):
            assert (await memory.shared.GetSharedBlock(GetSharedBlockRequest(name=name))).block.block_id == block_id
            with refused(PRECONDITION):
                await delete(memory, block_id)
            assert (await update(memory, block_id, value="newer")).value == "newer"


def command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "memgpt_memory", "repair", *arguments],
        env=service_environment(home, {}),
        capture_output=True,
        text=True,
        check=False,
    )


async def test_the_command_lists_repairs_and_keeps_a_copy(serve: Serve, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    store = home / "milvus.db"
    missing = await asyncio.to_thread(command, home)
    assert missing.returncode == 1
    assert "there is no Milvus Lite file" in missing.stderr
    await filled(serve, tmp_path / "first.db", store)
    whole = await asyncio.to_thread(command, home)
    assert (whole.returncode, whole.stdout) == (0, f"{store} is whole\n")
    sorted(store.glob(f"collections/{RECORDS.name}/partitions/*/data/*"))[-1].write_bytes(b"PAR1")
    before = sorted(file.name for file in home.iterdir())
    listed = await asyncio.to_thread(command, home, "--check")
    assert listed.returncode == 1
    assert listed.stdout.startswith("lost: memgpt_records: ")
    assert sorted(file.name for file in home.iterdir()) == before
    repaired = await asyncio.to_thread(command, home)
    assert repaired.returncode == 0
    assert "The damaged store is now" in repaired.stdout
    assert len([file for file in home.iterdir() if ".damaged-" in file.name]) == 1
    async with serve(str(store)) as memory:
        await content(memory)
        with pytest.raises(FailedPrecondition, match="is in use"):
            await asyncio.to_thread(repair, store, change=True)
