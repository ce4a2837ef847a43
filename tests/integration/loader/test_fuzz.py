"""A sample of what `python -m tests.fuzz.loader` does for minutes."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.fuzz import loader

_FILES = 40
_CALLS = 300


class _After:
    """A stop condition that becomes true after a number of calls."""

    def __init__(self, times: int) -> None:
        self._left = times

    def __call__(self) -> bool:
        self._left -= 1
        return self._left < 0


async def test_damaged_files_are_text_or_typed_failures(tmp_path: Path) -> None:
    counts, wrong = await loader.of_parsers(Random(5), _After(_FILES // 2), tmp_path)
    assert wrong == []
    assert counts.total() == _FILES
    assert len(counts) > 2


async def test_nonsense_is_answered_by_the_table(tmp_path: Path) -> None:
    counts, wrong = await loader.of_rpcs(Random(5), _After(_CALLS // 8), tmp_path)
    assert wrong == []
    assert counts.total() >= _CALLS - 8
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= set(counts)
