"""A file of the corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """A file, and what is to become of it."""

    name: str
    """The file's own name."""
    make: Callable[[], bytes | Iterable[bytes]]
    """Its bytes, always the same; in pieces if they are very many."""
    state: str
    """How it ends: loaded, empty, skipped or failed."""
    says: str = ""
    """A piece of the reason, or of the note of a file that is loaded; empty if there is no note."""
    needle: str = ""
    """A sentence of a file that is loaded: found by search, with this file and page."""
    page: int = 0
    """From 1; 0 for a file without pages."""
    large: bool = False
    """Whether it is large in bytes or pages, and so takes minutes."""

    def data(self) -> bytes:
        """All of its bytes."""
        made = self.make()
        return made if isinstance(made, bytes) else b"".join(made)


def good(
    name: str,
    make: Callable[[], bytes | Iterable[bytes]],
    needle: str,
    page: int = 0,
    *,
    note: str = "",
    large: bool = False,
) -> Sample:
    """A file that is loaded."""
    return Sample(name, make, "loaded", note, needle, page, large)


def failed(name: str, make: Callable[[], bytes], says: str) -> Sample:
    """A file that fails, and why."""
    return Sample(name, make, "failed", says)


def skipped(name: str, make: Callable[[], bytes], says: str) -> Sample:
    """A file of a kind that is not read."""
    return Sample(name, make, "skipped", says)


def empty(name: str, make: Callable[[], bytes], says: str) -> Sample:
    """A file without text."""
    return Sample(name, make, "empty", says)
