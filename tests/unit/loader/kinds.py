"""Reader of the small files in `tests/data/kinds`, each of which stands for one kind of problem."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memgpt_loader import formats
from memgpt_loader.formats import File, FileLimits, NoteKind

LIMITS = FileLimits(max_pages=100, max_chars=10_000_000, max_unpacked_bytes=20 << 20, max_tokens=300)
FOLDER = Path(__file__).parents[2] / "data" / "kinds"


@dataclass(frozen=True)
class Read:
    """The result of reading a file."""

    pages: list[str]
    notes: dict[NoteKind, int]
    """How many of each kind."""
    wheres: list[str]

    @property
    def text(self) -> str:
        return "\n\n".join(self.pages)


def read(name: str) -> Read:
    return read_bytes((FOLDER / name).read_bytes(), name)


def read_bytes(data: bytes, name: str) -> Read:
    parsed = formats.parse(File(data, name, formats.media_type_of(name, data)), LIMITS)
    pages: dict[int, str] = {}
    for page in parsed.pages:
        pages[page.number] = pages.get(page.number, "") + page.text
    assert parsed.documents == max(1, len(pages))
    notes = list(parsed.notes)
    return Read(list(pages.values()), {note.kind: note.count for note in notes}, [note.where for note in notes])
