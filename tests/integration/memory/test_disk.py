"""A disk that fails in mid-write, or is full: nothing acknowledged is lost, and no restart is needed."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from memgpt.memory.v1 import agent_state_service_pb2 as pb
from memgpt.memory.v1 import block_pb2, block_service_pb2, profile_service_pb2, store_service_pb2
from memgpt.memory.v1.profile_pb2 import PROFILE_KIND_PERSONA
from memgpt.memory.v1.recall_memory_service_pb2 import ForgetMessagesRequest
from memgpt.memory.v1.turn_pb2 import Lease
from memgpt_memory.store.lite.disk import LAST_ROOM_BYTES

from tests.integration.memory.client import Memory, connected, refused
from tests.integration.memory.conftest import Serve
from tests.integration.memory.faults import FakeDisk
from tests.support.processes import ServiceProcess

LONG = " ".join(["word"] * 150)
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"
READ_ONLY = grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"


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


@dataclass
class Stored:
    """What was stored before the disk was full.

    Attributes:
        memory: The client.
        agent_id: An agent with a block, a note and a turn of its own.
        lease: The lease of a turn of that agent.
        note_id: The note.
        other_id: Another agent.
        source_id: A source with a file.
    """

    memory: Memory
    agent_id: str
    lease: Lease
    note_id: str
    other_id: str
    source_id: str

    async def texts(self) -> list[str]:
        """Return all that a kind of write may change, by reading."""
        memory = self.memory
        context = await memory.context(self.agent_id)
        return [
            *(agent.name for agent in await memory.listed()),
            *(message.text for message in await memory.history(self.agent_id)),
            *(block.value for block in context.blocks),
            *sorted(await memory.texts("a", agent_id=self.agent_id)),
            *sorted(await memory.texts("a", source_id=self.source_id)),
        ]


@asynccontextmanager
async def stored(serve: Serve, uri: str) -> AsyncIterator[Stored]:
    async with serve(uri, lease_seconds=600.0) as memory:
        blocks = [block_pb2.BlockEdit(label="human", value="Ada")]
        agent_id = (await memory.agent("an agent", blocks=blocks)).agent_id
        other_id = (await memory.agent("another")).agent_id
        source_id = (await memory.source()).source_id
        await memory.load(source_id, "a.txt", ["a text", "another text"])
        (note_id,) = await memory.insert(agent_id, "a note")
        grant = await memory.begin(agent_id, "a turn", "hello")
        yield Stored(memory, agent_id, grant.lease, note_id, other_id, source_id)


async def begin_turn(on: Stored) -> None:
    await on.memory.begin(on.other_id, "another turn", "hello")


async def commit_step(on: Stored) -> None:
    await on.memory.commit(on.agent_id, on.lease, 1, "a thought", notes=["a further note"])


async def end_turn(on: Stored) -> None:
    await on.memory.end(on.agent_id, on.lease)


async def insert_note(on: Stored) -> None:
    await on.memory.insert(on.agent_id, "one more note", request_id="one more note")


async def delete_note(on: Stored) -> None:
    await on.memory.delete(on.agent_id, on.note_id)


async def set_block(on: Stored) -> None:
    edit = block_pb2.BlockEdit(label="human", value="Bob")
    await on.memory.blocks.SetBlock(block_service_pb2.SetBlockRequest(agent_id=on.agent_id, block=edit))


async def forget_message(on: Stored) -> None:
    await on.memory.end(on.agent_id, on.lease)
    await on.memory.recall.ForgetMessages(ForgetMessagesRequest(agent_id=on.agent_id, sequences=[0]))


async def create_agent(on: Stored) -> None:
    await on.memory.agent("one more", request_id="one more")


async def delete_agent(on: Stored) -> None:
    await on.memory.agents.DeleteAgent(pb.DeleteAgentRequest(agent_id=on.other_id))


async def load_file(on: Stored) -> None:
    await on.memory.load(on.source_id, "b.txt", ["a third text"])


async def put_profile(on: Stored) -> None:
    request = profile_service_pb2.PutProfileRequest(kind=PROFILE_KIND_PERSONA, name="a persona", text="I am.")
    await on.memory.profiles.PutProfile(request)


async def compact(on: Stored) -> None:
    await on.memory.store.Compact(store_service_pb2.CompactRequest())


WRITES = [
    begin_turn,
    commit_step,
    end_turn,
    insert_note,
    delete_note,
    set_block,
    forget_message,
    create_agent,
    delete_agent,
    load_file,
    put_profile,
    compact,
]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("read_only", [False, True], ids=["full", "read-only"])
async def test_every_kind_of_write_is_refused_whole_and_can_be_repeated(
    serve: Serve,
    milvus_lite_uri: str,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Stored], Awaitable[None]],
    read_only: bool,
) -> None:
    async with stored(serve, milvus_lite_uri) as on:
        before = await on.texts()
        flags = os.statvfs(Path(milvus_lite_uri).parent).f_flag | os.ST_RDONLY
        disk = FakeDisk(f_bavail=1 << 30, f_flag=flags) if read_only else FakeDisk(f_bavail=LAST_ROOM_BYTES - 1)
        with monkeypatch.context() as patch:
            patch.setattr(os, "statvfs", lambda _: disk)
            for _ in range(2):
                with refused(*(READ_ONLY if read_only else FULL)):
                    await write(on)
            assert await on.texts() == before
        await write(on)
        after = await on.texts()
    async with serve(milvus_lite_uri) as memory:
        on.memory = memory
        assert await on.texts() == after


async def test_a_backup_of_a_full_disk_is_whole_and_one_of_a_read_only_disk_is_refused(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    async with stored(serve, milvus_lite_uri) as on:
        with monkeypatch.context() as patch:
            patch.setattr(os, "statvfs", lambda _: FakeDisk(f_bavail=0))
            backup = on.memory.store.Backup(store_service_pb2.BackupRequest())
            assert sum([len(response.chunk) async for response in backup])
        with monkeypatch.context() as patch:
            patch.setattr(Path, "mkdir", refuse)
            with refused(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):
                async for _ in on.memory.store.Backup(store_service_pb2.BackupRequest()):
                    pass
        await on.memory.insert(on.agent_id, "after")
