# Generated from memgpt/client/_async by scripts/sync_client.py. Do not edit.
"""The events of a turn; resumes a broken stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from memgpt.agent.v1.event_pb2 import TurnEvent
from memgpt.client._turns import TurnProgress
from memgpt.client.errors import ServiceError, Unavailable, from_rpc_error
from memgpt.common.v1.reasons import Reason
from memgpt.memory.v1 import turn_pb2


class Turn:
    """The events of a turn, up to and including ``done``. It can be iterated over once.

    When the stream breaks (an Agent stops, a proxy times out), the same request is sent again, to any replica. Each
    durable event is yielded once, in order. Leaving the iteration does not stop the turn.
    """

    def __init__(
        self,
        progress: TurnProgress[Any],
        send: Callable[[Any], Any],
        cancel: Callable[[str], turn_pb2.Turn],
        on_interrupt: Callable[[ServiceError], None] | None = None,
    ) -> None:
        self._progress = progress
        self._send = send
        self._cancel = cancel
        self._on_interrupt = on_interrupt
        self._stream = self._events()

    @property
    def request_id(self) -> str:
        """Id of the turn's request, which identifies the turn in `resume` and `cancel`."""
        return str(self._progress.request.request_id)

    @property
    def turn_id(self) -> str:
        """Id of the turn; empty until the server has sent it."""
        return self._progress.turn_id

    @property
    def sequence(self) -> int:
        """Sequence number of the last durable event received; 0 before the first."""
        return int(self._progress.request.after_sequence)

    @property
    def state(self) -> turn_pb2.TurnState.ValueType:
        """How the turn ended; unspecified until ``done`` was received."""
        return self._progress.state

    def __iter__(self) -> Turn:
        return self

    def __next__(self) -> TurnEvent:
        return next(self._stream)

    def close(self) -> None:
        """Stop reading; the turn continues on the server."""
        self._stream.close()  # type: ignore[attr-defined]

    def cancel(self) -> turn_pb2.Turn:
        """Cancel the turn on the server; its stream then ends with ``done``."""
        return self._cancel(self.request_id)

    def reply(self) -> str:
        """Read the turn to its end and return the agent's messages to the user, one per line."""
        return "\n".join([event.message.text for event in self if event.HasField("message")])

    def _events(self) -> Iterator[TurnEvent]:
        progress = self._progress
        while True:
            failure: ServiceError | None = None
            responses = self._send(progress.request)
            try:
                for response in responses:
                    progress.observe(response.event)
                    yield response.event
                    if response.event.HasField("done"):
                        return
            except grpc.RpcError as error:
                failure = from_rpc_error(error)
                failure.__cause__ = error
            finally:
                responses.cancel()
            fresh = not progress.interrupted
            pause = progress.interrupt(failure)
            if fresh and self._on_interrupt is not None:
                self._on_interrupt(failure or Unavailable(Reason.SERVICE_UNAVAILABLE, "the stream ended early"))
            time.sleep(pause)
