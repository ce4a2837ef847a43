"""The errors that turns raise, one constructor per reason."""

from __future__ import annotations

from memgpt_runtime import reasons
from memgpt_runtime.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)


def unknown_turn(request_id: str) -> NotFound:
    """No turn has this request id."""
    return reasons.turn_not_found(
        f'no turn for request "{request_id}"; send the message with this request_id to begin one', request_id=request_id
    )


def request_id_reused(request_id: str) -> InvalidArgument:
    """The request's id names a turn of another agent or input."""
    return reasons.request_id_reused(f'request_id "{request_id}" was used for another request; use a new request_id')


def queue_full(most: int) -> ResourceExhausted:
    """Too many turns wait for the agent."""
    return reasons.overloaded(
        f"{most} turns are waiting for this agent, the maximum; retry later", limit=most, retry_after=5
    )


def timed_out(seconds: float) -> DeadlineExceeded:
    """A turn waited for longer than its caller allows."""
    return reasons.deadline_exceeded(
        f"timed out after {seconds:g} s in the queue; the turn was not started; retry", limit_seconds=seconds
    )


def cancelled_in_queue() -> FailedPrecondition:
    """An edit was cancelled while it waited."""
    return reasons.wrong_state(
        "the request was cancelled while it waited; use a new request_id to repeat it",
        resource="turn",
        state="CANCELLED",
    )


def nothing_to(action: str) -> FailedPrecondition:
    """The window holds nothing that can be taken back or edited."""
    return reasons.wrong_state(
        f"nothing to {action} in the agent's window; the messages it was created with cannot be changed",
        resource="window",
        state="EMPTY",
    )
