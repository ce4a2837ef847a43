"""What a client remembers of a turn, and how it resumes one, without any input or output."""

from __future__ import annotations

from typing import Generic, TypeVar

from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.event_pb2 import TurnEvent
from memgpt.client._ids import new_request_id
from memgpt.client._retry import RetryPolicy
from memgpt.client.errors import Cancelled, DeadlineExceeded, Internal, ServiceError, Unavailable
from memgpt.common.v1.reasons import Reason
from memgpt.memory.v1.turn_pb2 import TurnState

TURN_SECONDS = 30.0
"""Seconds for which a broken turn is resumed without a sign of the Agent."""

_FIRST_SECONDS = 5.0
"""The same before the Agent's first sign: it may not be there at all."""

_REPLICA_REASONS = frozenset({Reason.SHUTTING_DOWN, Reason.SERVICE_UNAVAILABLE, Reason.OVERLOADED})
"""Reasons that a service gives for itself, and that another replica, or the same one later, would not."""

_TRANSPORT_ERRORS = (Unavailable, Internal, Cancelled, DeadlineExceeded)
"""Classes of a broken transport. Without details from the service they come from gRPC itself or from a proxy: a reset
connection, a hop that ran out of time, a call that a draining server cancelled."""

# The events that an Agent sends before it does anything: they do not say that the turn moves on.
_SILENT = ("started", "step_restarted")

Request = TypeVar("Request", agent_pb.SendMessageRequest, agent_pb.RetryRequest, agent_pb.ResumeTurnRequest)


def is_resumable(error: ServiceError) -> bool:
    """Whether the same request may go on with the turn, here or at another replica."""
    if error.request_id is None:
        return isinstance(error, _TRANSPORT_ERRORS)
    return error.reason in _REPLICA_REASONS


class TurnProgress(Generic[Request]):
    """How far a turn was seen.

    Attributes:
        request: What to send next; its `after_sequence` is the last durable event that was seen.
        turn_id: Identity of the turn; empty until the server has told it.
        state: How the turn ended; unspecified while it runs.
    """

    def __init__(self, request: Request, seconds: float = TURN_SECONDS) -> None:
        """Begin before the first event.

        Args:
            request: Copied; without a `request_id` the copy gets a new one.
            seconds: How long the turn is resumed without a sign of the Agent.
        """
        self.request: Request = type(request)()
        self.request.CopyFrom(request)
        if not self.request.request_id:
            self.request.request_id = new_request_id()
        self.turn_id = ""
        self.state: TurnState.ValueType = TurnState.TURN_STATE_UNSPECIFIED
        self._policy = RetryPolicy(min(_FIRST_SECONDS, seconds), seconds)

    @property
    def interrupted(self) -> bool:
        """Whether the stream is broken, and nothing came since."""
        return self._policy.interrupted

    def observe(self, event: TurnEvent) -> None:
        """Note an event."""
        kind = event.WhichOneof("event")
        if kind == "started":
            self.turn_id = event.started.turn_id or self.turn_id
        elif kind == "done":
            self.state = event.done.state
        if kind not in _SILENT:
            self._policy.renew()
        self.request.after_sequence = max(self.request.after_sequence, event.sequence)

    def interrupt(self, error: ServiceError | None = None) -> float:
        """Return the seconds to wait before the request is sent again.

        Args:
            error: What the stream failed with; None if it ended before the turn did.

        Raises:
            ServiceError: The error cannot be mended by sending the request again, or it is too late.
        """
        if error is None:
            error = Unavailable(Reason.SERVICE_UNAVAILABLE, "the stream ended before the turn did")
        elif not is_resumable(error):
            raise error
        if error.reason == Reason.SHUTTING_DOWN:
            self._policy.renew()  # the server's last sign of life: its successor needs time to start
        return self._policy.pause(error)
