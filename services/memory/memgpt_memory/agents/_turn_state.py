"""The current or last turn of an agent, as a sum type, and the lease under which a turn writes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from memgpt_runtime import reasons
from memgpt_runtime.errors import Aborted

from memgpt_memory.agents._rows import CurrentTurn, TurnState


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write for a turn; `expires` in microseconds since 1970, 0 in requests."""

    turn_id: str
    epoch: int
    expires: int = 0


@dataclass(frozen=True, slots=True)
class NoTurn:
    """The agent has had no turn yet."""


@dataclass(frozen=True, slots=True)
class _BegunTurn:
    """A turn that was granted.

    Attributes:
        key: Key of the turn's own row.
        turn_id: Its id.
        request_id: The request that it answers.
        first_sequence: Its first message.
        end_sequence: The message after its last one.
        steps: Steps that were committed.
        cancel: Whether it has been asked to cancel.
    """

    key: str
    turn_id: str
    request_id: str
    first_sequence: int
    end_sequence: int
    steps: int = 0
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class RunningTurn(_BegunTurn):
    """A turn that has not ended.

    Attributes:
        released: Whether its holder has released the lease, so that another one need not wait for its end.
    """

    released: bool = False

    def with_step(self, index: int, end_sequence: int) -> RunningTurn:
        """Return the turn after its step `index`, whose messages end before `end_sequence`."""
        return replace(self, steps=index, end_sequence=end_sequence, released=False)

    def ended(self, state: TurnState, reason: str, time: int) -> EndedTurn:
        """Return the turn as it ended."""
        shared = {field.name: getattr(self, field.name) for field in fields(_BegunTurn)}
        return EndedTurn(**shared, state=state, reason=reason, time=time)


@dataclass(frozen=True, slots=True)
class EndedTurn(_BegunTurn):
    """A turn that has ended, with how, why and when."""

    state: TurnState = TurnState.COMPLETED
    reason: str = ""
    time: int = 0


AgentTurn = NoTurn | RunningTurn | EndedTurn


def turn_of(row: CurrentTurn | None) -> AgentTurn:
    """Convert the turn in an agent's row."""
    if row is None:
        return NoTurn()
    turn = RunningTurn(
        key=row.key,
        turn_id=row.turn_id,
        request_id=row.request_id,
        first_sequence=row.first_sequence,
        end_sequence=row.end_sequence,
        steps=row.steps,
        cancel=row.cancel,
        released=row.released,
    )
    return turn.ended(row.state, row.reason, row.ended) if row.state.ended else turn


def turn_row_of(turn: AgentTurn) -> CurrentTurn | None:
    """Convert a turn to the form in the agent's row."""
    if isinstance(turn, NoTurn):
        return None
    ended = turn if isinstance(turn, EndedTurn) else None
    return CurrentTurn(
        key=turn.key,
        turn_id=turn.turn_id,
        request_id=turn.request_id,
        state=TurnState.RUNNING if ended is None else ended.state,
        reason="" if ended is None else ended.reason,
        steps=turn.steps,
        first_sequence=turn.first_sequence,
        end_sequence=turn.end_sequence,
        ended=0 if ended is None else ended.time,
        cancel=turn.cancel,
        released=isinstance(turn, RunningTurn) and turn.released,
    )


def lease_lost(agent_id: str, epoch: int) -> Aborted:
    """Return the error for a lease that another worker has taken over, or whose turn has ended."""
    return reasons.lease_lost(
        "the lease has passed to another worker or its turn has ended; begin the turn again",
        agent_id=agent_id,
        epoch=epoch,
    )
