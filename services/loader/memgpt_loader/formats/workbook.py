"""The sheets of Excel workbooks, row by row, with cells as Excel displays them."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape
from xml.etree.ElementTree import Element

from memgpt_loader.formats.office.controls import control_lines
from memgpt_loader.formats.office.drawings import Drawings, plain_text
from memgpt_loader.formats.office.number_format import BUILT_IN, displayed, displayed_text
from memgpt_loader.formats.office.packages import Package, Relationship, attribute, local, relationship_id
from memgpt_loader.markup import Struck, joined, link, one_line, raised
from memgpt_loader.notes import NoteKind, Notes
from memgpt_loader.tables import TableRow, table_lines

_REFERENCE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_MOST_COLUMNS = 16_384
_MOST_MERGED = 100_000
# Merged cells and links come after the rows in a part but are needed first; a sheet may exceed memory.
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\s[^<>]*?ref=\"([A-Z0-9:]{4,24})\"")
_PRINTED = re.compile(rb"<(?:\w+:)?((?:odd|even|first)(?:Header|Footer))>([^<]{1,2000})<")
_HEADER_CODE = re.compile(r'&(?:&|"[^"]*"|K[0-9A-Fa-f]{6}|K\d\d[+-]\d{3}|\d+|[A-Z])')
_PAGE_OF = re.compile(r"\b(?:page|of)\b", re.IGNORECASE)
_EMBEDDED = ("oleObject", "package", "control")
_OF_THREAD = "tc={"
"""Begins the author of a copy of a thread for older programs."""
_LINKED = re.compile(r'HYPERLINK\(\s*"([^"]{1,2000})"', re.IGNORECASE)
_SHEET_END = re.compile(rb"</(?:\w+:)?sheetData>|<(?:\w+:)?sheetData\s*/>")


@dataclass(frozen=True)
class Sheet:
    """A sheet of a workbook."""

    name: str
    part: str


@dataclass(frozen=True)
class _Style:
    format: str = "General"
    bold: bool = False


@dataclass(frozen=True)
class _Merged:
    first_column: int
    first_row: int
    last_column: int
    last_row: int


@dataclass
class _Around:
    """Data of a sheet's cells that is stored outside of its rows."""

    merged: dict[int, list[_Merged]] = field(default_factory=dict)
    """Merged ranges by their first row."""
    links: dict[str, str] = field(default_factory=dict)
    """Link targets by cell reference."""
    printed: list[str] = field(default_factory=list)
    """Headers and footers, as lines."""


