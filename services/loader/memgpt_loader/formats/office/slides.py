"""The text of PowerPoint slides, shape by shape in the order of reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from memgpt_loader.formats.equations import linear
from memgpt_loader.formats.office.drawings import Drawings, description, plain_text
from memgpt_loader.formats.office.packages import Package, Relationship, attribute, local, relationship_id
from memgpt_loader.formats.office.symbols import is_symbol_font, symbol
from memgpt_loader.markup import Blocks, Struck, joined, link, one_line, raised
from memgpt_loader.notes import NoteKind, Notes

_TITLES = ("title", "ctrTitle")
_ON_EVERY_SLIDE = ("sldNum", "dt", "ftr", "hdr", "sldImg")
_FOOTERS = {"ftr": "Footer", "hdr": "Header", "dt": "Date"}
"""Those with text that the author may have written; the same text is read once."""
_NOT_SHOWN = frozenset(
    {"Fallback", "nvSpPr", "spPr", "style", "timing", "transition", "extLst", "nvGrpSpPr", "grpSpPr"}
)
_SHAPES = frozenset({"sp", "pic", "graphicFrame", "grpSp", "cxnSp", "AlternateContent"})
_ROW = 360_000
"""Shapes whose tops differ by less than this (a centimeter in EMU) are read from left to right."""
_MOST_DEPTH = 50


@dataclass(frozen=True)
class _Place:
    left: int
    top: int


class SlideReader:
    """Reads the slides of one presentation."""

    def __init__(self, package: Package, notes: Notes) -> None:
        self._package = package
        self._notes = notes
        self._layouts: dict[str, Mapping[tuple[str, str], _Place]] = {}
        self._authors = self._comment_authors()
        self._footers: set[str] = set()
        self._masters: set[str] = set()
        """Layouts and masters whose own text was read."""

    def text(self, part: str, number: int) -> str:
        """Return the text of a slide: its title, its shapes, comments and the speaker's notes."""
        related = self._package.relationships(part)
        blocks = Blocks()
        root = self._package.root(part)
        shapes = _Shapes(blocks, related, self._drawings(related, number), self._places(related), self._notes, number)
        shapes.footers = self._footers
        # Beside the shapes, a slide may contain transitions, in alternatives as shapes may be.
        shapes.add(next((each for each in root.iter() if local(each) == "spTree"), root))
        for words in self._beneath(root, related, "slideLayout"):
            blocks.paragraph(f"Slide master: {words}")
        for each in related.values():
            if each.target not in self._package.names:
                continue
            if each.kind == "notesSlide":
                self._speaker(each.target, blocks, number)
            elif each.kind in ("comments", "comment"):
                for words in self._comments(each.target):
                    blocks.paragraph(words)
        return blocks.text()

    def _beneath(self, root: Element, related: Mapping[str, Relationship], kind: str) -> Iterator[str]:
        """Yield the text that the layout and the master show on every slide, with the first slide."""
        part = next((each.target for each in related.values() if each.kind == kind), "")
        if part not in self._package.names or root.get("showMasterSp") in ("0", "false"):
            return
        if part in self._masters:
            return
        self._masters.add(part)
        below = self._package.root(part)
        for shape in (each for each in below.iter() if local(each) == "sp" and _placeholder(each) == ("", "")):
            if words := one_line(plain_text(shape)):
                yield words
        yield from self._beneath(below, self._package.relationships(part), "slideMaster")

    def _drawings(self, related: Mapping[str, Relationship], number: int) -> Drawings:
        return Drawings(self._package, related, self._notes, f"slide {number}")

    def _speaker(self, part: str, blocks: Blocks, number: int) -> None:
        related = self._package.relationships(part)
        words = Blocks()
        _Shapes(words, related, self._drawings(related, number), {}, self._notes, number).add(self._package.root(part))
        if words.text():
            blocks.paragraph(f"Notes: {words.text()}")

    def _places(self, related: Mapping[str, Relationship]) -> Mapping[tuple[str, str], _Place]:
        """Return the positions of the placeholders in a slide's layout, by kind and index."""
        layout = next((each.target for each in related.values() if each.kind == "slideLayout"), "")
        if layout not in self._layouts:
            places: dict[tuple[str, str], _Place] = {}
            if layout in self._package.names:
                masters = self._package.relationships(layout).values()
                parts = [each.target for each in masters if each.kind == "slideMaster"]
                for part in [*parts, layout]:
                    if part in self._package.names:
                        places.update(_placeholders(self._package.root(part)))
            self._layouts[layout] = places
        return self._layouts[layout]

    def _comment_authors(self) -> dict[str, str]:
        part = next((each for each in self._package.names if each.endswith(("commentAuthors.xml", "authors.xml"))), "")
        if not part:
            return {}
        return {attribute(each, "id"): one_line(attribute(each, "name")) for each in self._package.root(part)}

    def _comments(self, part: str) -> Iterator[str]:
        for each in self._package.root(part).iter():
            if local(each) == "cm":
                words = one_line(" ".join(one.text or "" for one in each.iter() if local(one) in ("text", "t")))
                author = self._authors.get(attribute(each, "authorId"), "")
                if words:
                    yield f"Comment ({author}): {words}" if author else f"Comment: {words}"


