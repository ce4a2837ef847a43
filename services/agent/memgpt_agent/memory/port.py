"""The methods of Memory that the loop needs. ``client`` implements them over gRPC.

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
    """The grant of a turn. ``lease`` is None if the turn has ended or another replica holds it.

    ``options`` are those of the turn's first request; ``context``, present with a lease, is the window's content now.
    """

    turn: Turn
    lease: Lease | None
    resumed: bool = False
    options: bytes = b""
    context: Context | None = None


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The granted turn must be cancelled."""


@dataclass(frozen=True, slots=True)
class CommittedStep:
    """A stored step, and the content of the window after it; None if the step ended the turn."""

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
        """Yield places in the queue, then one grant. ``messages`` are the turn's input, committed by the first grant.

        After a grant with a lease, the stream continues to the end of the turn, or to a ``CancelRequested``.
        With ``retry`` the grant takes back the last turn, whose input becomes this one's.

        A turn whose holder died comes first: run a grant for another request to its end, then call this again.
        Raises DeadlineExceeded if others are ahead for longer than ``queue_timeout`` seconds.
        """
        ...

    async def renew_lease(self, agent_id: str, lease: Lease) -> bool:
        """Renew the lease; return whether the turn must be cancelled. Raises Aborted if another replica has it."""
        ...

    async def commit_step(self, agent_id: str, lease: Lease, step: NewStep, context: Context) -> CommittedStep:
        """Commit a step as a whole or not at all; if it is committed already, return it as it was.

        ``context`` is the content of the window before the step.
        """
        ...

    async def end_turn(self, agent_id: str, lease: Lease, outcome: Outcome, call_result: str = "") -> None:
        """End the turn without a step. ``call_result`` becomes the result of a call that has none yet."""
        ...

    async def release_lease(self, agent_id: str, lease: Lease) -> None:
        """Release the lease, so that another replica can continue the turn at once."""
        ...

    def read_turn(self, agent_id: str, request_id: str, *, after_step: int, follow: bool) -> AsyncIterator[Step | Turn]:
        """Yield the steps after ``after_step``, then the turn: when it ends, or as it is now without ``follow``."""
        ...

    async def load_context(self, agent_id: str) -> Context:
        """Return the content of the agent's window now."""
        ...
