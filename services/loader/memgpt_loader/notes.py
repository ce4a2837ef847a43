"""File notes: content that a person sees in a file but the loaded text lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

MAX_NOTES = 15
"""Maximum notes of a file; a last note counts the rest."""
MAX_WHERE_CHARS = 200
MAX_MESSAGE_CHARS = 300
_MOST_PLACES = 8


class NoteKind(StrEnum):
    """Kinds of notes: `memgpt.common.v1.FileNoteKind` without its prefix. Their meaning is stable."""

    SCANNED_PAGE = "SCANNED_PAGE"
    UNDECODABLE_TEXT = "UNDECODABLE_TEXT"
    PICTURE = "PICTURE"
    ATTACHMENT = "ATTACHMENT"
    ANNOTATION = "ANNOTATION"
    OBJECT = "OBJECT"
    UNCALCULATED = "UNCALCULATED"
    HIDDEN = "HIDDEN"
    MISSING_PART = "MISSING_PART"
    BAD_RECORD = "BAD_RECORD"
    BAD_BYTES = "BAD_BYTES"
    TOO_MUCH = "TOO_MUCH"
    GUESSED_ENCODING = "GUESSED_ENCODING"


# Singular, plural, and what to do about it.
_WORDS: dict[NoteKind, tuple[str, str, str]] = {
    NoteKind.SCANNED_PAGE: (
        "page without text but with pictures, probably a scan",
        "pages without text but with pictures, probably scans",
        "run OCR on the file (for instance with ocrmypdf) and load the result",
    ),
    NoteKind.UNDECODABLE_TEXT: (
        "page with text in a font that cannot be decoded",
        "pages with text in fonts that cannot be decoded",
        "run OCR on the file (for instance with ocrmypdf --force-ocr) and load the result",
    ),
    NoteKind.PICTURE: ("picture without a text alternative", "pictures without a text alternative", ""),
    NoteKind.ATTACHMENT: ("attached file not read", "attached files not read", "load it by itself"),
    NoteKind.ANNOTATION: ("annotation without text not read", "annotations without text not read", ""),
    NoteKind.OBJECT: ("embedded object not read", "embedded objects not read", ""),
    NoteKind.UNCALCULATED: (
        "formula without a calculated value",
        "formulas without calculated values",
        "open the workbook in a spreadsheet program, save it, and load it again",
    ),
    NoteKind.HIDDEN: ("hidden part left out", "hidden parts left out", ""),
    NoteKind.MISSING_PART: ("part missing from the file", "parts missing from the file", ""),
    NoteKind.BAD_RECORD: ("record that cannot be parsed", "records that cannot be parsed", ""),
    NoteKind.BAD_BYTES: ("byte that cannot be decoded", "bytes that cannot be decoded", ""),
    NoteKind.TOO_MUCH: ("part left out because of a limit", "parts left out because of a limit", ""),
    NoteKind.GUESSED_ENCODING: (
        "text with a guessed encoding",
        "texts with guessed encodings",
        "if letters are wrong, save it as UTF-8 and load it again",
    ),
}


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was left out."""

    kind: NoteKind
    count: int
    """Number of occurrences, at least 1."""
    where: str
    """Where in the file, for people: "pages 3, 5-7"; empty if it concerns the whole file."""
    message: str
    """The complete note for people, with what to do about it."""


class _Group:
    def __init__(self) -> None:
        self.count = 0
        self.pages: list[int] = []
        self.places: list[str] = []
        self.unit = "page"
        self.reason = ""


class Notes:
    """Collects the notes of one file by kind while it is read."""

    def __init__(self) -> None:
        self._groups: dict[tuple[NoteKind, str], _Group] = {}
        self._others: list[Note] = []

    def __bool__(self) -> bool:
        return bool(self._groups or self._others)

    def __iter__(self) -> Iterator[Note]:
        notes = [*(_note(kind, group) for (kind, _), group in self._groups.items()), *self._others]
        yield from notes[:MAX_NOTES]
        if (left := len(notes) - MAX_NOTES) > 0:
            yield Note(NoteKind.TOO_MUCH, left, "", f"{left} further notes are not shown")

    def add(
        self, kind: NoteKind, where: str = "", *, page: int = 0, unit: str = "page", count: int = 1, reason: str = ""
    ) -> None:
        """Note content that is left out.

        Args:
            kind: The kind of content.
            where: Its place, if not a page.
            page: Page number, from 1.
            unit: The word for a page, such as "slide".
            count: How many there are.
            reason: Why it is left out and what to do; replaces the kind's default text.
        """
        group = self._groups.setdefault((kind, reason), _Group())
        group.count += count
        group.unit, group.reason = unit, reason
        if page and page not in group.pages[-1:]:
            group.pages.append(page)
        if where and where not in group.places and len(group.places) <= _MOST_PLACES:
            group.places.append(where)

    def extend(self, notes: Iterable[Note], within: str) -> None:
        """Add the notes of an embedded file, under its name."""
        for note in notes:
            if len(self._others) > MAX_NOTES * 2:
                return
            where = ", ".join(filter(None, (within, note.where)))[:MAX_WHERE_CHARS]
            self._others.append(Note(note.kind, note.count, where, f"{within}: {note.message}"[:MAX_MESSAGE_CHARS]))


def _note(kind: NoteKind, group: _Group) -> Note:
    where = ", ".join(filter(None, (_ranges(group.pages, group.unit), _listed(group.places))))[:MAX_WHERE_CHARS]
    one, many, advice = _WORDS[kind]
    advice = group.reason or advice
    counted = f"{group.count:,} {one if group.count == 1 else many}"
    message = f"{counted} ({where})" if where else counted
    return Note(kind, group.count, where, (f"{message}; {advice}" if advice else message)[:MAX_MESSAGE_CHARS])


def _listed(places: Sequence[str]) -> str:
    return ", ".join([*places[:_MOST_PLACES], *(["and others"] if len(places) > _MOST_PLACES else [])])


def _ranges(numbers: Sequence[int], unit: str) -> str:
    """Format ascending numbers as ranges: "pages 3, 5-7"."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    if not spans:
        return ""
    words = [str(first) if first == last else f"{first}-{last}" for first, last in spans]
    plural = len(spans) > 1 or spans[0][0] != spans[0][1]
    return f"{unit}{'s' if plural else ''} {_listed(words)}"