def _placeholders(root: Element) -> Iterator[tuple[tuple[str, str], _Place]]:
    for shape in root.iter():
        if local(shape) == "sp":
            kind, index = _placeholder(shape)
            place = _own_place(shape)
            if place is not None and (kind or index):
                yield (kind, index), place
                yield (kind, ""), place
                if index:
                    yield ("", index), place


def _placeholder(shape: Element) -> tuple[str, str]:
    """Return the kind and index of a placeholder; empty for other shapes."""
    for properties in shape:
        if local(properties).startswith("nv"):
            for each in properties.iter():
                if local(each) == "ph":
                    return attribute(each, "type") or "body", attribute(each, "idx")
    return "", ""


def _own_place(shape: Element) -> _Place | None:
    for properties in shape:
        if local(properties) == "xfrm" or local(properties) in ("spPr", "grpSpPr"):
            frames = [properties] if local(properties) == "xfrm" else properties
            for frame in frames:
                if local(frame) == "xfrm":
                    for each in frame:
                        if local(each) == "off":
                            return _Place(_coordinate(each.get("x")), _coordinate(each.get("y")))
    return None


def _coordinate(text: str | None) -> int:
    digits = (text or "").removeprefix("-")
    return int(text or "0") if digits.isascii() and digits.isdigit() and len(digits) < 12 else 0


