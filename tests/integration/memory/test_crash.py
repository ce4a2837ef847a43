"""Memory and Milvus killed at random while clients write: acknowledged writes are complete and exist once.

``--kills`` and ``--clients`` set the length and the number of clients.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from memgpt.memory.v1 import block_pb2

from tests.integration.memory.client import Memory, batch, connected, finish, header, version
from tests.integration.memory.test_startup import until_healthy
from tests.support.milvus_server import MilvusServer
from tests.support.processes import ServiceProcess
from tests.support.waiting import until

LONG = "x" * 70_000
"""Longer than a row, so that a message may be torn between rows."""


@dataclass
class Client:
    """Commits steps to its own agent, and records which were acknowledged.

    Attributes:
        agent_id: The agent.
        turn: The request of the turn under way.
        sent: Texts of each step by turn, whether acknowledged or not.
        acknowledged: How many steps of each turn were, the input included.
        notes: Notes outside of turns: whether each was acknowledged.
    """

    agent_id: str
    turn: str = ""
    sent: dict[str, list[str]] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    notes: dict[str, bool] = field(default_factory=dict)

    async def work(self, memory: Memory, stop: asyncio.Event) -> None:
        """Work until told to stop, or the server is gone."""
        with suppress(grpc.aio.AioRpcError):
            while not stop.is_set():
                await self._turn(memory)
                note = f"note {uuid4().hex}"
                self.notes[note] = False
                await memory.insert(self.agent_id, note, request_id=note)
                self.notes[note] = True

    async def _turn(self, memory: Memory) -> None:
        if not self.turn:
            self.turn = uuid4().hex
            self.sent[self.turn] = [f"{self.turn} 0"]
        steps = self.sent[self.turn]
        grant = await memory.begin(self.agent_id, self.turn, steps[0])
        assert grant.turn.request_id == self.turn
        committed = grant.turn.committed_steps
        assert committed + 1 >= self.acknowledged.get(self.turn, 0), "an acknowledged step is gone"
        assert committed < len(steps), "a step that nobody sent"
        self.acknowledged[self.turn] = committed + 1
        if not grant.HasField("lease"):
            self.turn = ""
            return
        for index in range(committed + 1, 4):
            text = f"{self.turn} {index}"
            if index == len(steps):
                steps.append(text)
            await memory.commit(
                self.agent_id,
                grant.lease,
                index,
                f"{text} a {LONG}",
                f"{text} b",
                notes=[f"note {text}"],
                blocks=[block_pb2.BlockEdit(label="human", value=text)],
            )
            self.acknowledged[self.turn] = index + 1
        await memory.end(self.agent_id, grant.lease)
        self.turn = ""

    async def check(self, memory: Memory) -> None:
        """Assert that every acknowledged step is complete and that no step is partial or duplicated."""
        history = [message.text for message in await memory.history(self.agent_id)]
        notes = await memory.texts("note", agent_id=self.agent_id)
        context = await memory.context(self.agent_id)
        expected: list[str] = []
        from_steps: set[str] = set()
        last = "nobody"
        for texts in self.sent.values():
            if texts[0] not in history:
                continue  # the last turn, whose input was never acknowledged
            expected.append(texts[0])
            for text in texts[1:]:
                if f"{text} b" in history:
                    expected += [f"{text} a {LONG}", f"{text} b"]
                    from_steps.add(f"note {text}")
                    last = text
        assert history == expected
        for turn, count in self.acknowledged.items():
            there = [text for text in self.sent[turn] if text in history or f"{text} b" in history]
            assert len(there) >= count, "an acknowledged step is gone"
        assert len(notes) == len(set(notes)), "a note is there twice"
        assert from_steps <= set(notes) <= from_steps | set(self.notes)
        assert {note for note, done in self.notes.items() if done} <= set(notes)
        assert context.blocks[0].value == last
        assert context.archival_count == len(notes)

    async def retry(self, memory: Memory) -> None:
        """Resend unacknowledged steps."""
        for note, done in self.notes.items():
            if not done:
                await memory.insert(self.agent_id, note, request_id=note)
                self.notes[note] = True


async def load(memory: Memory, source_id: str, stop: asyncio.Event, seen: list[str]) -> None:
    """Replaces a file again and again; notes which version was acknowledged."""
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        while not stop.is_set():
            mark = uuid4().hex
            texts = [f"{mark} {n}" for n in range(40)]
            seen.append(f"?{mark}")
            call = memory.sources.UpsertPassages()
            await call.write(header(source_id, version("a.txt", texts)))
            await call.write(batch(texts[:20]))
            await call.write(batch(texts[20:], 20))
            await call.write(finish(40))
            await call.done_writing()
            await call
            seen.append(mark)


async def check_file(memory: Memory, source_id: str, seen: list[str]) -> None:
    """Asserts that one version is visible, whole: the last acknowledged, or one that was sent after it."""
    texts = await memory.texts("x", source_id=source_id)
    done = [place for place, mark in enumerate(seen) if not mark.startswith("?")]
    possible = {mark.removeprefix("?") for mark in seen[done[-1] if done else 0 :]}
    if texts or done:
        marks = {text.split()[0] for text in texts}
        assert len(marks) == 1
        assert marks <= possible
        assert sorted(texts) == sorted(f"{mark} {n}" for mark in marks for n in range(40))


async def one_life(
    process: ServiceProcess,
    clients: list[Client],
    source_id: str,
    seen: list[str],
    seconds: float,
    *,
    kill: bool,
    acknowledge: int = 0,
) -> None:
    """Looks at what the last life left, and lets clients write to a server until it is killed, or for a while.

    The while begins when that many calls were acknowledged.
    """
    address = await asyncio.to_thread(process.wait_ready)
    async with connected(address) as memory:
        await until_healthy(memory.channel)  # a store that takes long to open is opened while it listens already
        for client in clients:
            await client.check(memory)
            await client.retry(memory)
        await check_file(memory, source_id, seen)
        stop = asyncio.Event()
        tasks = [asyncio.create_task(client.work(memory, stop)) for client in clients]
        tasks.append(asyncio.create_task(load(memory, source_id, stop, seen)))
        await until(lambda: acknowledged(clients) >= acknowledge)
        await asyncio.sleep(seconds)  # the exact time does not matter: it is random
        if kill:
            process.kill9()
        else:
            stop.set()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if outcome is not None:
                raise outcome


async def prepared(process: ServiceProcess, count: int) -> tuple[list[Client], str]:
    address = await asyncio.to_thread(process.wait_ready)
    async with connected(address) as memory:
        human = block_pb2.BlockEdit(label="human", value="nobody")
        clients = [Client((await memory.agent(blocks=[human])).agent_id) for _ in range(count)]
        return clients, (await memory.source()).source_id


async def killed_again_and_again(home: Path, kills: int, count: int, settings: dict[str, str]) -> None:
    def start() -> ServiceProcess:
        return ServiceProcess("memgpt_memory", home, MEMGPT_MEMORY_LEASE_SECONDS="0.2", **settings)

    luck = random.Random()
    seen: list[str] = []
    with start() as process:
        clients, source_id = await prepared(process, count)
        something = kills + count + 1
        await one_life(process, clients, source_id, seen, luck.uniform(0.1, 1.2), kill=True, acknowledge=something)
    for _ in range(kills - 1):
        with start() as process:
            await one_life(process, clients, source_id, seen, luck.uniform(0.1, 1.2), kill=True)
    with start() as process:
        more = acknowledged(clients) + count
        await one_life(process, clients, source_id, seen, 0.0, kill=False, acknowledge=more)
        async with connected(process.wait_ready()) as memory:
            for client in clients:
                await client.check(memory)
            await check_file(memory, source_id, seen)


async def until_all_work(clients: list[Client]) -> None:
    """Returns when another call of each client was acknowledged."""
    before = [acknowledged([client]) for client in clients]
    await until(lambda: all(acknowledged([client]) > count for client, count in zip(clients, before, strict=True)))


def acknowledged(clients: list[Client]) -> int:
    return sum(sum(client.acknowledged.values()) for client in clients)


@pytest.mark.timeout(900)
async def test_memory_killed_again_and_again_on_lite(tmp_path: Path, kills: int, clients: int) -> None:
    await killed_again_and_again(tmp_path, kills or 10, clients, {})


@pytest.mark.milvus_server
async def test_memory_killed_on_a_server(tmp_path: Path, milvus_server_uri: str, kills: int, clients: int) -> None:
    settings = {"MEMGPT_MEMORY_URI": milvus_server_uri, "MEMGPT_MEMORY_TIMEOUT": "30"}
    await killed_again_and_again(tmp_path, kills or 1, clients, settings)


@pytest.mark.milvus_server
async def test_milvus_killed_under_memory(
    tmp_path: Path, own_milvus_server: MilvusServer, kills: int, clients: int
) -> None:
    """Memory survives: running calls fail, and later ones work."""
    settings = {"MEMGPT_MEMORY_URI": own_milvus_server.uri, "MEMGPT_MEMORY_LEASE_SECONDS": "0.2"}
    with ServiceProcess("memgpt_memory", tmp_path / "memory", MEMGPT_MEMORY_TIMEOUT="5", **settings) as process:
        writers, source_id = await prepared(process, clients)
        seen: list[str] = []
        async with connected(process.wait_ready()) as memory:
            for _ in range(kills or 1):
                stop = asyncio.Event()
                tasks = [asyncio.create_task(client.work(memory, stop)) for client in writers]
                tasks.append(asyncio.create_task(load(memory, source_id, stop, seen)))
                await until_all_work(writers)
                own_milvus_server.kill9()
                await asyncio.gather(*tasks)
                await asyncio.to_thread(own_milvus_server.restart)
                await until_healthy(memory.channel, wanted=False)
                # The more a Milvus has to recover, the longer it takes.
                await until_healthy(memory.channel, seconds=270)
                for client in writers:
                    await client.retry(memory)
                    await client.check(memory)
                await check_file(memory, source_id, seen)
            stop = asyncio.Event()
            tasks = [asyncio.create_task(client.work(memory, stop)) for client in writers]
            await until_all_work(writers)
            stop.set()
            await asyncio.gather(*tasks)
            for client in writers:
                await client.check(memory)
        assert acknowledged(writers) > clients
