"""How long a file is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable


class Patience:
    """Lasts for some time from the first failure since a file got further than ever before.

    So a file is tried again however long it has taken, or waited for a parser, and one that always fails at the same
    place is given up.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._furthest = 0
        self._end: float | None = None

    def watching(self, progress: Callable[[int, int], None]) -> Callable[[int, int], None]:
        """What is told of the documents and passages so far, so that it is seen here, too."""

        def tell(documents: int, passages: int) -> None:
            if passages > self._furthest:
                self._furthest = passages
                self._end = None
            progress(documents, passages)

        return tell

    def lasts(self, pause: float) -> bool:
        """Whether there is time for another try after a pause, in seconds; asked after each failure."""
        if self._end is None:
            self._end = self._clock() + self._seconds
        return self._clock() + pause <= self._end
