"""What the loop needs of Memory. ``memory_client`` has the one that speaks gRPC.

All methods raise the errors of ``memgpt_runtime.errors``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from memgpt_agent.domain import Context, Lease, Message, NewStep, Outcome, Step, Turn
from memgpt_agent.functions.function import MemorySearch


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """The turn waits; ``ahead`` turns come before it."""

    ahead: int


@dataclass(frozen=True, slots=True)
class TurnGrant:
    """The turn may run under ``lease``; without one it has ended, or another replica holds it.

    ``options`` are those of the turn's first request; ``context``, which comes with a lease, fills the window now.
    """

    turn: Turn
    lease: Lease | None
    resumed: bool = False
    options: bytes = b""
    context: Context | None = None


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The turn that was granted is to be cancelled."""


@dataclass(frozen=True, slots=True)
class CommittedStep:
    """A step as it is stored, and what fills the window behind it: None when the step has ended the turn."""

    step: Step
    context: Context | None


TurnEvent = QueuePosition | TurnGrant | CancelRequested


class Memory(MemorySearch, Protocol):
    """The state of agents and their turns."""

    def begin_turn(
        self,
        agent_id: str,
        request_id: str,
        *,
        fingerprint: bytes,
        messages: Sequence[Message],
        options: bytes,
        nonblocking: bool,
        queue_timeout: float,
        retry: bool = False,
        time_placeholder: str = "",
    ) -> AsyncGenerator[TurnEvent, None]:
        """Places in the queue, then one grant. ``messages`` are the turn's input, committed by the first grant.

        After a grant with a lease: it goes on with a ``CancelRequested`` if one comes, or to the end of the turn.
        With ``retry`` the grant takes the last turn back, whose input becomes this one's.

        A turn whose holder died comes first: a grant for another request is to be run to its end, before asking again.
        DeadlineExceeded when others are ahead for longer than ``queue_timeout`` seconds.
        """
        ...

    async def renew_lease(self, agent_id: str, lease: Lease) -> bool:
        """Keeps the lease; answers whether the turn is to be cancelled. Aborted when it has passed to another."""
        ...

    async def commit_step(self, agent_id: str, lease: Lease, step: NewStep, context: Context) -> CommittedStep:
        """Commits a step whole or not at all; one that is committed already is answered as it was.

        ``context`` is what filled the window before it.
        """
        ...

    async def end_turn(self, agent_id: str, lease: Lease, outcome: Outcome, call_result: str = "") -> None:
        """Ends the turn without a step. ``call_result`` becomes the result of a call that has none yet."""
        ...

    async def release_lease(self, agent_id: str, lease: Lease) -> None:
        """Gives the lease back, so that another can continue the turn at once."""
        ...

    def read_turn(self, agent_id: str, request_id: str, *, after_step: int, follow: bool) -> AsyncIterator[Step | Turn]:
        """The committed steps after ``after_step``, then the turn: when it ends, or as it is now without ``follow``."""
        ...

    async def load_context(self, agent_id: str) -> Context:
        """All that fills the agent's window now."""
        ...