class _Shapes:
    def __init__(
        self,
        blocks: Blocks,
        parts: Mapping[str, Relationship],
        drawings: Drawings,
        places: Mapping[tuple[str, str], _Place],
        notes: Notes,
        number: int,
    ) -> None:
        self._blocks = blocks
        self._parts = parts
        self._drawings = drawings
        self._places = places
        self._notes = notes
        self._number = number
        self.footers: set[str] | None = None
        """Headers and footers that were read before; None to read none."""

    def add(self, element: Element, depth: int = 0) -> None:
        """Add the text of all shapes in an element, from top to bottom."""
        if depth > _MOST_DEPTH:
            return
        shapes = [child for child in element if local(child) in _SHAPES]
        for child in self._in_order(shapes) if shapes else element:
            match local(child):
                case "sp" | "cxnSp":
                    self._shape(child)
                case "pic":
                    self._picture(child)
                case "graphicFrame":
                    self._frame(child)
                case "contentPart":  # handwriting
                    self._notes.add(NoteKind.PICTURE, page=self._number, unit="slide")
                case name if name not in _NOT_SHOWN:
                    self.add(child, depth + 1)

    def _in_order(self, shapes: list[Element]) -> list[Element]:
        """Sort shapes: title, then rows from left to right; a shape without a position follows its predecessor."""
        keyed = []
        last = _Place(0, 0)
        for at, shape in enumerate(shapes):
            kind, index = _placeholder(shape)
            inner = next((each for each in shape.iter() if local(each) in _SHAPES), shape)
            place = (
                _own_place(inner)
                or self._places.get((kind, index))
                or self._places.get(("", index) if index else (kind, ""))
            )
            last = place or last
            keyed.append((kind not in _TITLES, last.top, last.left, at, shape))
        keyed.sort(key=lambda each: (each[0], each[1], each[3]))
        ordered: list[Element] = []
        row: list[tuple[bool, int, int, int, Element]] = []
        for each in keyed:
            if row and (each[0] != row[0][0] or each[1] - row[0][1] > _ROW):
                ordered += [one[4] for one in sorted(row, key=lambda one: (one[2], one[3]))]
                row = []
            row.append(each)
        return ordered + [one[4] for one in sorted(row, key=lambda one: (one[2], one[3]))]

    def _shape(self, shape: Element) -> None:
        kind, _ = _placeholder(shape)
        paragraphs = [each for each in shape.iter() if local(each) == "p"]
        if kind in _ON_EVERY_SLIDE:
            if kind == "dt" and any(local(each) == "fld" for each in shape.iter()):  # the day on which it is shown
                return
            self._footer(kind, one_line(" ".join(map(self._paragraph, paragraphs))))
            return
        if kind in _TITLES:
            self._blocks.heading(1, " ".join(map(self._paragraph, paragraphs)))
            return
        self._blocks.gap()
        numbers: dict[int, int] = {}
        properties = next((each for each in shape if local(each).startswith("nv")), None)
        for each in paragraphs:
            text = self._paragraph(each)
            if text and properties is not None:
                text = self._linked(properties, text)
            depth, marker = _marker(each, numbers)
            if marker:
                self._blocks.item(depth, text, marker)
            elif kind in ("body", "obj") and len(paragraphs) > 1:
                self._blocks.item(depth, text)
            else:
                self._blocks.paragraph(text)
        self._blocks.gap()
        if not any(map(self._paragraph, paragraphs)) and (words := description(shape)):
            self._blocks.paragraph(f"[Picture: {words}]")

    def _footer(self, kind: str, words: str) -> None:
        if kind in _FOOTERS and words and self.footers is not None and words not in self.footers:
            self.footers.add(words)
            self._blocks.paragraph(f"{_FOOTERS[kind]}: {words}")

    def _linked(self, element: Element, words: str) -> str:
        """Return words with the target of a run's or shape's link."""
        click = next((each for each in element.iter() if local(each) == "hlinkClick"), None)
        target = None if click is None else self._parts.get(relationship_id(click))
        return link(words, target.target) if target else words

    def _picture(self, picture: Element) -> None:
        if any(local(each) in ("videoFile", "audioFile", "media") for each in picture.iter()):
            self._notes.add(NoteKind.OBJECT, page=self._number, unit="slide", reason="a sound or a film is not read")
        for line in self._drawings.lines(picture):
            self._blocks.paragraph(line)

    def _frame(self, frame: Element) -> None:
        table = next((each for each in frame.iter() if local(each) == "tbl"), None)
        if table is None:
            self._blocks.paragraph("\n".join(self._drawings.lines(frame)))
            return
        self._blocks.gap()
        above: dict[int, str] = {}
        for row in (one for one in table if local(one) == "tr"):
            cells = [one for one in row if local(one) == "tc"]
            texts = [self._plain(cell) for cell in cells]
            for at, cell in enumerate(cells):  # a cell that spans several rows is repeated in each
                if attribute(cell, "vMerge") in ("1", "true"):
                    texts[at] = above.get(at, "")
                above[at] = texts[at]
            self._blocks.row(texts)
        self._blocks.gap()

    def _plain(self, element: Element) -> str:
        return " ".join(self._paragraph(each) for each in element.iter() if local(each) == "p")

    def _paragraph(self, paragraph: Element) -> str:
        pieces: list[str] = []
        for run in paragraph:
            match local(run):
                case "r" | "fld":
                    words = self._linked(run, _words(run))
                    before = next(filter(None, reversed(pieces)), "")
                    words = raised(words, before) if _is_superscript(run) else words
                    pieces.append(Struck(words) if _is_struck(run) else words)
                case "br":
                    pieces.append("\n")
                case "m" | "oMath" | "oMathPara" | "AlternateContent":
                    pieces += [linear(each) for each in (run, *run.iter()) if local(each) == "oMath"][:1]
        return joined(pieces)


def _words(run: Element) -> str:
    words = "".join(each.text or "" for each in run if local(each) == "t")
    font = next((attribute(each, "typeface") for each in run.iter() if local(each) == "sym"), "")
    if is_symbol_font(font):
        return "".join(symbol(font, ord(char)) if "\uf020" <= char <= "\uf0ff" else char for char in words)
    return words


def _is_superscript(run: Element) -> bool:
    return any(attribute(each, "baseline")[:1] not in ("", "0", "-") for each in run if local(each) == "rPr")


def _is_struck(run: Element) -> bool:
    return any(attribute(each, "strike") in ("sngStrike", "dblStrike") for each in run if local(each) == "rPr")


def _marker(paragraph: Element, numbers: dict[int, int]) -> tuple[int, str]:
    """Count a paragraph; return its depth, and its marker if it is numbered."""
    properties = next((each for each in paragraph if local(each) == "pPr"), None)
    level = "" if properties is None else attribute(properties, "lvl")
    depth = int(level) if level.isascii() and level.isdigit() and len(level) < 3 else 0
    auto = next((each for each in (() if properties is None else properties) if local(each) == "buAutoNum"), None)
    for deeper in [each for each in numbers if each > depth or (each == depth and auto is None)]:
        del numbers[deeper]
    if auto is None:
        return depth, ""
    start = attribute(auto, "startAt")
    first = int(start) if start.isascii() and start.isdigit() and len(start) < 6 else 1
    numbers[depth] = numbers.get(depth, first - 1) + 1
    form = attribute(auto, "type")
    value = numbers[depth]
    letters = "A" if "Uc" in form else "a"
    shown = chr(ord(letters) + (value - 1) % 26) if form.startswith("alpha") else str(value)
    return depth, f"{shown})" if "Paren" in form else f"{shown}."
