from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from memgpt.config import ConfigError, load_config
from memgpt_agent.config import AgentSettings
from memgpt_agent.domain import Step, Turn, TurnState
from memgpt_agent.loop.event_stream import EventStream
from memgpt_agent.loop.turn_registry import TurnRegistry
from memgpt_agent.models.endpoint import CallMode
from memgpt_agent.rpc import agent_names
from memgpt_runtime import errors

from tests.support.waiting import until
from tests.unit.agent.fakes import FakeMemory, ScriptedModel, answered, make_loop, request, say
from tests.unit.agent.test_loop import long_talk


def settings(**environ: str) -> AgentSettings:
    variables = {f"MEMGPT_AGENT_{key.upper()}": value for key, value in environ.items()}
    return load_config("agent", AgentSettings, environ={"MEMGPT_HOME": "/nonexistent", **variables}).service


def test_nothing_configured_is_offline() -> None:
    plain = settings()
    assert (plain.model_name(), plain.endpoint(), plain.window_tokens()) == ("offline", None, 32768)


def test_an_endpoint() -> None:
    local = settings(model="qwen", base_url="http://localhost:8101/v1", mode="json_schema")
    where = local.endpoint()
    assert where is not None
    assert (where.model, where.mode, local.window_tokens()) == ("qwen", CallMode.JSON_SCHEMA, 8192)
    assert settings(model="gpt", api_key="sk-secret").endpoint() is not None
    assert "sk-secret" not in repr(settings(model="gpt", api_key="sk-secret"))


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"modell": "x"}, "MEMGPT_AGENT_MODEL"),
        ({"model": "gpt"}, "needs an endpoint"),
        ({"base_url": "http://localhost/v1"}, "set model"),
        ({"model": "m", "base_url": "localhost:8101"}, "http://"),
        ({"mode": "magic"}, "json_schema"),
        ({"context_window": "100"}, "at least 1024"),
        ({"time_zone": "Mars"}, "Europe/Berlin"),
        ({"pressure_fraction": "2"}, "pressure_fraction"),
    ],
)
def test_mistakes_are_named(environ: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**environ)
    assert words.lower() in str(caught.value).lower()


def test_names_follow_from_their_seed() -> None:
    assert agent_names.agent_name("a") == agent_names.agent_name("a")
    assert agent_names.agent_name("a", 1) != agent_names.agent_name("a")
    assert len({agent_names.agent_name(str(n)) for n in range(200)}) > 150


async def events(feed: EventStream) -> list[int]:
    return [event.sequence async for event in feed.events() if event.sequence]


async def test_callers_of_one_request_share_its_turn() -> None:
    memory = FakeMemory(answered())
    sessions = TurnRegistry(make_loop(memory, ScriptedModel(say("Once."))))
    first, second = sessions.open(request()), sessions.open(request())
    assert first is second
    # They read at their own pace, and one may go away.
    got = await asyncio.gather(events(first), events(second))
    assert got[0] == got[1] == [1, 2, 3, 4, 5, 6]
    await sessions.close()
    with pytest.raises(errors.Unavailable):
        sessions.open(request(request_id="r2"))


async def test_another_input_under_a_running_request_is_refused() -> None:
    sessions = TurnRegistry(make_loop(FakeMemory(answered()), ScriptedModel(say("Once."))))
    feed = sessions.open(request("One"))
    with pytest.raises(errors.InvalidArgument, match="another request"):
        sessions.open(request("Two"))
    await events(feed)


async def test_a_bug_ends_the_stream_and_frees_the_agent() -> None:
    memory = FakeMemory(answered())
    sessions = TurnRegistry(make_loop(memory, ScriptedModel(ZeroDivisionError(), say("Fine."))))
    with pytest.raises(ZeroDivisionError):
        await events(sessions.open(request()))
    await asyncio.sleep(0)
    assert not memory.turns["r1"].held
    assert await events(sessions.open(request()))


async def test_readers_of_a_turn_that_has_not_ended_here_are_told_to_ask_again() -> None:
    class Stale(FakeMemory):
        async def read_turn(self, *arguments: Any, **options: Any) -> AsyncIterator[Step | Turn]:
            async for item in super().read_turn(*arguments, **options):
                yield replace(item, state=TurnState.RUNNING) if isinstance(item, Turn) else item

    memory = Stale(answered())
    sessions = TurnRegistry(make_loop(memory, ScriptedModel(say("Once."))))
    assert await events(sessions.open(request()))
    await until(lambda: not len(sessions))
    with pytest.raises(errors.Unavailable, match="same request again"):
        await events(sessions.open(request()))


async def test_stopping_fails_the_readers_with_a_way_out() -> None:
    class Endless(ScriptedModel):
        async def complete(self, request: object, sink: object):
            asked.set()
            await asyncio.Event().wait()

    asked = asyncio.Event()
    memory = FakeMemory(answered())
    sessions = TurnRegistry(make_loop(memory, Endless()))
    feed = sessions.open(request())
    await asked.wait()
    await sessions.close()
    with pytest.raises(errors.Unavailable, match="same request again"):
        await events(feed)
    assert not memory.turns["r1"].held


async def test_a_summary_is_not_kept_beside_the_memory() -> None:
    """A repeated request must not return what has been deleted with its agent, or replaced, since."""
    memory = FakeMemory(answered())
    memory._store(long_talk(10))
    sessions = TurnRegistry(make_loop(memory, ScriptedModel()))
    count, text = await sessions.summarize("agent_1", "s1")
    assert count > 0
    assert await sessions.summarize("agent_1", "s1") == (count, text)
    memory.context = replace(memory.context, summary="")
    assert await sessions.summarize("agent_1", "s1") == (count, "")
