"""The events that readers of a running turn get, whatever their speed, and the buffer for them."""

from __future__ import annotations

import asyncio
import tracemalloc

from memgpt_agent import envelopes
from memgpt_agent.domain import Message, Role, Step, Turn, TurnState
from memgpt_agent.loop.event_stream import EventStream
from memgpt_agent.loop.events import Delta, Done, Event, KeepAlive, ModelCalled, StepRestarted, Thought
from memgpt_agent.models.base import DeltaKind

THOUGHT, MESSAGE = DeltaKind.THOUGHT, DeltaKind.MESSAGE
COMPLETED = Turn("t", "r", TurnState.COMPLETED, "", 1)


def step(index: int, text: str = "A thought.") -> Step:
    return Step(index, (Message(Role.ASSISTANT, text),) if index else (Message(Role.USER, envelopes.login("", "")),))


async def settle() -> None:
    """Lets every reader take what it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def reading(feed: EventStream) -> tuple[list[Event], asyncio.Task[None]]:
    """A reader as fast as can be."""
    got: list[Event] = []

    async def read() -> None:
        async for event in feed.events():
            got.append(event)

    return got, asyncio.create_task(read())


async def test_a_fast_reader_gets_every_piece() -> None:
    feed = EventStream()
    got, task = reading(feed)
    feed.step(step(0))
    for kind, piece in ((THOUGHT, "I "), (THOUGHT, "think."), (MESSAGE, "Hel"), (MESSAGE, "lo.")):
        feed.delta(kind, piece)
        await settle()
    feed.step(step(1))
    feed.end(COMPLETED)
    await task
    assert [event.body for event in got[:4]] == [
        Delta(THOUGHT, 1, 0, "I "),
        Delta(THOUGHT, 1, 1, "think."),
        Delta(MESSAGE, 1, 0, "Hel"),
        Delta(MESSAGE, 1, 1, "lo."),
    ]
    assert [event.step for event in got[:4]] == [1, 1, 1, 1]
    assert isinstance(got[-1].body, Done)


async def test_a_slow_reader_gets_few_large_pieces() -> None:
    feed = EventStream()
    feed.step(step(0))
    events = feed.events()
    feed.delta(THOUGHT, "begin ")
    assert (await anext(events)).body == Delta(THOUGHT, 1, 0, "begin ")
    for number in range(1000):
        feed.delta(THOUGHT, f"{number} ")
    feed.delta(MESSAGE, "Hello.")
    second, third = (await anext(events)).body, (await anext(events)).body
    assert isinstance(second, Delta)
    assert (second.index, len(second.text.split())) == (1, 1000)
    assert third == Delta(MESSAGE, 1, 0, "Hello.")


async def test_text_of_committed_steps_is_not_kept() -> None:
    feed = EventStream()
    feed.step(step(0))
    events = feed.events()
    feed.delta(THOUGHT, "begin")
    await anext(events)
    tracemalloc.start()
    for index in range(1, 51):
        for _ in range(200):
            feed.delta(MESSAGE, "x" * 1000)
        feed.step(step(index))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 500_000, "10 MB of deltas went by"
    feed.end(Turn("t", "r", TurnState.COMPLETED, "", 50))
    rest = [event async for event in events]
    assert not [event for event in rest if isinstance(event.body, Delta)]
    assert sum(isinstance(event.body, Thought) for event in rest) == 50


async def test_what_was_streamed_before_a_restart_is_void_for_all() -> None:
    feed = EventStream()
    feed.step(step(0))
    early = feed.events()
    feed.delta(THOUGHT, "wrong")
    assert (await anext(early)).body == Delta(THOUGHT, 1, 0, "wrong")
    feed.restart("It broke off.")
    feed.delta(THOUGHT, "right")
    feed.step(step(1, "right"))
    late = feed.events()
    assert (await anext(early)).body == Thought("right")
    assert (await anext(late)).body == Thought("right")


async def test_each_step_and_each_attempt_counts_its_deltas_from_zero() -> None:
    feed = EventStream()
    got, task = reading(feed)
    feed.step(step(0))
    for number in (1, 2):
        for piece in ("I ", "think."):
            feed.delta(THOUGHT, piece)
            await settle()
        feed.step(step(number))
        await settle()
    feed.delta(THOUGHT, "I ")
    await settle()
    feed.restart("It broke off.")
    feed.delta(THOUGHT, "You ")
    await settle()
    deltas = [(event.step, event.body.attempt, event.body.index) for event in got if isinstance(event.body, Delta)]
    assert deltas == [(1, 1, 0), (1, 1, 1), (2, 1, 0), (2, 1, 1), (3, 1, 0), (3, 2, 0)]
    task.cancel()


async def test_a_restart_begins_a_new_attempt() -> None:
    feed = EventStream()
    got, task = reading(feed)
    feed.step(step(0))
    feed.delta(THOUGHT, "wrong")
    await settle()
    feed.restart("It broke off.")
    feed.delta(THOUGHT, "right")
    await settle()
    assert [event.body for event in got] == [
        Delta(THOUGHT, 1, 0, "wrong"),
        StepRestarted(2, "It broke off."),
        Delta(THOUGHT, 2, 0, "right"),
    ]
    task.cancel()


async def test_a_call_of_the_model_is_told_until_its_step_is_committed() -> None:
    feed = EventStream()
    got, task = reading(feed)
    feed.step(step(0))
    feed.model_called(2803)
    await settle()
    feed.restart("It broke off.")
    feed.model_called(2900)
    await settle()
    assert got == [
        Event(0, 1, ModelCalled(2803)),
        Event(0, 1, StepRestarted(2, "It broke off.")),
        Event(0, 1, ModelCalled(2900)),
    ]
    feed.step(step(1))
    assert (await anext(feed.events())).body == Thought("A thought.")
    task.cancel()


async def test_silence_is_told_while_it_lasts() -> None:
    feed = EventStream()
    feed.step(step(0))
    events = feed.events(keep_alive=0.01)
    assert [(await anext(events)).body for _ in range(2)] == [KeepAlive(), KeepAlive()]
    feed.step(step(1))
    feed.end(COMPLETED)
    rest = [event.body async for event in events]
    assert isinstance(rest[-1], Done)
    assert KeepAlive() not in rest


async def test_a_reader_who_wants_no_deltas() -> None:
    feed = EventStream()
    feed.step(step(0))
    feed.model_called(2803)
    feed.delta(THOUGHT, "begin")
    feed.restart("It broke off.")
    feed.queued(2)
    feed.step(step(1))
    feed.end(COMPLETED)
    assert all(event.sequence for event in [event async for event in feed.events(deltas=False)])
