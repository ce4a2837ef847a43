"""The text of Word documents, with all revisions accepted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from memgpt_loader.failures import FileFailure
from memgpt_loader.formats.embedded import embedded_text
from memgpt_loader.formats.equations import linear
from memgpt_loader.formats.office.drawings import Drawings
from memgpt_loader.formats.office.numbering import ListPlace, Numbering, number
from memgpt_loader.formats.office.packages import Package, Relationship, attribute, local, relationship_id
from memgpt_loader.formats.office.symbols import symbol
from memgpt_loader.formats.spec import File, FileLimits
from memgpt_loader.markup import Blocks, Struck, joined, link, one_line, raised
from memgpt_loader.notes import NoteKind, Notes

_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_NOT_SHOWN = frozenset(
    {"del", "moveFrom", "instrText", "delText", "rPr", "pPr", "sectPr", "Fallback", "rt", "rubyPr", "tcPr", "tblPr"}
)
_PRIVATE = re.compile("[\uf020-\uf0ff]")
_OFF = ("0", "false", "off")
_MOST_STYLES_BASED = 20
_HYPERLINK = re.compile(r'HYPERLINK\s+"([^"]+)"')
_SYMBOL_FIELD = re.compile(r'SYMBOL\s+(\d{1,5}|0x[0-9A-Fa-f]{1,4})(?=\s|$)(?:.*\\f\s+"?([^"\\]+))?')


@dataclass
class _Field:
    begin: Element
    """Begins the field; it holds the state of a form field."""
    start: int
    """Where the pieces of its result begin."""
    code: str = ""


@dataclass(frozen=True)
class _Style:
    level: int = 0
    """Level of a heading, from 1; 0 for other text."""
    place: ListPlace | None = None
    listed: bool = False
    hidden: bool | None = None
    struck: bool | None = None
    """``hidden`` and ``struck`` are None if the style inherits them."""


class WordReader:
    """Reads one document."""

    def __init__(self, package: Package, file: File, limits: FileLimits, notes: Notes) -> None:
        """Open a document.

        Args:
            package: The package of the document.
            file: The file that contains embedded files.
            limits: Limits of parsing.
            notes: Receives notes on content that is left out.
        """
        self._package = package
        self._file = file
        self._limits = limits
        self._notes = notes
        self._main = package.main_part()
        self._links: Mapping[str, Relationship] = package.relationships(self._main)
        self._numbering = Numbering(self._root_of("numbering"))
        self._styles = self._read_styles()
        self._comments = self._read_comments()
        self._drawings = Drawings(package, self._links, notes)
        self._blocks = Blocks()
        self._waiting: list[Element | str] = []
        """Text boxes, drawings and comments, which follow the paragraph or table that they belong to."""
        self._font = ""
        """Font of the current run, if it names one."""
        self._hides = False
        """Whether the style of the current paragraph hides its text."""
        self._carried = ""
        """Text of a paragraph whose paragraph mark is deleted; it continues in the next paragraph."""
        self._frames: dict[str, list[str]] = {"header": [], "footer": []}
        """Relationship ids of headers and footers."""

    def text(self) -> str:
        """Return the text of the whole document."""
        depth = 0
        for event, element in self._package.elements(self._main):
            depth += 1 if event == "start" else -1
            if event == "end" and depth == 2:  # the document and its body
                self._block(element)
                element.clear()
        if self._carried:
            self._blocks.paragraph(self._carried)
        self._add_notes("footnotes", "")
        self._add_notes("endnotes", "endnote ")
        headers, footers = (self._frame(kind) for kind in ("header", "footer"))
        return "\n\n".join(filter(None, (headers, self._blocks.text(), footers)))

    def _root_of(self, kind: str) -> Element | None:
        part = next((each.target for each in self._links.values() if each.kind == kind), "")
        return self._package.root(part) if part in self._package.names else None

    def _block(self, element: Element) -> None:
        match local(element):
            case "p":
                self._paragraph(element)
            case "tbl":
                self._blocks.gap()
                for row in self._rows(element):
                    self._blocks.row(row)
                self._blocks.gap()
                self._flush()
            case "altChunk":
                self._blocks.paragraph(self._imported(element))
            case "sectPr":
                self._section(element)
            case "oMathPara" | "oMath":
                self._blocks.paragraph(linear(element))
            case name if name not in _NOT_SHOWN:  # content controls, custom XML and insertions: read their content
                for child in element:
                    self._block(child)

    def _paragraph(self, element: Element) -> None:
        properties = _properties(element, "pPr")
        for each in properties:
            if local(each) == "sectPr":
                self._section(each)
        style = self._style(properties)
        self._hides = bool(style.hidden)
        text = self._carried + self._inline(element)
        self._carried, self._hides = "", False
        if _mark_is_deleted(properties):
            self._carried = text
            return
        place = style.place
        marker = self._numbering.marker(place) if place is not None and text.strip() else ""
        if style.level:
            self._blocks.heading(style.level, f"{marker} {text}" if marker not in ("", "-") else text)
        elif style.listed or place is not None:
            self._blocks.item(place.level if place else 0, text, marker or "-")
        else:
            self._blocks.paragraph(text)
        self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if isinstance(each, str):
                self._blocks.paragraph(each)
            else:
                for child in each:
                    self._block(child)

    def _rows(self, table: Element) -> Iterator[list[str]]:
        above: dict[int, str] = {}
        for row in _within(table, "tr"):
            if any(local(each) == "del" for each in _properties(row, "trPr")):
                continue
            cells: list[str] = []
            for cell in _within(row, "tc"):
                properties = {local(each): attribute(each, "val") for each in _properties(cell, "tcPr")}
                at = len(cells)
                text = self._cell(cell)
                if "vMerge" in properties:  # a cell that spans several rows is repeated in each
                    text = above.get(at, text) if properties["vMerge"] in ("", "continue") else text
                    above[at] = text
                cells.append(text)
                cells += [""] * (min(number(properties.get("gridSpan", "1")), 64) - 1)
            yield cells

    def _cell(self, element: Element) -> str:
        pieces = []
        for child in element:
            match local(child):
                case "p":
                    style = self._style(_properties(child, "pPr"))
                    self._hides = bool(style.hidden)
                    words = one_line(self._inline(child))
                    self._hides = False
                    marker = self._numbering.marker(style.place) if style.place is not None and words else "-"
                    pieces.append(words if marker == "-" else f"{marker} {words}")
                case "tbl":
                    pieces += [", ".join(filter(None, row)) for row in self._rows(child)]
                case "altChunk":
                    pieces.append(one_line(self._imported(child)))
                case "oMathPara" | "oMath":
                    pieces.append(linear(child))
                case name if name not in _NOT_SHOWN:
                    pieces.append(self._cell(child))
        return " ".join(filter(None, pieces))

    def _inline(self, element: Element) -> str:
        pieces: list[str] = []
        fields: list[_Field] = []
        superscript: list[str] = []
        for child in _pieces(element):
            if local(child) == "r" and _is_superscript(child):
                superscript.append(self._inline_piece(child))
                continue
            if superscript:
                pieces.append(_raised(superscript, pieces))
                superscript = []
            match local(child), attribute(child, "fldCharType"):
                case "fldChar", "begin":
                    fields.append(_Field(child, len(pieces)))
                case "fldChar", "separate" if fields:
                    fields[-1].start = len(pieces)
                case "fldChar", "end" if fields:
                    field = fields.pop()
                    pieces[field.start :] = [self._field(field, joined(pieces[field.start :]))]
                case "instrText", _ if fields:
                    fields[-1].code += child.text or ""
                case _:
                    pieces.append(self._inline_piece(child))
        if superscript:
            pieces.append(_raised(superscript, pieces))
        return joined(pieces)

    def _field(self, field: _Field, result: str) -> str:
        """Return what a field shows; `result` is what Word stored when it was last updated."""
        code = field.code.strip()
        if target := _HYPERLINK.match(code):
            return link(result, target[1])
        if result:
            return result
        if form := _SYMBOL_FIELD.match(code):
            return symbol(form[2] or "Symbol", int(form[1], 16 if form[1].startswith("0x") else 10))
        if code.startswith("EQ "):
            self._notes.add(NoteKind.OBJECT, "equation field")
        if code.startswith(("AUTONUM", "LISTNUM")):  # Word counts them when it shows the document
            self._notes.add(NoteKind.OBJECT, "numbering field")
        return _chosen(field.begin)

    def _inline_piece(self, child: Element) -> str:
        name = local(child)
        match name:
            case "r":
                return self._run(child)
            case "t":
                font = self._font or "Symbol"
                return _PRIVATE.sub(lambda match: symbol(font, ord(match.group())), child.text or "")
            case "fldSimple":
                return self._field(_Field(child, 0, attribute(child, "instr")), self._inline(child))
            case "hyperlink":
                target = self._links.get(relationship_id(child))
                words = self._inline(child)
                return link(words, target.target) if target else words
            case "drawing" | "pict" | "object":
                words = self._inline(child)
                if lines := self._drawings.lines(child):
                    self._waiting.append("\n".join(lines))
                return words
            case "commentReference":
                self._waiting.append(self._comments.get(attribute(child, "id"), ""))
            case "txbxContent":
                self._waiting.append(child)
            case "subDoc":
                target = self._links.get(relationship_id(child))
                self._notes.add(NoteKind.MISSING_PART, unquote(target.target).rpartition("/")[2] if target else "")
            case _ if name not in _NOT_SHOWN:
                text = _text_of_mark(name, child)
                return self._inline(child) if text is None else text
        return ""

    def _run(self, run: Element) -> str:
        if self._is_hidden(run):
            if any((each.text or "").strip() for each in run.iter() if local(each) == "t"):
                self._notes.add(NoteKind.HIDDEN, "hidden text")
            return ""
        self._font = next((_font(each) for each in _properties(run, "rPr") if local(each) == "rFonts"), "")
        words = self._inline(run)
        return Struck(words) if self._is_struck(run) else words

    def _is_struck(self, run: Element) -> bool:
        properties = {local(each): attribute(each, "val") for each in _properties(run, "rPr")}
        own = [properties[name] not in _OFF for name in ("strike", "dstrike") if name in properties]
        return any(own) if own else bool(self._styles.get(properties.get("rStyle", ""), _Style()).struck)

    def _is_hidden(self, run: Element) -> bool:
        for each in _properties(run, "rPr"):
            if local(each) == "vanish":
                return attribute(each, "val") not in _OFF
            if local(each) == "rStyle" and self._styles.get(attribute(each, "val"), _Style()).hidden:
                return True
        return self._hides

    def _style(self, properties: Element | tuple[()]) -> _Style:
        """Return the style of a paragraph."""
        style_id = next((attribute(each, "val") for each in properties if local(each) == "pStyle"), "")
        style = self._styles.get(style_id, _Style())
        style = replace(style, place=style.place or self._numbering.place_of_style(style_id))
        for each in properties:
            match local(each):
                case "outlineLvl":
                    style = replace(style, level=_level(each))
                case "numPr":
                    style = _listed(style, each)
        return style

    def _read_styles(self) -> dict[str, _Style]:
        root = self._root_of("styles")
        own: dict[str, _Style] = {}
        based: dict[str, str] = {}
        for element in () if root is None else _within(root, "style"):
            style, style_id = _Style(), attribute(element, "styleId")
            for each in element.iter():
                match local(each):
                    case "name":
                        name = attribute(each, "val")
                        heading = _HEADING.fullmatch(name)
                        level = int(heading[1]) if heading else 1 if name.lower() == "title" else style.level
                        style = replace(style, level=level)
                    case "basedOn":
                        based[style_id] = attribute(each, "val")
                    case "outlineLvl":
                        style = replace(style, level=style.level or _level(each))
                    case "numPr":
                        style = _listed(style, each)
                    case "vanish":
                        style = replace(style, hidden=attribute(each, "val") not in _OFF)
                    case "strike" | "dstrike":
                        style = replace(style, struck=style.struck or attribute(each, "val") not in _OFF)
            own[style_id] = style
        return {style_id: _inherited(style_id, own, based) for style_id in own}

    def _read_comments(self) -> dict[str, str]:
        root = self._root_of("comments")
        found = {}
        for each in () if root is None else root:
            words = one_line(" ".join("".join(_texts(one)) for one in each.iter() if local(one) == "p"))
            author = one_line(attribute(each, "author"))
            if words.strip():
                found[attribute(each, "id")] = f"Comment ({author}): {words}" if author else f"Comment: {words}"
        return found

    def _add_notes(self, kind: str, label: str) -> None:
        part = next((each.target for each in self._links.values() if each.kind == kind), "")
        if part not in self._package.names:
            return
        with_links = {**self._links, **self._package.relationships(part)}
        self._links, outer = with_links, self._links
        for note in self._package.root(part):
            if attribute(note, "type") in ("", "normal"):
                words = self._cell(note)
                self._blocks.paragraph(f"[{label}{attribute(note, 'id')}] {words}" if words else "")
                self._flush()
        self._links = outer

    def _section(self, properties: Element) -> None:
        for each in properties:
            kind = local(each).removesuffix("Reference")
            if kind in self._frames and relationship_id(each) not in self._frames[kind]:
                self._frames[kind].append(relationship_id(each))

    def _frame(self, kind: str) -> str:
        """Return the distinct headers or footers, except those that are only page numbers."""
        texts: list[str] = []
        main, blocks = self._links, self._blocks
        for id_ in self._frames[kind]:
            related = main.get(id_)
            if related is None or related.target not in self._package.names:
                continue
            self._links = self._package.relationships(related.target)
            self._drawings = Drawings(self._package, self._links, Notes())  # no note: usually a logo
            self._blocks = Blocks()
            for child in self._package.root(related.target):
                self._block(child)
            words = self._blocks.text()
            if any(char.isalpha() for char in words.replace("Page", "")) and words not in texts:
                texts.append(words)
        self._links, self._blocks = main, blocks
        return "\n\n".join(f"{kind.capitalize()}: {each}" for each in texts)

    def _imported(self, element: Element) -> str:
        """Return a document that is imported as a whole (altChunk), which Word shows inline."""
        related = self._links.get(relationship_id(element))
        if related is None or related.target not in self._package.names:
            self._notes.add(NoteKind.MISSING_PART, "imported document")
            return ""
        name = related.target.rpartition("/")[2]
        try:
            return embedded_text(name, self._package.read(related.target), self._file, self._limits, self._notes)
        except FileFailure as failure:
            self._notes.add(NoteKind.ATTACHMENT, name, reason=failure.message)
            return ""


def _text_of_mark(name: str, element: Element) -> str | None:
    """Return the text of an element that stands for characters, such as a tab; None for any other element."""
    match name:
        case "tab" | "ptab":
            return " "
        case "br" | "cr":
            return "\n"
        case "noBreakHyphen":
            return "-"
        case "sym":
            code = attribute(element, "char")
            return symbol(attribute(element, "font"), int(code, 16)) if re.fullmatch("[0-9A-Fa-f]{1,5}", code) else ""
        case "footnoteReference":
            return f"[{attribute(element, 'id')}]"
        case "endnoteReference":
            return f"[endnote {attribute(element, 'id')}]"
        case "oMath" | "oMathPara":
            return linear(element)
        case "textpath":
            return element.get("string") or ""
    return None


def _properties(element: Element, name: str) -> Element | tuple[()]:
    return next((child for child in element if local(child) == name), ())


def _pieces(element: Element) -> Iterator[Element]:
    """Yield the children of an element. A run that belongs to a field is replaced by its own children."""
    for child in element:
        if local(child) == "r" and any(local(each) in ("fldChar", "instrText") for each in child):
            yield from (each for each in child if local(each) != "rPr")
        else:
            yield child


def _is_superscript(run: Element) -> bool:
    return any(
        local(each) == "vertAlign" and attribute(each, "val") == "superscript" for each in _properties(run, "rPr")
    )


def _raised(superscript: Sequence[str], before: Sequence[str]) -> str:
    words = raised("".join(superscript), next(filter(None, reversed(before)), ""))
    return Struck(words) if isinstance(superscript[0], Struck) else words


def _chosen(field: Element) -> str:
    """Return the state of a check box or drop-down list of a form; empty for other fields."""
    for each in field.iter():
        values = {local(child): attribute(child, "val") for child in each}
        if local(each) == "checkBox":
            return "☐" if values.get("checked", values.get("default", "0")) in _OFF else "☒"
        if local(each) == "ddList":
            entries = [attribute(child, "val") for child in each if local(child) == "listEntry"]
            return (entries[number(values.get("result", values.get("default", "0"))) :] or [""])[0]
    return ""


def _font(fonts: Element) -> str:
    return attribute(fonts, "ascii") or attribute(fonts, "hAnsi")


def _mark_is_deleted(properties: Element | tuple[()]) -> bool:
    return any(local(mark) in ("del", "moveFrom") for each in properties if local(each) == "rPr" for mark in each)


def _texts(element: Element) -> Iterator[str]:
    return (each.text or "" for each in element.iter() if local(each) == "t")


def _within(element: Element, name: str) -> Iterator[Element]:
    """Yield the nearest descendants with a name, regardless of wrappers."""
    for child in element:
        if local(child) == name:
            yield child
        elif local(child) not in _NOT_SHOWN:
            yield from _within(child, name)


def _listed(style: _Style, properties: Element) -> _Style:
    values = {local(each): attribute(each, "val") for each in properties}
    list_id = values.get("numId", style.place.list_id if style.place else "")
    if list_id in ("", "0"):
        return replace(style, place=None, listed=False)
    return replace(style, place=ListPlace(list_id, number(values.get("ilvl", ""))), listed=True)


def _inherited(style_id: str, own: Mapping[str, _Style], based: Mapping[str, str]) -> _Style:
    style = own[style_id]
    for _ in range(_MOST_STYLES_BASED):
        style_id = based.get(style_id, "")
        if style_id not in own:
            break
        parent = own[style_id]
        style = _Style(
            style.level or parent.level,
            style.place or parent.place,
            style.listed or parent.listed,
            parent.hidden if style.hidden is None else style.hidden,
            parent.struck if style.struck is None else style.struck,
        )
    return style


def _level(element: Element) -> int:
    level = number(attribute(element, "val"))
    return level + 1 if level < 9 else 0  # 9 is body text
