"""The state of a turn in a client, and the logic to resume it, without I/O."""

from __future__ import annotations

from typing import Generic, TypeVar

from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1.event_pb2 import TurnEvent
from memgpt.client._ids import new_request_id
from memgpt.client._retry import RetryPolicy
from memgpt.client.errors import Cancelled, DeadlineExceeded, Internal, ServiceError, Unavailable
from memgpt.common.v1.reasons import Reason
from memgpt.memory.v1.turn_pb2 import TurnState

TURN_SECONDS = 120.0
"""Seconds for which a broken turn is resumed while the Agent does not respond."""

_REPLICA_REASONS = frozenset(
    {
        Reason.SHUTTING_DOWN,
        Reason.STORE_UNAVAILABLE,
        Reason.SERVICE_UNAVAILABLE,
        Reason.LOAD_HELD_ELSEWHERE,
        Reason.OVERLOADED,
    }
)
"""Reasons that concern one replica at one time; another replica, or the same one later, may succeed."""

_TRANSPORT_ERRORS = (Unavailable, Internal, Cancelled, DeadlineExceeded)
"""Errors of a broken transport. Without details from the service, they come from gRPC itself or from a proxy: a reset
connection, a timeout of a proxy, a call that a draining server cancelled."""

# Events that an Agent sends before it does any work; they do not show that the turn makes progress.
_SILENT = ("started", "model_call", "step_restarted")

Request = TypeVar("Request", agent_pb.SendMessageRequest, agent_pb.RetryRequest, agent_pb.ResumeTurnRequest)


def is_resumable(error: ServiceError) -> bool:
    """Whether sending the same request again can continue the turn, at this or another replica."""
    if error.request_id is None:
        return isinstance(error, _TRANSPORT_ERRORS)
    return error.reason in _REPLICA_REASONS


class TurnProgress(Generic[Request]):
    """Tracks how much of a turn was received.

    Attributes:
        request: The request to send next; its `after_sequence` is the last durable event received.
        turn_id: Id of the turn; empty until the server has sent it.
        state: How the turn ended; unspecified while it runs.
    """

    def __init__(self, request: Request, seconds: float = TURN_SECONDS) -> None:
        """Start before the first event.

        Args:
            request: The request, which is copied; the copy gets a new `request_id` if it has none.
            seconds: How long the turn is resumed while the Agent does not respond.
        """
        self.request: Request = type(request)()
        self.request.CopyFrom(request)
        if not self.request.request_id:
            self.request.request_id = new_request_id()
        self.turn_id = ""
        self.state: TurnState.ValueType = TurnState.TURN_STATE_UNSPECIFIED
        self._policy = RetryPolicy(seconds)
        self._accepted = False

    @property
    def interrupted(self) -> bool:
        """Whether the stream broke and nothing was received since."""
        return self._policy.interrupted

    def observe(self, event: TurnEvent) -> None:
        """Record an event."""
        self._accepted = True
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
            error: The error of the stream; None if it ended before the turn did.

        Raises:
            ServiceError: Sending the request again cannot help, or the deadline has passed.
        """
        accepted, self._accepted = self._accepted, False
        if error is None:
            error = Unavailable(Reason.SERVICE_UNAVAILABLE, "the stream ended before the turn did")
        # A token that expired during the stream may have a successor; one that is refused at once has none.
        elif not is_resumable(error) and not (accepted and error.reason == Reason.CREDENTIAL_EXPIRED):
            raise error
        if error.reason == Reason.SHUTTING_DOWN:
            self._policy.renew()  # counts as a sign of life: the next server needs time to start
        return self._policy.pause(error)
