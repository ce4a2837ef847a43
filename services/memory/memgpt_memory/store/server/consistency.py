"""The consistency levels of reads on a server.

A read waits until the server knows all writes up to a time. A Strong read waits for the present, a Session read for
this process's last upsert of the collection. Before 2.6 Strong costs 0.2 s and Session 2 ms; from 2.6 on a Strong read
requests the next time tick and a Session read waits up to 0.2 s for it, so there every read is Strong.

A collection that this process has not written to is read as of its first write to any: what was there before that
belongs to earlier processes. After a write whose time is unknown (one that failed, or a delete, for which Milvus 2.3
returns none) reads are Strong until the next upsert.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypedDict

STRONG_IS_FAST = (2, 6)
"""First version in which a Strong read does not wait for the next time tick."""


class ReadOptions(TypedDict, total=False):
    """The arguments of a read that say what it waits for."""

    consistency_level: str
    guarantee_timestamp: int


class Consistency:
    """Keeps track of this process's writes."""

    def __init__(self, time_of_last_write: Callable[[str], int]) -> None:
        """Start without any write.

        Args:
            time_of_last_write: Returns the server's time of this process's last upsert of a collection.
        """
        self._time_of_last_write = time_of_last_write
        self._always_strong = False
        self._began = 0
        self._written: set[str] = set()
        self._untimed: Counter[str] = Counter()

    def of_version(self, version: tuple[int, int] | None) -> None:
        """Choose the levels for a server; None is a version that cannot be read."""
        self._always_strong = version is None or version >= STRONG_IS_FAST

    def for_read(self, collection: str, *, strong: bool) -> ReadOptions:
        """Return the options of a read."""
        if not strong and not self._always_strong:
            if collection in self._written:
                return {"consistency_level": "Session"}
            if self._began and not self._untimed[collection]:
                return {"consistency_level": "Customized", "guarantee_timestamp": self._began}
        return {"consistency_level": "Strong"}

    def begin_write(self, collection: str) -> int:
        """Return what `end_write` needs to know."""
        return self._untimed[collection]

    def end_write(self, collection: str, begun: int) -> None:
        """Note an upsert that succeeded."""
        self._began = self._began or self._time_of_last_write(collection)
        if self._untimed[collection] == begun:  # else its time may precede that of the other write
            self._written.add(collection)

    def lose_time(self, collection: str) -> None:
        """Note a write whose time is unknown: a delete, or one that failed and may have been applied."""
        self._untimed[collection] += 1
        self._written.discard(collection)

    def forget(self, collection: str) -> None:
        """Note that a collection was dropped."""
        self._written.discard(collection)
