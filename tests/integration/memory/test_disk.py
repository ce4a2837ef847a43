"""A disk that fails in mid-write, or is full: nothing acknowledged is lost, and no restart is needed."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import grpc
import pytest
from memgpt.memory.v1 import agent_state_service_pb2 as pb
from memgpt_memory.store.lite.disk import LAST_ROOM_BYTES

from tests.integration.memory.client import Memory, connected, refused
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import FakeDisk
from tests.support.processes import ServiceProcess

LONG = " ".join(["word"] * 150)


@contextmanager
def torn_log(process: ServiceProcess, _store: Path) -> Iterator[None]:
    """No file of the process may grow further than this: a write that would is done in part, as on a full disk."""
    resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    yield
    resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def failing_flush(_process: ServiceProcess, store: Path) -> Iterator[None]:
    """The folders that passages are flushed into cannot be made."""
    obstacles = [folder / "data" for folder in store.glob("collections/memgpt_passages_*/partitions/*")]
    assert obstacles, "a store that has never been flushed"
    for obstacle in obstacles:
        obstacle.touch()
    yield
    for obstacle in obstacles:
        obstacle.unlink()


async def inserted(memory: Memory, agent_id: str, mark: str, notes: list[str]) -> bool:
    """Whether notes were acknowledged; their refusal is one that asks to try again."""
    try:
        await memory.insert(agent_id, *notes, request_id=mark)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


@pytest.mark.parametrize(
    "fault",
    [pytest.param(torn_log, marks=pytest.mark.linux("limits another process by prlimit")), failing_flush],
)
async def test_writes_that_the_disk_refuses_half_way(
    tmp_path: Path, fault: Callable[[ServiceProcess, Path], AbstractContextManager[None]]
) -> None:
    settings = {"MEMGPT_SERVER_LOG_LEVEL": "error", "MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES": "500000"}
    with ServiceProcess("memgpt_memory", tmp_path, **settings) as process:
        async with connected(await asyncio.to_thread(process.wait_ready)) as memory:
            agent_id = (await memory.agent()).agent_id
            done: list[str] = []
            refusals = 0
            with fault(process, tmp_path / "milvus.db"):
                for number in range(1_000):
                    notes = [f"before {number} {row} {LONG}" for row in range(40)]
                    if await inserted(memory, agent_id, f"before {number}", notes):
                        done += notes
                    elif (refusals := refusals + 1) == 3:
                        break
            assert refusals == 3
            async with asyncio.timeout(60):
                for number in range(20):
                    note = f"after {number} {LONG}"
                    while not await inserted(memory, agent_id, f"after {number}", [note]):
                        pass
                    done.append(note)
            seen = await memory.texts("word", agent_id=agent_id)
            assert len(seen) == len(set(seen))
            assert set(done) <= set(seen)
            assert len(done) > 20
        process.kill9()
    with ServiceProcess("memgpt_memory", tmp_path, **settings) as process:
        async with connected(await asyncio.to_thread(process.wait_ready)) as memory:
            assert sorted(await memory.texts("word", agent_id=agent_id)) == sorted(seen)


@pytest.mark.parametrize("read_only", [False, True], ids=["full", "read-only"])
async def test_a_disk_without_room_is_said_before_anything_is_written(
    serve: Serve, tmp_path: Path, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent_id, other_id = (await memory.agent()).agent_id, (await memory.agent()).agent_id
        await memory.insert(agent_id, "before")
        disk = os.statvfs(tmp_path)
        with monkeypatch.context() as patch:
            free, flags = (1 << 30, disk.f_flag | os.ST_RDONLY) if read_only else (LAST_ROOM_BYTES, 0)
            patch.setattr(os, "statvfs", lambda _: FakeDisk(f_bavail=free, f_flag=flags))
            if read_only:
                with refused(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE") as refusal:
                    await memory.insert(agent_id, "no way to store this")
                assert "read-only" in refusal.message
            else:
                with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED") as refusal:
                    await memory.insert(agent_id, "no room for this")
                assert "make room" in refusal.message
                await memory.agents.DeleteAgent(pb.DeleteAgentRequest(agent_id=other_id))  # makes room
            assert await memory.texts("x", agent_id=agent_id) == ["before"]
        await memory.insert(agent_id, "after")
        assert sorted(await memory.texts("x", agent_id=agent_id)) == ["after", "before"]
