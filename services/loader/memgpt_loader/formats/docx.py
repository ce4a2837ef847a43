"""Word documents: paragraphs, headings, lists, tables, links, text boxes and notes, as last revised."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from memgpt_loader.formats.packages import Package, Relationship, attribute, local, open_package, relationship_id
from memgpt_loader.formats.probe import ZIP
from memgpt_loader.formats.spec import File, Format, Limits, Parsed, flowing
from memgpt_loader.markup import Blocks, link, one_line

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

_WHAT = "the Word document"
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_NOT_SHOWN = frozenset({"del", "moveFrom", "instrText", "delText", "rPr", "pPr", "sectPr", "Fallback"})
_NOTES = ("footnotes", "endnotes")
_MOST_STYLES_BASED = 20


@dataclass(frozen=True)
class _Style:
    level: int
    """Of a heading, from 1; 0 for other text."""
    listed: bool


def parse(file: File, limits: Limits) -> Parsed:
    """Opens a Word document: it has no pages of its own before it is printed."""
    with open_package(file, _WHAT, limits) as package:
        return Parsed(1, flowing(_Reader(package).text()))


class _Reader:
    def __init__(self, package: Package) -> None:
        self._package = package
        self._main = package.main_part()
        self._links: Mapping[str, Relationship] = package.relationships(self._main)
        self._styles = self._read_styles()
        self._blocks = Blocks()
        self._boxes: list[Element] = []

    def text(self) -> str:
        """All of the document."""
        depth = 0
        for event, element in self._package.elements(self._main):
            depth += 1 if event == "start" else -1
            if event == "end" and depth == 2:  # within the document and its body
                self._block(element)
                element.clear()
        for kind in _NOTES:
            self._notes(kind)
        return self._blocks.text()

    def _block(self, element: Element) -> None:
        match local(element):
            case "p":
                self._paragraph(element)
            case "tbl":
                self._blocks.gap()
                for row in self._rows(element):
                    self._blocks.row(row)
                self._blocks.gap()
            case name if name not in _NOT_SHOWN:  # content controls, custom XML, insertions: what is in them
                for child in element:
                    self._block(child)

    def _paragraph(self, element: Element) -> None:
        text = self._inline(element)
        style, depth = self._style(element)
        if style.level:
            self._blocks.heading(style.level, text)
        elif style.listed:
            self._blocks.item(depth, text)
        else:
            self._blocks.paragraph(text)
        boxes, self._boxes = self._boxes, []
        for box in boxes:
            for child in box:
                self._block(child)

    def _rows(self, table: Element) -> Iterator[list[str]]:
        for row in _within(table, "tr"):
            yield [self._cell(cell) for cell in _within(row, "tc")]

    def _cell(self, element: Element) -> str:
        pieces = []
        for child in element:
            match local(child):
                case "p":
                    pieces.append(one_line(self._inline(child)))
                case "tbl":
                    pieces += [", ".join(filter(None, row)) for row in self._rows(child)]
                case name if name not in _NOT_SHOWN:
                    pieces.append(self._cell(child))
        return " ".join(filter(None, pieces))

    def _inline(self, element: Element) -> str:
        pieces = []
        for child in element:
            match local(child):
                case "t":
                    pieces.append(child.text or "")
                case "tab" | "ptab":
                    pieces.append(" ")
                case "br" | "cr":
                    pieces.append("\n")
                case "noBreakHyphen":
                    pieces.append("-")
                case "footnoteReference" | "endnoteReference":
                    pieces.append(f"[{attribute(child, 'id')}]")
                case "hyperlink":
                    target = self._links.get(relationship_id(child))
                    words = self._inline(child)
                    pieces.append(link(words, target.target) if target else words)
                case "txbxContent":
                    self._boxes.append(child)
                case name if name not in _NOT_SHOWN:
                    pieces.append(self._inline(child))
        return "".join(pieces)

    def _style(self, paragraph: Element) -> tuple[_Style, int]:
        """A paragraph's style, and its depth in lists."""
        properties = next((child for child in paragraph if local(child) == "pPr"), None)
        style, depth = _Style(0, listed=False), 0
        for each in () if properties is None else properties:
            match local(each):
                case "pStyle":
                    style = self._styles.get(attribute(each, "val"), style)
                case "outlineLvl":
                    style = _Style(_level(each), style.listed)
                case "numPr":
                    values = {local(one): attribute(one, "val") for one in each}
                    style = _Style(style.level, listed=values.get("numId") != "0")
                    depth = _number(values.get("ilvl", ""))
        return style, depth

    def _read_styles(self) -> dict[str, _Style]:
        part = next((each.target for each in self._links.values() if each.kind == "styles"), "")
        if part not in self._package.names:
            return {}
        own: dict[str, _Style] = {}
        based: dict[str, str] = {}
        for style in _within(self._package.root(part), "style"):
            level, listed, style_id = 0, False, attribute(style, "styleId")
            for each in style.iter():
                match local(each):
                    case "name":
                        name = attribute(each, "val")
                        heading = _HEADING.fullmatch(name)
                        level = int(heading[1]) if heading else 1 if name.lower() == "title" else level
                    case "basedOn":
                        based[style_id] = attribute(each, "val")
                    case "outlineLvl":
                        level = level or _level(each)
                    case "numPr":
                        listed = True
            own[style_id] = _Style(level, listed)
        return {style_id: _inherited(style_id, own, based) for style_id in own}

    def _notes(self, kind: str) -> None:
        part = next((each.target for each in self._links.values() if each.kind == kind), "")
        if part not in self._package.names:
            return
        self._links = {**self._links, **self._package.relationships(part)}
        for note in self._package.root(part):
            if attribute(note, "type") in ("", "normal"):
                words = " ".join(filter(None, (one_line(self._inline(each)) for each in note)))
                self._blocks.paragraph(f"[{attribute(note, 'id')}] {words}" if words else "")


def _within(element: Element, name: str) -> Iterator[Element]:
    """The nearest descendants of a name, whatever they are wrapped in."""
    for child in element:
        if local(child) == name:
            yield child
        elif local(child) not in _NOT_SHOWN:
            yield from _within(child, name)


def _inherited(style_id: str, own: Mapping[str, _Style], based: Mapping[str, str]) -> _Style:
    style = own[style_id]
    level, listed = style.level, style.listed
    for _ in range(_MOST_STYLES_BASED):
        style_id = based.get(style_id, "")
        if level or style_id not in own:
            break
        level, listed = own[style_id].level, listed or own[style_id].listed
    return _Style(level, listed)


def _level(element: Element) -> int:
    level = _number(attribute(element, "val"))
    return level + 1 if level < 9 else 0  # 9 is body text


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


FORMAT = Format(
    name="Word document",
    media_types={DOCX: (".docx", ".docm")},
    parse=parse,
    reads="paragraphs, headings, lists, tables, links, text boxes, footnotes and endnotes, as last revised",
    omits="",
    signature=lambda probe: DOCX if probe.is_office("word/") else "",
    first_bytes=ZIP,
)
