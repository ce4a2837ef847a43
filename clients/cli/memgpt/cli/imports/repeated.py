"""Iterables that read their file again on every pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from memgpt.cli.imports.report import Report

T = TypeVar("T")


class Repeated(Generic[T]):
    """An iterable that calls a generator function for each pass.

    A plan reads everything twice. What the function reports is recorded in the first pass only.
    """

    def __init__(self, make: Callable[[Report], Iterator[T]], report: Report) -> None:
        """Keep the function.

        Args:
            make: Yields the items and records what it leaves out.
            report: Where the first pass records it.
        """
        self._make = make
        self._report: Report | None = report

    def __iter__(self) -> Iterator[T]:
        report, self._report = self._report, None
        if report is not None:
            yield from self._make(report)
            return
        with Report() as unused:
            yield from self._make(unused)
