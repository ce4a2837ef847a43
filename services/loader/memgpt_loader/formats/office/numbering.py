"""Numbers of lists and headings in Word documents, which Word computes and does not store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

from memgpt_loader.formats.office.packages import attribute, local

_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
    (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
_PLACE = re.compile(r"%([1-9])")
_LEVELS = 9
_MOST = 1_000_000
_MOST_ROMAN = 3999


@dataclass(frozen=True)
class _Level:
    format: str = "decimal"
    text: str = ""
    start: int = 1
    decimal: bool = False
    """Whether numbers of higher levels are shown as decimals regardless of their own format ("legal" numbering)."""


@dataclass(frozen=True)
class ListPlace:
    """The list and level of a paragraph."""

    list_id: str
    level: int


class Numbering:
    """Counts the paragraphs of all lists of a document, in order."""

    def __init__(self, root: Element | None) -> None:
        """Read the part `numbering`; None if the document has none."""
        self._levels: dict[tuple[str, int], _Level] = {}
        self._lists: dict[str, str] = {}
        self._overrides: dict[tuple[str, int], _Level] = {}
        self._restarts: dict[str, dict[int, int]] = {}
        self._counts: dict[str, list[int]] = {}
        self._by_style: dict[str, ListPlace] = {}
        for each in () if root is None else root:
            match local(each):
                case "abstractNum":
                    self._read_abstract(each)
                case "num":
                    self._read_list(each)
        self._styled = {
            style: ListPlace(self._list_of(place.list_id), place.level) for style, place in self._by_style.items()
        }

    def place_of_style(self, style_id: str) -> ListPlace | None:
        """Return the list that a paragraph style belongs to."""
        return self._styled.get(style_id)

    def marker(self, place: ListPlace) -> str:
        """Count a paragraph and return its marker: "2.1", or "-" for a bullet."""
        abstract = self._lists.get(place.list_id)
        if abstract is None:
            return "-"
        level = min(max(place.level, 0), _LEVELS - 1)
        counts = self._counts.setdefault(abstract, [0] * _LEVELS)
        for restarted, start in self._restarts.pop(place.list_id, {}).items():
            counts[restarted] = start - 1
        for above in range(level):
            counts[above] = counts[above] or self._level(place.list_id, above).start
        own = self._level(place.list_id, level)
        counts[level] = min(counts[level] + 1, _MOST) if counts[level] else own.start
        counts[level + 1 :] = [0] * (_LEVELS - level - 1)
        if own.format in ("bullet", "none", "") or not _PLACE.search(own.text):
            return "-" if own.format == "bullet" or not own.text.strip() else own.text.strip()
        return _PLACE.sub(lambda match: self._number(place.list_id, int(match[1]) - 1, counts, own), own.text).strip()

    def _number(self, list_id: str, level: int, counts: list[int], own: _Level) -> str:
        return _written(counts[level] or 1, "decimal" if own.decimal else self._level(list_id, level).format)

    def _level(self, list_id: str, level: int) -> _Level:
        override = self._overrides.get((list_id, level))
        return override or self._levels.get((self._lists.get(list_id, ""), level), _Level())

    def _list_of(self, abstract: str) -> str:
        return next((list_id for list_id, each in self._lists.items() if each == abstract), "")

    def _read_abstract(self, element: Element) -> None:
        abstract = attribute(element, "abstractNumId")
        for level, each, style in _levels(element):
            self._levels[abstract, level] = each
            if style:
                self._by_style[style] = ListPlace(abstract, level)

    def _read_list(self, element: Element) -> None:
        list_id = attribute(element, "numId")
        for each in element:
            match local(each):
                case "abstractNumId":
                    self._lists[list_id] = attribute(each, "val")
                case "lvlOverride":
                    for level, override, _ in _levels(each):
                        self._overrides[list_id, level] = override
                    for child in each:
                        if local(child) == "startOverride":
                            level, start = number(attribute(each, "ilvl")), number(attribute(child, "val"))
                            if level < _LEVELS:
                                self._restarts.setdefault(list_id, {})[level] = start


def _levels(element: Element) -> Iterator[tuple[int, _Level, str]]:
    for each in element:
        if local(each) != "lvl":
            continue
        level, style = _Level(), ""
        for child in each:
            value = attribute(child, "val")
            match local(child):
                case "start":
                    level = replace(level, start=number(value))
                case "numFmt":
                    level = replace(level, format=value)
                case "lvlText":
                    level = replace(level, text=value)
                case "isLgl":
                    level = replace(level, decimal=value not in ("0", "false"))
                case "pStyle":
                    style = value
        place = number(attribute(each, "ilvl"))
        if place < _LEVELS:
            yield place, level, style


def _written(value: int, form: str) -> str:
    match form:
        case "lowerLetter" | "upperLetter":
            letters = chr(ord("a") + (value - 1) % 26) * min(1 + (value - 1) // 26, 20)
            return letters.upper() if form == "upperLetter" else letters
        case "lowerRoman" | "upperRoman" if value <= _MOST_ROMAN:
            return roman(value).upper() if form == "upperRoman" else roman(value)
        case "decimalZero":
            return f"{value:02}"
        case "none":
            return ""
        case _:
            return str(value)


def written(value: int, form: str) -> str:
    """Return the number of a list item as HTML and OpenDocument name its form: "a", "A", "i", "I", else decimal."""
    kinds = {"a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}
    return _written(value, kinds[form]) if form in kinds and value > 0 else str(value)


def roman(value: int) -> str:
    """Return a number from 1 to 3999 in lower-case Roman numerals."""
    pieces = []
    for worth, letters in _ROMAN:
        count, value = divmod(value, worth)
        pieces.append(letters * count)
    return "".join(pieces)


def number(text: str) -> int:
    """Parse a non-negative number from XML; 0 for anything else."""
    return min(int(text), _MOST) if text.isascii() and text.isdigit() and len(text) < 12 else 0
