"""The events of one running turn, for any number of readers.

The turn writes; readers follow at their own pace, each from its own place, so that a slow reader neither holds up the
turn nor makes it pile up copies. Nothing is kept beyond the turn's end and its last reader.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

from memgpt_agent.domain import Step, Turn
from memgpt_agent.events import Body, Delta, Done, Event, Narrator, Queued, StepRestarted
from memgpt_agent.models.base import DeltaKind


class Feed:
    """Collects a turn's events; the ``Sink`` of its model."""

    def __init__(self) -> None:
        self.narrator = Narrator()
        self._events: list[Event] = []
        self._changed = asyncio.Event()
        self._failure: BaseException | None = None
        self._closed = False
        self._attempt = 1
        self._deltas: dict[DeltaKind, int] = defaultdict(int)

    @property
    def ended(self) -> bool:
        """Whether the end of the turn was told, or its failure."""
        return self._closed

    # Written by the turn.

    def queued(self, ahead: int) -> None:
        """The turn waits for ``ahead`` others."""
        self._provisional(0, Queued(ahead))

    def step(self, step: Step) -> None:
        """A step was committed. One that was told already is passed over."""
        self._add(self.narrator.step(step))
        self._attempt = 1
        self._deltas.clear()

    def end(self, turn: Turn) -> None:
        """The turn ended."""
        if not self._closed:
            self._add(self.narrator.end(turn))
            self._close()

    def fail(self, failure: BaseException) -> None:
        """The turn could not go on here: readers get ``failure``."""
        if not self._closed:
            self._failure = failure
            self._close()

    def delta(self, kind: DeltaKind, text: str) -> None:
        """Text of the step that runs."""
        if text:
            self._provisional(self.narrator.next_step, Delta(kind, self._attempt, self._deltas[kind], text))
            self._deltas[kind] += 1

    def restart(self, reason: str) -> None:
        """The step that runs starts again."""
        self._attempt += 1
        self._deltas.clear()
        self._provisional(self.narrator.next_step, StepRestarted(self._attempt, reason))

    # Read by callers.

    async def events(self, *, after_sequence: int = 0, deltas: bool = True) -> AsyncIterator[Event]:
        """The events from the first on, then as they come, up to and with ``Done``.

        Args:
            after_sequence: Durable events up to and including this one are left out.
            deltas: Whether to give the model's text as it comes.

        Raises:
            BaseException: What the turn failed with.
        """
        place = 0
        while True:
            while place < len(self._events):
                event = self._events[place]
                place += 1
                if _wanted(event, after_sequence, deltas):
                    yield event
            if self._closed:
                break
            self._changed.clear()
            await self._changed.wait()
        if self._failure is not None:
            raise self._failure

    def _provisional(self, step: int, body: Body) -> None:
        self._add([Event(0, step, body)])

    def _add(self, events: list[Event]) -> None:
        self._events += events
        self._changed.set()

    def _close(self) -> None:
        self._closed = True
        self._changed.set()


def _wanted(event: Event, after_sequence: int, deltas: bool) -> bool:
    if isinstance(event.body, Done):
        return True
    if event.sequence:
        return event.sequence > after_sequence
    return deltas or not isinstance(event.body, Delta | StepRestarted)
