"""Backups of a store in use, and their restoration."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from memgpt.memory.v1 import block_pb2, source_service_pb2, store_service_pb2
from memgpt_memory.maintenance.restore import restore
from memgpt_runtime.errors import FailedPrecondition, InvalidArgument

from tests.integration.memory.client import PRECONDITION, Memory, connected, pieces, refused
from tests.integration.memory.conftest import Serve
from tests.integration.memory.test_disk import LONG
from tests.support.processes import ServiceProcess, service_environment
from tests.support.waiting import until


async def backed_up(memory: Memory) -> bytes:
    stream = memory.store.Backup(store_service_pb2.BackupRequest())
    chunks = [response.chunk async for response in stream]
    assert max(map(len, chunks)) <= 256 * 1024
    return b"".join(chunks)


class Worker:
    """A client that commits steps, each with messages, notes and a block, and remembers which were acknowledged."""

    def __init__(self, memory: Memory, number: int) -> None:
        self._memory = memory
        self._number = number
        self.agent_id = ""
        self.committed = 0
        self.step = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        memory = self._memory
        blocks = [block_pb2.BlockEdit(label="human", value="0")]
        self.agent_id = (await memory.agent(f"agent {self._number}", blocks=blocks)).agent_id
        grant = await memory.begin(self.agent_id, f"turn {self._number}", "begin")
        while not stop.is_set():
            step = self.committed + 1
            await memory.commit(
                self.agent_id,
                grant.lease,
                step,
                *[f"{step} {n} {LONG}" for n in range(3)],
                notes=[f"{step} {n} {LONG}" for n in range(3)],
                blocks=[block_pb2.BlockEdit(label="human", value=str(step))],
            )
            self.committed = step
            self.step.set()

    @staticmethod
    async def steps(memory: Memory, agent_id: str) -> int:
        """Return the number of steps in a store; each must be complete."""
        context = await memory.context(agent_id)
        steps = int(context.blocks[0].value)
        whole = [f"{step} {n} {LONG}" for step in range(1, steps + 1) for n in range(3)]
        assert [message.text for message in await memory.history(agent_id)] == ["begin", *whole]
        assert sorted(await memory.texts("word", agent_id=agent_id)) == sorted(whole)
        return steps


async def test_a_backup_has_every_step_that_came_before_it_and_none_half(serve: Serve, tmp_path: Path) -> None:
    backups: list[tuple[bytes, list[int]]] = []
    with ServiceProcess("memgpt_memory", tmp_path / "one") as process:
        async with connected(await asyncio.to_thread(process.wait_ready)) as memory:
            workers = [Worker(memory, number) for number in range(8)]
            stop = asyncio.Event()

            async def operate() -> None:
                for target in (2, 6):
                    for worker in workers:
                        while worker.committed < target:
                            worker.step.clear()
                            await worker.step.wait()
                    before = [worker.committed for worker in workers]
                    backups.append((await backed_up(memory), before))
                stop.set()

            await asyncio.gather(operate(), *(worker.run(stop) for worker in workers))
            last = [worker.committed for worker in workers]
            assert not list((tmp_path / "one" / "milvus.db" / "backup").iterdir())
    for number, (backup, before) in enumerate(backups):
        store = tmp_path / "elsewhere" / f"{number}.db"
        assert restore(io.BytesIO(backup), store, replace=False) is None
        async with serve(str(store)) as memory:
            for worker, least, most in zip(workers, before, last, strict=True):
                assert least <= await Worker.steps(memory, worker.agent_id) <= most
            await memory.insert(workers[0].agent_id, "it goes on")


async def test_a_backup_during_a_load_has_the_file_of_before_and_the_load_can_be_repeated(
    serve: Serve, milvus_lite_uri: str, tmp_path: Path
) -> None:
    before, after = [f"before {n}" for n in range(50)], [f"after {n}" for n in range(1_500)]
    loading, resume = asyncio.Event(), asyncio.Event()

    async def paused(source_id: str) -> AsyncIterator[source_service_pb2.UpsertPassagesRequest]:
        async for piece in pieces(source_id, "a.txt", after):
            yield piece
            if piece.HasField("batch") and not loading.is_set():
                loading.set()
                await resume.wait()

    async with serve(milvus_lite_uri) as memory:
        agent_id, source_id = (await memory.agent()).agent_id, (await memory.source()).source_id
        await memory.load(source_id, "a.txt", before)
        await memory.attach(agent_id, source_id)
        load = memory.sources.UpsertPassages(paused(source_id))
        await loading.wait()
        store = memory.core().store
        await until(lambda: store.rows_written[memory.core().passages.collection.name] >= len(before) + 1_000)
        backup = await backed_up(memory)
        resume.set()
        await load
        assert sorted(await memory.texts("x", agent_id=agent_id)) == sorted(after)
    copy = tmp_path / "elsewhere" / "copy.db"
    restore(io.BytesIO(backup), copy, replace=False)
    async with serve(str(copy)) as memory:
        assert sorted(await memory.texts("x", agent_id=agent_id)) == sorted(before)
        await memory.load(source_id, "a.txt", after)
        assert sorted(await memory.texts("x", agent_id=agent_id)) == sorted(after)
        core = memory.core()
        assert await core.store.count(core.passages.collection) == len(after)


@pytest.fixture
async def backup(serve: Serve, milvus_lite_uri: str) -> bytes:
    async with serve(milvus_lite_uri) as memory:
        await memory.insert((await memory.agent("kept")).agent_id, "a note")
        return await backed_up(memory)


def restored(home: Path, file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "memgpt_memory", "restore", str(file), *arguments],
        env=service_environment(home, {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_a_store_in_the_way_is_moved_aside_and_one_in_use_left_alone(
    serve: Serve, tmp_path: Path, backup: bytes
) -> None:
    home, file = tmp_path / "home", tmp_path / "backup.tar"
    home.mkdir()
    file.write_bytes(backup)
    async with serve(str(home / "milvus.db")) as memory:
        await memory.agent("of before")
        told = restored(home, file, "--force")
        assert (told.returncode, "is in use" in told.stderr) == (1, True)
    told = restored(home, file)
    assert (told.returncode, "--force to move it aside" in told.stderr) == (1, True)
    told = restored(home, file, "--force")
    assert told.returncode == 0, told.stderr
    (former,) = home.glob("milvus.db.before-*")
    assert str(former) in told.stdout
    for store, name in ((home / "milvus.db", "kept"), (former, "of before")):
        async with serve(str(store.rename(home / f"{name}.db"))) as memory:
            assert [agent.name for agent in await memory.listed()] == [name]
    assert not list(home.glob("*restoring*"))


def _repacked(backup: bytes, change: Callable[[str, bytes], tuple[str, bytes] | None], kind: bytes = b"0") -> bytes:
    """Return the backup with changed members."""
    output = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(backup)) as old, tarfile.open(fileobj=output, mode="w") as new:
        for member in old:
            content = old.extractfile(member)
            assert content is not None
            changed = change(member.name, content.read())
            if changed is not None:
                info = tarfile.TarInfo(changed[0])
                info.type = kind if changed[0] != member.name else tarfile.REGTYPE
                info.linkname = "/etc/passwd"
                info.size = len(changed[1]) if info.isreg() else 0
                new.addfile(info, io.BytesIO(changed[1]))
    return output.getvalue()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_what_is_no_whole_backup_touches_nothing(tmp_path: Path, backup: bytes) -> None:
    store = tmp_path / "other.db"
    store.mkdir()
    (store / "precious").write_text("mine")

    def file(name: str, data: bytes) -> bool:
        return name.endswith("manifest.json")

    def renamed(to: str) -> Callable[[str, bytes], tuple[str, bytes]]:
        return lambda name, data: (to if file(name, data) else name, data)

    wrong = {
        "empty": b"",
        "no tar": b"no tar" * 1000,
        "cut off": backup[: len(backup) // 2],
        "without its end": backup[:-3000],
        "without its last member": _repacked(backup, lambda name, data: None if "checksums" in name else (name, data)),
        "a bit is wrong": backup.replace(b'"current_seq"', b'"current_sec"', 1),
        "a file is missing": _repacked(backup, lambda name, data: None if file(name, data) else (name, data)),
        "a path that leads out": _repacked(backup, renamed("store/../../out")),
        "an absolute path": _repacked(backup, renamed("/tmp/out")),
        "a link": _repacked(backup, renamed("store/link"), tarfile.SYMTYPE),
        "another format": _repacked(
            backup, lambda name, data: (name, b'{"format": 2, "layout": 1}' if "memgpt-" in name else data)
        ),
    }
    for kind, data in wrong.items():
        with pytest.raises(InvalidArgument, match="not a complete memgpt backup"):
            restore(io.BytesIO(data), store, replace=True)
        assert names_in(tmp_path) == ["milvus.db", "other.db"], kind
    newer = _repacked(
        backup,
        lambda name, data: (
            name,
            json.dumps({**json.loads(data), "layout": 99}).encode() if "memgpt-" in name else data,
        ),
    )
    with pytest.raises(FailedPrecondition, match="layout 99"):
        restore(io.BytesIO(newer), store, replace=True)
    assert (store / "precious").read_text() == "mine"


@pytest.mark.milvus_server
async def test_a_server_has_a_tool_of_its_own(serve: Serve, milvus_server_uri: str) -> None:
    async with serve(milvus_server_uri) as memory:
        with refused(PRECONDITION, "WRONG_STATE") as said:
            await backed_up(memory)
        assert "milvus-backup" in said.message
