"""The events of one running turn, for any number of readers.

The turn writes; each reader follows at its own pace and from its own position, so that a slow reader neither delays the
turn nor makes it collect copies. Committed events are kept until the turn has ended and its last reader has left. Text
of the running step is kept until the step is committed; a reader gets all new text at once, so that a slow one gets few
large pieces, and none of a step that was committed in the meantime.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from memgpt_agent.domain import Step, Turn
from memgpt_agent.loop.event_mapper import EventMapper
from memgpt_agent.loop.events import (
    AssistantMessage,
    Delta,
    Done,
    Event,
    KeepAlive,
    ModelCalled,
    Queued,
    Started,
    StepRestarted,
)
from memgpt_agent.loop.observer import TurnTimes
from memgpt_agent.models.base import DeltaKind


@dataclass(slots=True)
class _Text:
    """Consecutive text of one kind."""

    kind: DeltaKind
    attempt: int
    pieces: list[str]


@dataclass(slots=True)
class _Place:
    """A reader's position in the provisional events."""

    generation: int = -1
    item: int = 0
    piece: int = 0
    told: dict[DeltaKind, int] = field(default_factory=dict)

    def index(self, kind: DeltaKind) -> int:
        """Return the index of the next delta of a kind for this reader, in the attempt that runs."""
        number = self.told.get(kind, 0)
        self.told[kind] = number + 1
        return number


class EventStream:
    """The events of a turn; also the ``Sink`` of its model."""

    def __init__(self) -> None:
        self.mapper = EventMapper()
        self.turn_id = ""
        """Identity of the turn; empty until it leaves the queue."""
        self._events: list[Event] = []
        # Provisional events: of the running step, or of the queue before the first one.
        self._running: list[_Text | Queued | ModelCalled | StepRestarted] = []
        self._generation = 0
        self._changed = asyncio.Event()
        self._failure: BaseException | None = None
        self._closed = False
        self._attempt = 1
        self._requested = time.monotonic()
        self._held: float | None = None
        self._spoke: float | None = None

    @property
    def ended(self) -> bool:
        """Whether the stream contains the turn's end or its failure."""
        return self._closed

    def times(self, suspended: str) -> TurnTimes | None:
        """Return the times of the turn until now; None if it did not run here.

        Args:
            suspended: The state of a turn that has not ended.
        """
        if self._held is None:
            return None
        done = self._events[-1].body if self._events else None
        state = done.state.value if isinstance(done, Done) else suspended
        first_text = None if self._spoke is None else self._spoke - self._requested
        return TurnTimes(state, self._held - self._requested, first_text, time.monotonic() - self._requested)

    # Written by the turn.

    def queued(self, ahead: int) -> None:
        """Record that the turn waits for ``ahead`` others."""
        self._provisional(Queued(ahead))

    def started(self, turn_id: str) -> None:
        """Record that the turn left the queue."""
        self.turn_id = turn_id
        self._changed.set()

    def model_called(self, prompt_tokens: int) -> None:
        """Record that the model is called for the running step."""
        self._provisional(ModelCalled(prompt_tokens))

    def held(self) -> None:
        """Record that the turn runs here."""
        self._held = self._held or time.monotonic()

    def step(self, step: Step) -> None:
        """Add the events of a committed step, unless the stream has them already."""
        events = self.mapper.step(step)
        if self._spoke is None and any(isinstance(event.body, AssistantMessage) for event in events):
            self._spoke = time.monotonic()
        self._add(events)
        self._attempt = 1

    def end(self, turn: Turn) -> None:
        """Add the end of the turn."""
        if not self._closed:
            self._add(self.mapper.end(turn))
            self._close()

    def fail(self, failure: BaseException) -> None:
        """End the stream because the turn cannot continue here; readers get ``failure``."""
        if not self._closed:
            self._failure = failure
            self._close()

    def delta(self, kind: DeltaKind, text: str) -> None:
        """Add text of the running step."""
        if not text:
            return
        if self._spoke is None and kind is DeltaKind.MESSAGE:
            self._spoke = time.monotonic()
        last = self._running[-1] if self._running else None
        if isinstance(last, _Text) and last.kind is kind:
            last.pieces.append(text)
            self._changed.set()
        else:
            self._provisional(_Text(kind, self._attempt, [text]))

    def restart(self, reason: str) -> None:
        """Record that the running step starts again."""
        self._attempt += 1
        # Its text is void, including what readers have not read yet.
        self._forget_running()
        self._provisional(StepRestarted(self._attempt, reason))

    # Read by callers.

    async def events(
        self, *, after_sequence: int = 0, deltas: bool = True, keep_alive: float | None = None
    ) -> AsyncIterator[Event]:
        """Yield the events from the first one on, then as they come, up to and including ``Done``.

        Args:
            after_sequence: Durable events up to and including this one are left out.
            deltas: Whether to yield the model's text as it comes.
            keep_alive: Seconds of silence after which ``KeepAlive`` is yielded; None for never.

        Raises:
            BaseException: The failure of the turn.
        """
        told = 0
        turn_id = ""
        place = _Place()
        while True:
            if turn_id != self.turn_id:
                turn_id = self.turn_id
                yield self._now(Started(turn_id))
            elif told < len(self._events):
                durable = self._events[told]
                told += 1
                if durable.sequence > after_sequence or isinstance(durable.body, Done):
                    yield durable
            elif (event := self._next_provisional(place, deltas=deltas)) is not None:
                yield event
            elif self._closed:
                break
            elif not await self._anything_new(keep_alive):
                yield self._now(KeepAlive())
        if self._failure is not None:
            raise self._failure

    def _next_provisional(self, place: _Place, *, deltas: bool) -> Event | None:
        """Return the next provisional event; None if there is nothing new."""
        if place.generation != self._generation:
            # Another step or another attempt runs.
            place.generation, place.item, place.piece = self._generation, 0, 0
            place.told.clear()
        while place.item < len(self._running):
            item = self._running[place.item]
            if isinstance(item, _Text):
                new, place.piece = item.pieces[place.piece :], len(item.pieces)
                if new and deltas:
                    return self._now(Delta(item.kind, item.attempt, place.index(item.kind), "".join(new)))
                if item is self._running[-1]:
                    return None
            place.item, place.piece = place.item + 1, 0
            if isinstance(item, Queued) or (isinstance(item, ModelCalled | StepRestarted) and deltas):
                return self._now(item)
        return None

    async def _anything_new(self, seconds: float | None) -> bool:
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _now(self, body: Started | Delta | Queued | ModelCalled | StepRestarted | KeepAlive) -> Event:
        step = 0 if isinstance(body, Started | Queued) else self.mapper.next_step
        return Event(0, step, body)

    def _provisional(self, item: _Text | Queued | ModelCalled | StepRestarted) -> None:
        self._running.append(item)
        self._changed.set()

    def _forget_running(self) -> None:
        self._running.clear()
        self._generation += 1

    def _add(self, events: list[Event]) -> None:
        self._events += events
        if events:
            self._forget_running()
        self._changed.set()

    def _close(self) -> None:
        self._closed = True
        self._changed.set()
