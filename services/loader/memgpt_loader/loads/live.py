"""A load under way: its changes, numbered, and those who follow them."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

from memgpt_runtime.errors import Unavailable

from memgpt_loader.failures import FailureReason
from memgpt_loader.model import FileState, Load, LoadFile, LoadState


@dataclass(frozen=True, slots=True)
class FileChanged:
    """A file moved on.

    Attributes:
        sequence: Number of the event.
        file: The file as it was then.
    """

    sequence: int
    file: LoadFile


@dataclass(frozen=True, slots=True)
class LoadEnded:
    """The last event.

    Attributes:
        sequence: Number of the event.
        load: The load as it ended.
    """

    sequence: int
    load: Load


class LiveLoad:
    """A load in this process.

    There is no queue of events: a follower is told the latest state of every file that changed since it last looked. A
    slow one skips states in between, but never the last of a file; and memory is bounded by the number of files.

    Attributes:
        load: Its state; change it by the methods of this class.
        tasks: Work on its files, by name.
        cancellable: Names of files whose work may still be broken off.
        cancelling: Whether no more bytes are wanted.
        saving: Whether what has changed is about to be remembered.
        uploads: Uploads under way.
        etag: Of what is remembered of it.
        saved: When it was last remembered, by `time.monotonic`.
        lost: Whether another process has taken it up.
        lock: Held by whoever ends the load, or remembers it.
    """

    def __init__(self, load: Load) -> None:
        self.load = load
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.cancellable: set[str] = set()
        self.cancelling = False
        self.saving = False
        self.uploads = 0
        self.etag = ""
        self.saved = 0.0
        self.lost = False
        self.lock = asyncio.Lock()
        # In the order of their last changes.
        ordered = sorted(load.files.values(), key=lambda file: file.sequence)
        self._order = OrderedDict((file.manifest.name, file) for file in ordered)
        self._changed = asyncio.Event()
        self._announced = load.end_time is not None
        self._left: Unavailable | None = None
        self._followers = 0
        self._touched = time.monotonic()

    @property
    def ended(self) -> bool:
        """Whether followers have been told the end."""
        return self._announced

    @property
    def complete(self) -> bool:
        """Whether every file has ended."""
        return all(file.state.ended for file in self.load.files.values())

    @property
    def idle_seconds(self) -> float:
        """Time since anything happened."""
        return 0.0 if self.tasks or self.uploads else time.monotonic() - self._touched

    @property
    def deserted_seconds(self) -> float:
        """Time since anybody had to do with it."""
        busy = self.tasks or self.uploads or self._followers
        return 0.0 if busy else time.monotonic() - self._touched

    def touch(self) -> None:
        """Notes that somebody still cares for the load."""
        self._touched = time.monotonic()

    def number_files(self) -> None:
        """Gives every file that has none the number of an event: its first state is one."""
        for file in self.load.files.values():
            if not file.sequence:
                self._number(file)

    def progress(self, name: str, *, documents: int, passages: int) -> None:
        """States how much of a file is done."""
        file = self.load.files[name]
        file.documents, file.passages = documents, passages
        self._number(file)

    def move(self, name: str, state: FileState, *, reason: FailureReason | None = None, message: str = "") -> None:
        """Moves a file on to another state."""
        file = self.load.files[name]
        file.state, file.reason, file.message = state, reason, message
        self._number(file)

    def end(self, state: LoadState) -> None:
        """Ends the load, once; followers hear of it by `announce`."""
        if self.load.end_time is not None:
            return
        self.load.state = state
        self.load.end_time = dt.datetime.now(dt.UTC)
        self.load.sequence += 1

    def reopen(self) -> None:
        """Takes an end back that was not announced: the load is not this process's to end."""
        self.load.state, self.load.end_time = LoadState.RUNNING, None

    def announce(self) -> None:
        """Tells followers that the load has ended."""
        self._announced = True
        self._wake()

    def leave(self, why: Unavailable) -> None:
        """Ends all following: the load goes on elsewhere."""
        self._left = why
        self._wake()

    def changes(self, after: int) -> Iterator[FileChanged | LoadEnded]:
        """What has happened after an event, up to now."""
        for sequence, file in self._since(after):
            yield FileChanged(sequence, copy.copy(file))
        if self._announced:
            yield LoadEnded(self.load.sequence, self.load)

    async def follow(self, after: int) -> AsyncGenerator[FileChanged | LoadEnded]:
        """Yields what happened after an event, then what happens, until the end.

        Args:
            after: Number of the last event known; 0 for none.

        Yields:
            Events in ascending order; `LoadEnded` is the last.

        Raises:
            Unavailable: The process stops, or another has taken the load up.
        """
        cursor = after
        self._followers += 1
        try:
            while True:
                change, announced = self._changed, self._announced
                for sequence, file in self._since(cursor):
                    # While the follower was busy the file may have moved on: then it comes again, later.
                    if file.sequence == sequence:
                        cursor = sequence
                        yield FileChanged(sequence, copy.copy(file))
                if announced:
                    yield LoadEnded(self.load.sequence, self.load)
                    return
                if self._left is not None:
                    raise self._left
                await change.wait()
        finally:
            self._followers -= 1
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
        self._wake()

    def _wake(self) -> None:
        # Whoever waits holds the old event; whoever comes later waits for the next change.
        event, self._changed = self._changed, asyncio.Event()
        event.set()