class WorkbookReader:
    """Reads one workbook."""

    def __init__(self, package: Package, notes: Notes) -> None:
        """Open a workbook.

        Args:
            package: The package of the workbook.
            notes: Receives notes on content that is left out.
        """
        self._package = package
        self._notes = notes
        self._main = package.main_part()
        self._parts = package.relationships(self._main)
        self._from_1904 = False
        self._is_stale = False
        """Whether stored results are placeholders until a program calculates them."""
        self._styles: list[_Style] | None = None
        self._strings: list[str] | None = None

    def sheets(self) -> list[Sheet]:
        """Return the sheets in order."""
        found = []
        for each in self._package.root(self._main).iter():
            match local(each):
                case "workbookPr":
                    self._from_1904 = attribute(each, "date1904") in ("1", "true")
                case "calcPr":
                    self._is_stale = attribute(each, "fullCalcOnLoad") in ("1", "true")
                case "sheet":
                    part = self._parts.get(relationship_id(each))
                    name = one_line(attribute(each, "name"))
                    if part is not None and part.target in self._package.names:
                        found.append(Sheet(name, part.target))
                    else:
                        self._notes.add(NoteKind.MISSING_PART, f"sheet {name}")
        return found

    def lines(self, sheet: Sheet) -> Iterator[str]:
        """Yield the rows of a sheet as lines, then its comments, text boxes and charts."""
        related = self._package.relationships(sheet.part)
        around = self._around(sheet, related)
        yield from table_lines(self._rows(sheet, around))
        yield from around.printed
        present = [each for each in related.values() if each.target in self._package.names]
        controls: list[tuple[str, str]] = []
        for each in present:
            if each.kind == "vmlDrawing":
                controls += control_lines(self._package, each.target, self._notes, f"sheet {sheet.name}")
        yield from (line for _, line in controls)
        labels = {label for label, _ in controls}
        for each in present:
            if each.kind == "comments":
                yield from self._comments(each.target)
            elif each.kind == "threadedComment":
                yield from self._threads(each.target)
            elif each.kind in _EMBEDDED:
                self._notes.add(NoteKind.OBJECT, f"sheet {sheet.name}")
            elif each.kind == "drawing":
                yield from self._drawing(each.target, sheet, labels)

    def _rows(self, sheet: Sheet, around: _Around) -> Iterator[TableRow]:
        going_down: list[tuple[_Merged, str]] = []
        last = 0
        for element in self._row_elements(sheet.part):
            number = _number(attribute(element, "r")) or last + 1
            if number > last + 1 and last:
                yield TableRow([])  # rows without cells are not stored
            last = number
            row = self._row(element, number, sheet, around)
            going_down = [(each, text) for each, text in going_down if each.last_row >= number]
            cells = list(row.cells)
            for each, text in going_down:
                _put(cells, each.first_column, text)
            for each in around.merged.get(number, ()):
                if each.last_row > number and each.first_column < len(cells):
                    going_down.append((each, cells[each.first_column]))
            yield TableRow(cells, row.heading, row.spans)

    def _row_elements(self, part: str) -> Iterator[Element]:
        data: Element | None = None
        for event, element in self._package.elements(part):
            if local(element) == "sheetData":
                data = element
            elif event == "end" and local(element) == "row":
                yield element
                if data is not None:
                    data.clear()

    def _row(self, element: Element, number: int, sheet: Sheet, around: _Around) -> TableRow:
        cells: list[str] = []
        bold = filled = 0
        for cell in element:
            if local(cell) != "c":
                continue
            match = _REFERENCE.fullmatch(attribute(cell, "r"))
            column = min(_column(match[1]), _MOST_COLUMNS - 1) if match else len(cells)
            text = self._cell(cell, sheet, match[0] if match else "")
            if match and text and (target := around.links.get(match[0])):
                text = link(text, target)
            if text:
                filled += 1
                bold += self._style(cell).bold
                _put(cells, column, text)
        spans = {
            each.first_column: each.last_column - each.first_column + 1
            for each in around.merged.get(number, ())
            if each.last_column > each.first_column
        }
        return TableRow(cells, bool(filled) and bold == filled, spans)

    def _cell(self, cell: Element, sheet: Sheet, reference: str) -> str:
        kind = attribute(cell, "t")
        values = {local(child): child for child in cell}
        value = values.get("v")
        text = (value.text or "") if value is not None else ""
        if kind == "inlineStr" or (not text and "is" in values):
            return _rich(values["is"]) if "is" in values else ""
        if "f" in values and self._is_uncalculated(text.strip(), kind):
            self._notes.add(NoteKind.UNCALCULATED, f"sheet {sheet.name}, {reference}")
            formula = one_line(values["f"].text or "")
            return f"={formula}" if formula else ""
        words = self._value(text, kind, cell, f"sheet {sheet.name}, {reference}")
        if "f" in values and (target := _LINKED.match(values["f"].text or "")):
            return link(words, target[1])
        return words

    def _value(self, text: str, kind: str, cell: Element, where: str) -> str:
        match kind:
            case "e" if attribute(cell, "vm"):  # a picture or a record that older programs do not know
                self._notes.add(NoteKind.OBJECT, where)
                return ""
            case "s":
                strings = self._shared_strings()
                index = _number(text.strip())
                words = strings[index] if index < len(strings) else ""
                return displayed_text(words, self._style(cell).format)
            case "b":
                return "yes" if text.strip() == "1" else "no" if text.strip() else ""
            case "str":
                return displayed_text(text, self._style(cell).format)
            case "e":
                return text
            case "d":
                return text.replace("T00:00:00", "").replace("T", " ")
            case _:
                return self._displayed(text.strip(), cell)

    def _is_uncalculated(self, result: str, kind: str) -> bool:
        """Whether the stored result of a formula says nothing: libraries store none, or zero until it is calculated."""
        return (not result and kind != "str") or (self._is_stale and result == "0")

    def _displayed(self, text: str, cell: Element) -> str:
        try:
            number = float(text)
        except ValueError:
            return text
        return displayed(number, self._style(cell).format, from_1904=self._from_1904)

    def _style(self, cell: Element) -> _Style:
        if self._styles is None:
            self._styles = self._read_styles()
        index = _number(attribute(cell, "s"))
        return self._styles[index] if index < len(self._styles) else _Style()

    def _read_styles(self) -> list[_Style]:
        part = self._part("styles")
        if not part:
            return []
        formats = dict(BUILT_IN)
        bold: list[bool] = []
        styles: list[_Style] = []
        for group in self._package.root(part):
            match local(group):
                case "numFmts":
                    for each in group:
                        formats[_number(attribute(each, "numFmtId"))] = attribute(each, "formatCode")
                case "fonts":
                    bold = [
                        any(local(child) == "b" and attribute(child, "val") not in ("0", "false") for child in font)
                        for font in group
                    ]
                case "cellXfs":
                    for each in group:
                        font = _number(attribute(each, "fontId"))
                        format_ = formats.get(_number(attribute(each, "numFmtId")), "General")
                        styles.append(_Style(format_, font < len(bold) and bold[font]))
        return styles

    def _shared_strings(self) -> list[str]:
        if self._strings is None:
            self._strings = []
            if part := self._part("sharedStrings"):
                depth = 0
                for event, element in self._package.elements(part):
                    depth += 1 if event == "start" else -1
                    if event == "end" and depth == 1 and local(element) == "si":
                        self._strings.append(_rich(element))
                        element.clear()
        return self._strings

    def _part(self, kind: str) -> str:
        part = next((each.target for each in self._parts.values() if each.kind == kind), "")
        return part if part in self._package.names else ""

    def _around(self, sheet: Sheet, related: Mapping[str, Relationship]) -> _Around:
        behind = self._package.after(sheet.part, _SHEET_END)
        around = _Around()
        for count, match in enumerate(_MERGED.finditer(behind)):
            first, _, last = match[1].decode().partition(":")
            one, other = _REFERENCE.fullmatch(first), _REFERENCE.fullmatch(last)
            if one and other and count < _MOST_MERGED:
                merged = _Merged(_column(one[1]), int(one[2]), _column(other[1]), int(other[2]))
                around.merged.setdefault(merged.first_row, []).append(merged)
        for match in _PRINTED.finditer(behind):
            kind = "Header" if match[1].endswith(b"Header") else "Footer"
            line = f"{kind}: {words}" if (words := printed_words(match[2].decode("utf-8", "replace"))) else ""
            if line and line not in around.printed:
                around.printed.append(line)
        if b"hyperlink" in behind:
            for element in self._hyperlinks(sheet.part):
                target = related.get(relationship_id(element))
                reference = attribute(element, "ref").partition(":")[0]
                if target is not None:
                    around.links[reference] = target.target
        return around

    def _hyperlinks(self, part: str) -> Iterator[Element]:
        for event, element in self._package.elements(part):
            if event == "end":
                if local(element) == "hyperlink":
                    yield element
                elif local(element) == "sheetData":
                    element.clear()

    def _comments(self, part: str) -> Iterator[str]:
        authors: list[str] = []
        for each in self._package.root(part).iter():
            match local(each):
                case "author":
                    authors.append(one_line(each.text or ""))
                case "comment":
                    words = one_line(_rich(each))
                    index = _number(attribute(each, "authorId"))
                    name = authors[index] if index < len(authors) else ""
                    author = f" ({name})" if name else ""
                    if words and not name.startswith(_OF_THREAD):
                        yield f"Comment on {attribute(each, 'ref')}{author}: {words}"

    def _threads(self, part: str) -> Iterator[str]:
        for each in self._package.root(part):
            words = one_line(" ".join(one.text or "" for one in each if local(one) == "text"))
            if words:
                yield f"Comment on {attribute(each, 'ref')}: {words}"

    def _drawing(self, part: str, sheet: Sheet, labels: Container[str]) -> Iterator[str]:
        related = self._package.relationships(part)
        drawings = Drawings(self._package, related, self._notes, f"sheet {sheet.name}")
        for anchor in self._package.root(part):
            text = plain_text(anchor)
            if text and one_line(text) not in labels:
                yield text
            yield from drawings.lines(anchor)


def _put(cells: list[str], column: int, text: str) -> None:
    cells += [""] * (column + 1 - len(cells))
    cells[column] = text


def _rich(element: Element) -> str:
    """Return the text of a rich string, without phonetic readings."""
    pieces = []
    for child in element:
        match local(child):
            case "t":
                pieces.append(child.text or "")
            case "r" | "text":
                words = _rich(child)
                properties = {local(each): attribute(each, "val") for each in _properties(child)}
                if properties.get("vertAlign") == "superscript":
                    words = raised(words, pieces[-1] if pieces else "")
                pieces.append(Struck(words) if properties.get("strike", "0") not in ("0", "false") else words)
    return joined(pieces)


def _properties(run: Element) -> Iterator[Element]:
    return (each for properties in run if local(properties) == "rPr" for each in properties)


def printed_words(header: str) -> str:
    """Return the text of a header or footer without its codes; empty if nothing is left but numbers."""
    words = one_line(_HEADER_CODE.sub(lambda match: "&" if match[0] == "&&" else " ", unescape(header)))
    return words if any(map(str.isalpha, _PAGE_OF.sub("", words))) else ""


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
