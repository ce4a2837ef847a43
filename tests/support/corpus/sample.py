"""A file of the corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """A file and its expected outcome."""

    name: str
    """The file's own name."""
    make: Callable[[], bytes | Iterable[bytes]]
    """Its content, always the same; in pieces if it is very large."""
    state: str
    """Its final state: loaded, empty, skipped or failed."""
    says: str = ""
    """A part of the failure reason, or of the note of a loaded file; empty if there is no note."""
    needle: str = ""
    """A sentence of a loaded file that a search must find with this file and page."""
    page: int = 0
    """Page of the sentence, from 1; 0 for a file without pages."""
    large: bool = False
    """Whether it takes minutes because of its many bytes or pages."""

    def data(self) -> bytes:
        """Return its whole content."""
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
    """Return a sample that is loaded."""
    return Sample(name, make, "loaded", note, needle, page, large)


def failed(name: str, make: Callable[[], bytes], says: str) -> Sample:
    """Return a sample that fails, with the reason."""
    return Sample(name, make, "failed", says)


def skipped(name: str, make: Callable[[], bytes], says: str) -> Sample:
    """Return a sample of an unsupported format."""
    return Sample(name, make, "skipped", says)


def empty(name: str, make: Callable[[], bytes], says: str) -> Sample:
    """Return a sample without text."""
    return Sample(name, make, "empty", says)
