"""Large stores: look-ups among many agents and sources, and searches of many passages and messages.

Look-ups are measured in a new process, cold and warm. `--passages` replaces the numbers of passages and messages.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.memory.v1 import agent_state_service_pb2 as state
from memgpt.memory.v1 import profile_service_pb2, recall_memory_service_pb2, source_service_pb2
from memgpt.memory.v1.agent_pb2 import Agent
from memgpt.memory.v1.agent_piece_pb2 import AgentPiece, ExportEnd, ExportHeader, ExportWindow
from memgpt.memory.v1.message_pb2 import ROLE_USER, Message
from memgpt.memory.v1.profile_pb2 import PROFILE_KIND_PERSONA
from memgpt.memory.v1.recall_memory_service_pb2 import RECALL_MODE_SEMANTIC

from benchmarks.big_store import Size, fill
from benchmarks.common import Bench, Options, Table, bench, megabytes, queries, say, scratch, texts
from tests.integration.memory.client import Memory, connected
from tests.support.processes import ServiceProcess

PAGE = 50
SIZES = (10_000, 100_000)
MESSAGES = 100_000
MESSAGES_AT_A_TIME = 5_000

_Call = Callable[[], Awaitable[object]]


async def run(options: Options) -> Table:
    """Measure Milvus Lite; a server is measured by `search`."""
    table = Table("scale: look-ups, searches and memory in large stores")
    if options.backend != "lite":
        table.notes.append("Only on Milvus Lite.")
        return table
    with scratch() as home:
        await _lookups(options, home, table)
    for size in (options.passages,) if options.passages else SIZES:
        await _passages(options, table, options.size(size))
    await _messages(options, table, options.size(options.passages or MESSAGES))
    return table


async def _lookups(options: Options, home: Path, table: Table) -> None:
    size = Size().scaled(20) if options.quick else Size()
    say(f"scale: writing {size.agents:,} agents and {size.sources:,} sources")
    await fill(home / "big.db", size)
    cold: dict[str, list[float]] = {}
    ready: dict[str, list[float]] = {"empty": [], "big": []}
    for _ in range(options.times(5)):
        for name in ready:
            begin = time.perf_counter()
            with _memory(home, name) as process:
                address = process.wait_ready(120)
                ready[name].append(time.perf_counter() - begin)
                if name == "big":
                    async with connected(address) as memory:
                        for what, call in _listed(memory).items():
                            cold.setdefault(what, []).append(await _ms(call))
    table.add(
        f"ready with {size.agents:,} agents and {size.sources:,} sources",
        "s",
        statistics.median(ready["big"]),
        statistics.median(ready["empty"]),
        other_name="empty",
        most=1.5,
    )
    for what, taken in cold.items():
        table.add(f"{what}, cold", "ms", statistics.median(taken), most=300 if what.startswith("GetAgent") else 500)
    with _memory(home, "big") as process:
        async with connected(process.wait_ready(120)) as memory:
            for what, call in _listed(memory).items():
                await call()
                taken = [await _ms(call) for _ in range(options.times(20))]
                table.add(f"{what}, warm", "ms", statistics.median(taken), most=30)
            await _deletions(options, table, memory)
            await _turns(options, table, memory, size.messages)
            await _export(table, memory, size.messages)


def _memory(home: Path, name: str) -> ServiceProcess:
    settings = {"MEMGPT_MEMORY_URI": str(home / f"{name}.db"), "MEMGPT_MEMORY_QUOTA_AGENTS": "0"}
    return ServiceProcess("memgpt_memory", home / name, **settings)


def _listed(memory: Memory) -> dict[str, _Call]:
    async def turns() -> None:
        agent = (await memory.agents.GetAgent(state.GetAgentRequest(name="talkative"))).agent
        await memory.agents.ListTurns(state.ListTurnsRequest(agent_id=agent.agent_id, page_size=PAGE))

    personas = profile_service_pb2.ListProfilesRequest(kind=PROFILE_KIND_PERSONA, page_size=PAGE)
    return {
        "GetAgent with many sources": lambda: memory.agents.GetAgent(state.GetAgentRequest(name="linked")),
        f"ListAgents({PAGE})": lambda: memory.agents.ListAgents(state.ListAgentsRequest(page_size=PAGE)),
        f"ListSources({PAGE})": lambda: memory.sources.ListSources(
            source_service_pb2.ListSourcesRequest(page_size=PAGE)
        ),
        f"ListTurns({PAGE})": turns,
        f"ListLoadRecords({PAGE})": lambda: memory.sources.ListLoadRecords(
            source_service_pb2.ListLoadRecordsRequest(page_size=PAGE)
        ),
        f"ListProfiles({PAGE})": lambda: memory.profiles.ListProfiles(personas),
    }


async def _deletions(options: Options, table: Table, memory: Memory) -> None:
    taken = []
    for _ in range(options.times(20)):
        agent = await memory.agent()
        await memory.turn(agent.agent_id, "hello", "hello to you")
        await memory.insert(agent.agent_id, "a note")
        deletion = state.DeleteAgentRequest(agent_id=agent.agent_id)
        taken.append(await _ms(lambda deletion=deletion: memory.agents.DeleteAgent(deletion)))  # type: ignore[misc]
    table.add("DeleteAgent", "ms", statistics.median(taken), most=50)


async def _turns(options: Options, table: Table, memory: Memory, messages: int) -> None:
    """Compare turns of an agent with many messages and of one with 20; the first has a window of 20 as well."""
    old = (await memory.agents.GetAgent(state.GetAgentRequest(name="talkative"))).agent.agent_id
    new = (await memory.agent()).agent_id
    for number in range(10):
        await memory.turn(new, f"message {number} " * 30, "an answer")
    await memory.turn(old, "warm-up")
    taken: dict[str, list[float]] = {old: [], new: []}
    for _ in range(options.times(30)):
        for agent_id, times in taken.items():
            times.append(await _ms(lambda agent_id=agent_id: memory.turn(agent_id, "hello", "hello to you")))  # type: ignore[misc]
    old_ms, new_ms = (statistics.median(taken[one]) for one in (old, new))
    table.add(f"a turn of an agent with {messages:,} messages", "ms", old_ms, new_ms, other_name="20", most=1.2)


async def _export(table: Table, memory: Memory, messages: int) -> None:
    agent_id = (await memory.agents.GetAgent(state.GetAgentRequest(name="talkative"))).agent.agent_id
    begin = time.perf_counter()
    received = 0
    async for response in memory.agents.ExportAgent(state.ExportAgentRequest(agent_id=agent_id)):
        received += response.piece.HasField("message")
    assert received >= messages
    table.add("export of messages", "/s", received / (time.perf_counter() - begin), least=10_000)


async def _passages(options: Options, table: Table, size: int) -> None:
    async with bench(options) as on:
        say(f"scale: storing {size:,} passages")
        source_id = await on.source(texts(size))
        await on.start()
        await _first_pages(
            options,
            table,
            on,
            f"{size:,} passages",
            {
                mode: lambda query, mode=mode: on.search(query, mode, source_id=source_id)  # type: ignore[misc]
                for mode in on.modes
            },
            dict(zip(("dense", "hybrid", "text"), _limits(size), strict=True)),
            _most_megabytes(size),
        )


async def _messages(options: Options, table: Table, size: int) -> None:
    async with bench(options) as on:
        say(f"scale: importing an agent with {size:,} messages")
        agent_id = await _with_messages(on, size)

        async def search(query: str) -> None:
            request = recall_memory_service_pb2.SearchMessagesRequest(
                agent_id=agent_id, query=query, mode=RECALL_MODE_SEMANTIC, page_size=10
            )
            await on.memory.recall.SearchMessages(request)

        say(f"scale: indexing {size:,} messages by a first search")
        await search("anything")
        await on.start()
        bounds = {"dense": _limits(size)[0]}
        await _first_pages(options, table, on, f"{size:,} messages", {"dense": search}, bounds, _most_megabytes(size))


async def _with_messages(on: Bench, size: int) -> str:
    """Import an agent with messages, and return its id."""
    message = partial(Message, role=ROLE_USER, create_time=Timestamp(seconds=1_700_000_000))

    async def pieces() -> AsyncIterator[state.ImportAgentRequest]:
        yield _piece(header=ExportHeader(format_version=1))
        yield _piece(agent=Agent(name=f"agent {uuid4().hex}"))
        yield _piece(window=ExportWindow(start_sequence=max(size - 20, 0)))
        for first in range(0, size, MESSAGES_AT_A_TIME):
            for sequence, text in enumerate(texts(min(MESSAGES_AT_A_TIME, size - first), seed=first), first):
                yield _piece(message=message(sequence=sequence, text=text))
        yield _piece(end=ExportEnd(message_count=size))

    return str((await on.memory.agents.ImportAgent(pieces())).agent.agent_id)


def _piece(**piece: Any) -> state.ImportAgentRequest:
    return state.ImportAgentRequest(piece=AgentPiece(**piece))


async def _first_pages(
    options: Options,
    table: Table,
    on: Bench,
    what: str,
    searches: Mapping[str, Callable[[str], Awaitable[object]]],
    limits: Mapping[str, int],
    most_megabytes: int,
) -> None:
    """Measure the first page by each mode: of the first search of a process, and of later ones."""
    first: dict[str, float] = {}
    for mode, search in searches.items():
        first[mode] = await _ms(partial(search, "a first question"))
    for mode, search in searches.items():
        asked = queries()
        taken = [await _ms(partial(search, next(asked))) for _ in range(options.times(30))]
        warm = statistics.median(taken)
        table.add(f"{what}: page 1, {mode}", "ms", warm, most=limits[mode])
        table.add(f"{what}: page 1, {mode}, new process", "ms", first[mode], warm, other_name="warm", most=3)
    table.add(f"{what}: Memory resident", "MB", megabytes(on.pid), most=most_megabytes)


def _limits(size: int) -> tuple[int, int, int]:
    """Return the upper bounds of page 1 in milliseconds: by similarity, hybrid, by words."""
    if size <= 10_000:
        return 6, 8, 6
    return (20, 25, 20) if size <= 100_000 else (200, 200, 200)


def _most_megabytes(size: int) -> int:
    return 800 if size <= 100_000 else 4_096


async def _ms(call: _Call) -> float:
    begin = time.perf_counter()
    await call()
    return 1_000 * (time.perf_counter() - begin)
