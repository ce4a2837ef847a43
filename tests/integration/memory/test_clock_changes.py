"""The clock of the machine is set back and forward: order, searches and restarts do not depend on it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from memgpt_memory.maintenance.store_lease import StoreLease
from memgpt_runtime import clock

from tests.integration.memory.client import Memory
from tests.integration.memory.conftest import Serve

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
YEAR = timedelta(days=365)


@pytest.fixture(autouse=True)
def _stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_stopped", clock.now())


def set_clock(by: timedelta) -> None:
    clock.stop(clock.now() + by)


async def check(memory: Memory, agent_id: str, texts: list[str]) -> None:
    """Store the last text as a message and a note, and assert that all are found, in order."""
    await memory.turn(agent_id, texts[-1], f"answer to {texts[-1]}")
    await memory.insert(agent_id, texts[-1])
    assert sorted(await memory.texts("note", agent_id=agent_id)) == sorted(texts)
    said = [message.text for message in await memory.history(agent_id)]
    assert said == [one for text in texts for one in (text, f"answer to {text}")]
    source = await memory.source()
    await memory.load(source.source_id, "a.txt", [texts[-1]])
    await memory.attach(agent_id, source.source_id)
    assert sorted(await memory.texts("note", agent_id=agent_id)) == sorted([*texts, texts[-1]])
    await memory.detach(agent_id, source.source_id)


async def test_nothing_is_hidden_or_reordered(serve: Serve, milvus_lite_uri: str) -> None:
    agents: list[str] = []
    texts: list[str] = []
    for change in (-DAY, YEAR, -YEAR):
        async with serve(milvus_lite_uri) as memory:
            agents.append((await memory.agent()).agent_id)
            for by in (timedelta(), -HOUR, DAY, -DAY):
                set_clock(by)
                texts.append(f"note {len(texts)}")
                await check(memory, agents[0], texts)
            assert {agent.agent_id for agent in await memory.listed()} == set(agents)
        set_clock(change)


async def test_a_crash_after_a_jump_that_is_taken_back_hides_nothing(
    serve: Serve, milvus_lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(milvus_lite_uri) as memory:
        agent_id = (await memory.agent()).agent_id
        set_clock(HOUR)
        await memory.insert(agent_id, "before")

        async def crash(lease: StoreLease) -> None:
            assert lease._task is not None
            lease._task.cancel()

        monkeypatch.setattr(StoreLease, "release", crash)
    set_clock(-HOUR)
    async with serve(milvus_lite_uri) as memory:
        assert await memory.texts("note", agent_id=agent_id) == ["before"]
        await memory.insert(agent_id, "after")
        assert sorted(await memory.texts("note", agent_id=agent_id)) == ["after", "before"]
