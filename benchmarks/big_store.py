"""Fills a store with many agents and sources, much faster than through the RPCs.

``python -m benchmarks.big_store FILE`` writes one to a new Milvus Lite file.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from memgpt_memory.agents import AgentRow, Attachment, CreateAgent, TurnRow, TurnState
from memgpt_memory.blocks import BlockEdit
from memgpt_memory.clock import now
from memgpt_memory.core import Core, CoreSettings, open_core
from memgpt_memory.embedding import WORDLLAMA, ModelChoice, Models, WordLlama
from memgpt_memory.messages import NewMessage, Role, message_rows
from memgpt_memory.records import Record
from memgpt_memory.sources import LoadRecord
from memgpt_memory.store import new_store
from memgpt_memory.store.layout import RECORDS
from memgpt_memory.turns._history import turn_key
from memgpt_runtime.ids import new_id

TENANT = "default"
TOGETHER = 512
"""Calls in progress at a time: they share writes."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a store holds.

    Attributes:
        agents: Agents; each has instructions and two blocks.
        sources: Empty sources.
        attached: Sources attached to the agent ``linked``.
        messages: Messages of the agent ``talkative``, of which the last 20 are in its window.
        turns: Turns of the agent ``talkative`` without numbers, as the first versions left them.
        loads: Records of loads, of one source.
        profiles: Personas.
    """

    agents: int = 20_000
    sources: int = 5_000
    attached: int = 1_000
    messages: int = 20_000
    turns: int = 1_000
    loads: int = 2_000
    profiles: int = 500

    def scaled(self, divisor: int) -> Size:
        """Return a smaller size."""
        return Size(*(max(getattr(self, one.name) // divisor, 1) for one in fields(self)))


async def fill(path: Path, size: Size) -> None:
    """Write a store of a size to a new Milvus Lite file."""
    models = Models(ModelChoice(WORDLLAMA, WordLlama.dimension, WordLlama), lambda: None)
    store = new_store(str(path), sync="never")
    core = await open_core(store, models, CoreSettings())
    try:
        await _sources(core, size)
        await _agents(core, size)
        await _talkative(core, size)
        await _all(size.profiles, lambda n: core.profiles.put(TENANT, "persona", f"persona {n:06}", f"I am {n}."))
    finally:
        await core.close()
        await store.close()
        await models.close()


async def _sources(core: Core, size: Size) -> None:
    ids = sorted(new_id("source") for _ in range(size.sources))
    await _all(size.sources, lambda n: core.sources.create(TENANT, ids[n], f"source {n:06}", "made"))
    await _all(
        size.loads,
        lambda n: core.loads.put(TENANT, LoadRecord(new_id("load"), ids[0], f"load {n}", b"state " * 50, "", 0)),
    )
    links = [Attachment(source_id=id_, stamp=1, attached=now()) for id_ in ids[: size.attached]]
    await core.agents.create(TENANT, new_id("agent"), _row("linked"), CreateAgent(links=links))


async def _agents(core: Core, size: Size) -> None:
    blocks = [BlockEdit("persona", "I am a helpful assistant."), BlockEdit("human", "The user's name is Ada.")]
    content = CreateAgent(system="You are MemGPT. " * 200, blocks=blocks)
    await _all(size.agents, lambda n: core.agents.create(TENANT, new_id("agent"), _row(f"agent {n:06}"), content))


async def _talkative(core: Core, size: Size) -> None:
    agent_id = new_id("agent")
    rows = [
        row
        for number in range(size.messages)
        for row in message_rows(
            agent_id, number, now(), "turn_0", number, NewMessage(Role.USER, f"message {number} " * 30)
        )
    ]
    for some in _chunks(rows):
        await core.agents.messages.write(some)
    turns = [
        Record(turn_key(TENANT, f"request {n}"), "turn", TENANT, agent_id, now(), _turn(agent_id, n).model_dump_json())
        for n in range(size.turns)
    ]
    for chunk in _chunks(turns):
        await core.store.upsert(RECORDS, chunk)
    counters = {"message_count": size.messages, "window_start": max(size.messages - 20, 0)}
    live = await core.agents.create(TENANT, agent_id, _row("talkative").model_copy(update=counters), CreateAgent())
    old = live.row.model_copy(update={"turn_count": None})
    await core.store.upsert(RECORDS, [Record(agent_id, "agent", TENANT, "", old.created, old.model_dump_json())])


def _row(name: str) -> AgentRow:
    return AgentRow(tenant=TENANT, name=name, created=now(), updated=now())


def _turn(agent_id: str, number: int) -> TurnRow:
    return TurnRow(
        turn_id=f"turn_{number:06}",
        agent_id=agent_id,
        request_id=f"request {number}",
        fingerprint="",
        state=TurnState.COMPLETED,
        created=now(),
    )


async def _all(count: int, call: Callable[[int], Awaitable[object]]) -> None:
    for some in _chunks(range(count)):
        await asyncio.gather(*map(call, some))


_T = TypeVar("_T")


def _chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), TOGETHER):
        yield items[start : start + TOGETHER]


if __name__ == "__main__":
    asyncio.run(fill(Path(sys.argv[1]), Size()))
