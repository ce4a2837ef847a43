"""The in-memory state of a load that this process works on, with numbered changes and watchers."""

from __future__ import annotations

import asyncio
import copy
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from memgpt_runtime import clock
from memgpt_runtime.broadcast import Broadcast
from memgpt_runtime.errors import ServiceError

from memgpt_loader.failures import FailureReason
from memgpt_loader.loads import plan
from memgpt_loader.loads.events import FileChanged, LoadEnded, LoadEvent
from memgpt_loader.loads.rate_limit import RateLimit
from memgpt_loader.model import FileState, Load, LoadFile, LoadState, Wait


class LiveLoad:
    """A load that this process works on.

    There is no queue of events: a watcher gets the latest state of every file that changed since it last looked. A slow
    watcher skips intermediate states, but never a file's last one, and memory is bounded by the number of files.

    Attributes:
        load: Its state; change it by the methods of this class.
        tasks: Work on its files, by name.
        cancellable: Names of files whose work may still be cancelled.
        cancelling: Whether the load is being cancelled, so that uploads are refused.
        save_pending: Whether a save of recent changes is scheduled.
        etag: Of the record in Memory.
        saved_at: When the record was last written, by `time.monotonic`.
        lost: Whether this process no longer works on it, such as when another Loader has taken it over.
        lock: Held while the load is saved or ended.
        rate_limit: The rate limit of the embedding endpoint as its files have met it.
    """

    def __init__(self, load: Load) -> None:
        self.load = load
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.cancellable: set[str] = set()
        self.cancelling = False
        self.save_pending = False
        self.etag = ""
        self.saved_at = 0.0
        self.lost = False
        self.lock = asyncio.Lock()
        self.rate_limit = RateLimit()
        # Files in the order of their last changes.
        ordered = sorted(load.files.values(), key=lambda file: file.sequence)
        self._order = OrderedDict((file.manifest.name, file) for file in ordered)
        self._changed = Broadcast()
        self._end_announced = load.end_time is not None
        self._stopped: ServiceError | None = None
        self._uploads = 0
        self._watchers = 0
        self._used_at = time.monotonic()

    @property
    def ended(self) -> bool:
        """Whether watchers have been told of the end."""
        return self._end_announced

    @property
    def complete(self) -> bool:
        """Whether every file has ended."""
        return all(file.state.ended for file in self.load.files.values())

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last upload or change."""
        return 0.0 if self.tasks or self._uploads else time.monotonic() - self._used_at

    @property
    def unused_seconds(self) -> float:
        """Seconds since the last upload, change or watcher."""
        return 0.0 if self._watchers else self.idle_seconds

    def touch(self) -> None:
        """Restart the time after which an idle load is abandoned."""
        self._used_at = time.monotonic()

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """Count an upload in progress."""
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1
            self.touch()

    def number_files(self) -> None:
        """Number the initial states of the files as events."""
        for file in self.load.files.values():
            if not file.sequence:
                self._number(file)

    def set_progress(self, name: str, *, documents: int, passages: int) -> None:
        """Set how much of a file is done."""
        file = self.load.files[name]
        file.documents, file.passages, file.wait = documents, passages, None
        self._number(file)

    def set_wait(self, name: str, wait: Wait) -> None:
        """Set the pause before a file's next attempt."""
        file = self.load.files[name]
        file.wait = wait
        self._number(file)

    def set_state(self, name: str, state: FileState, *, reason: FailureReason | None = None, message: str = "") -> None:
        """Set the state of a file."""
        file = self.load.files[name]
        file.state, file.reason, file.message, file.wait = state, reason, message, None
        self._number(file)

    def needs_upload(self, file: LoadFile) -> bool:
        """Whether a file's bytes are still missing; see `plan.needs_upload`."""
        return plan.needs_upload(self.load, file, cancelling=self.cancelling)

    def merge(self, stored: Load) -> None:
        """Merge the changes that other Loaders made to the record of this load."""
        self.load.cancel_requested = stored.cancel_requested
        for name, result in stored.results.items():
            file = self.load.files.get(name)
            if file is not None and not file.state.ended and name not in self.tasks:
                file.notes = result.notes
                file.documents, file.passages = result.documents, result.passages
                self.set_state(name, result.state, reason=result.reason, message=result.message)
        self.load.results = {}

    def end(self, state: LoadState) -> None:
        """End the load, once. Watchers are told by `announce_end`."""
        if self.load.end_time is not None:
            return
        self.load.state = state
        self.load.end_time = clock.now()
        self.load.sequence += 1

    def reopen(self) -> None:
        """Undo an unannounced end, because the load belongs to another Loader."""
        self.load.state, self.load.end_time = LoadState.RUNNING, None

    def announce_end(self) -> None:
        """Tell watchers that the load has ended."""
        self._end_announced = True
        self._changed.notify()

    def stop_watches(self, error: ServiceError) -> None:
        """End all watches with an error: the load continues elsewhere, or later."""
        self._stopped = error
        self._changed.notify()

    def changes(self, after: int) -> Iterator[LoadEvent]:
        """Yield the events after a sequence number, up to now."""
        for sequence, file in self._since(after):
            yield FileChanged(sequence, copy.copy(file))
        if self._end_announced:
            yield LoadEnded(self.load.sequence, self.load)

    async def watch(self, after: int) -> AsyncGenerator[LoadEvent]:
        """Yield the events after a sequence number, and further ones as they happen.

        Args:
            after: Number of the last event known; 0 for none.

        Yields:
            Events in ascending order; the last is `LoadEnded`.

        Raises:
            ServiceError: This process stops, another one took the load over, or the load cannot be ended now.
        """
        cursor = after
        self._watchers += 1
        try:
            while True:
                change, end_announced = self._changed.next, self._end_announced
                for sequence, file in self._since(cursor):
                    # A file that changed again while the watcher was busy is yielded again later.
                    if file.sequence == sequence:
                        cursor = sequence
                        yield FileChanged(sequence, copy.copy(file))
                if end_announced:
                    yield LoadEnded(self.load.sequence, self.load)
                    return
                if self._stopped is not None:
                    raise self._stopped
                await change.wait()
        finally:
            self._watchers -= 1
            self.touch()

    def _since(self, cursor: int) -> list[tuple[int, LoadFile]]:
        changed = []
        for file in reversed(self._order.values()):
            if file.sequence <= cursor:
                break
            changed.append((file.sequence, file))
        return changed[::-1]

    def _number(self, file: LoadFile) -> None:
        self.load.sequence += 1
        file.sequence = self.load.sequence
        self._order.move_to_end(file.manifest.name)
        self.touch()
        self._changed.notify()
