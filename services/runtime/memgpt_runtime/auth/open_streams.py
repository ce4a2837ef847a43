"""Ends open streams when their credential becomes invalid."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

from memgpt_runtime import clock, reasons
from memgpt_runtime.errors import ServiceError
from memgpt_runtime.principal import CredentialKind, Principal

_LONGEST_TIMER = 1_000_000.0
"""Seconds; no stream is open for longer, and the timers of an event loop are bounded too."""


class OpenStreams:
    """The streams in progress, by their credential: ids of different kinds of credentials may be equal."""

    def __init__(self) -> None:
        self._streams: dict[tuple[CredentialKind, str], set[StreamGuard]] = {}

    def credential_ids(self, kind: CredentialKind) -> Sequence[str]:
        """Return the ids of all credentials of a kind with a stream."""
        return [id_ for one, id_ in self._streams if one is kind]

    def guard(self, principal: Principal) -> StreamGuard:
        """Return the guard of a new stream, within which the stream runs."""
        return StreamGuard(self, principal)

    def of(self, kind: CredentialKind, credential_id: str) -> Sequence[StreamGuard]:
        """Return the streams of a credential."""
        return list(self._streams.get((kind, credential_id), ()))

    def add(self, stream: StreamGuard) -> None:
        """Note a stream that begins."""
        self._streams.setdefault(stream.credential, set()).add(stream)

    def remove(self, stream: StreamGuard) -> None:
        """Forget a stream that has ended."""
        streams = self._streams[stream.credential]
        streams.discard(stream)
        if not streams:
            del self._streams[stream.credential]


class StreamGuard:
    """An asynchronous context manager that ends its block, when told to or when the credential expires.

    It works as `asyncio.timeout` does: it cancels the task, and turns this cancellation into the error.

    Attributes:
        credential: Kind and id of the credential.
        secret: See `Principal.secret`.
    """

    def __init__(self, streams: OpenStreams, principal: Principal) -> None:
        self._streams = streams
        self.credential = principal.kind, principal.credential_id
        self.secret = principal.secret
        self._expires = principal.expires
        self._error: ServiceError | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._timer: asyncio.TimerHandle | None = None

    def end(self, error: ServiceError) -> None:
        """End the block with an error."""
        if self._error is None and self._task is not None:
            self._error = error
            self._task.cancel()

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        assert self._task is not None  # noqa: S101 - a coroutine always runs in a task
        self._cancelling = self._task.cancelling()
        self._streams.add(self)
        if self._expires is not None:
            delay = max(0.0, self._expires - clock.seconds())
            expired = reasons.credential_expired("the credential has expired; call again with a new one")
            if delay < _LONGEST_TIMER:
                self._timer = asyncio.get_running_loop().call_later(delay, self.end, expired)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None  # noqa: S101 - set on entry
        self._streams.remove(self)
        if self._timer is not None:
            self._timer.cancel()
        task, self._task = self._task, None
        # With more cancellations than before and ours, other code cancelled the task too, and its cancellation counts.
        if self._error is not None and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self._error from None
