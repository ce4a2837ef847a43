"""The content of OpenDocument files: text, spreadsheets and presentations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from memgpt_loader.formats.equations import linear
from memgpt_loader.formats.office.numbering import number, written
from memgpt_loader.formats.office.packages import Package, attribute, local
from memgpt_loader.markup import Blocks, Struck, joined, link, one_line, raised
from memgpt_loader.notes import NoteKind, Notes
from memgpt_loader.tables import TableRow, table_lines

_MOST_REPEATED_COLUMNS = 1024
_MOST_REPEATED_ROWS = 1000
_LENGTH = re.compile(r"(-?\d+(?:\.\d+)?)(cm|mm|in|pt|px|pc)?")
_POINTS = {"cm": 28.35, "mm": 2.835, "in": 72.0, "pt": 1.0, "px": 0.75, "pc": 12.0}
_NOT_SHOWN = frozenset(
    {"tracked-changes", "forms", "sequence-decls", "variable-decls", "ruby-text", "shapes", "note-citation", "scripts"}
    | {"soft-page-break", "bookmark", "calculation-settings", "table-source", "named-expressions", "hidden-text"}
)
_DRAWN = frozenset(
    {"frame", "object", "image", "custom-shape", "rect", "text-box", "ellipse", "circle", "line", "polyline", "polygon"}
    | {"regular-polygon", "path", "connector", "caption", "measure", "g"}
)
_RESULTS = ("value", "date-value", "time-value", "boolean-value", "string-value")
_RAISED = re.compile(r"super|[1-9]\d*%")
_ROW_POINTS = 28.0
"""Shapes whose tops differ by less than this are read from left to right."""


@dataclass(frozen=True)
class _Level:
    """How a level of a list is numbered."""

    form: str = ""
    prefix: str = ""
    suffix: str = ""
    start: int = 1


@dataclass
class _List:
    style: str
    count: int | None = None


@dataclass(frozen=True)
class _Styles:
    lists: Mapping[str, Mapping[int, _Level]] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    raised: frozenset[str] = frozenset()
    """Styles of superscripts."""
    struck: frozenset[str] = frozenset()


class OpenDocumentReader:
    """Reads the body of one document."""

    def __init__(self, root: Element, styles: Element | None, package: Package | None, notes: Notes) -> None:
        """Open a document.

        Args:
            root: Root element of the content.
            styles: Root element of the styles; None if they are in the content or absent.
            package: The package, for embedded parts; None for a flat document.
            notes: Receives notes on content that is left out.
        """
        self._root = root
        self._package = package
        self._notes = notes
        self._master = styles if styles is not None else root
        self._controls = dict(_form_controls(root))
        self._footers: set[str] = set()
        self._masters: set[str] = set()
        """Slide masters whose own text was read."""
        self._styles = _read_styles([each for each in (styles, root) if each is not None])
        self._blocks = Blocks()
        self._lists: list[_List] = []
        self._waiting: list[str] = []

    @property
    def kind(self) -> str:
        """The kind of document: `text`, `spreadsheet`, `presentation` or `drawing`."""
        body = self._body()
        return local(body) if body is not None else ""

    def text(self) -> str:
        """Return the text of a text document."""
        frames = [*self._frames("header"), *self._frames("footer")]
        headers = [each for each in frames if each.startswith("Header")]
        footers = [each for each in frames if each.startswith("Footer")]
        self._children(self._body())
        return "\n\n".join(filter(None, (*headers, self._blocks.text(), *footers)))

    def sheets(self) -> list[tuple[str, Element]]:
        """Return the names and elements of the sheets."""
        body = self._body()
        tables = [] if body is None else [each for each in body if local(each) == "table"]
        return [(one_line(attribute(each, "name")), each) for each in tables]

    def sheet_lines(self, table: Element) -> Iterator[str]:
        """Yield the rows of a sheet, then its comments, charts and text boxes."""
        comments: list[str] = []
        yield from table_lines(self._rows(table, comments))
        for each in comments:
            yield from filter(None, each.split("\n"))
        self._blocks = Blocks()
        for shapes in (each for each in table if local(each) == "shapes"):
            for shape in shapes:
                self._block(shape)
        yield from filter(None, self._blocks.text().split("\n"))
        if table is next((each for _, each in self.sheets()), None):
            frames = (*self._frames("header"), *self._frames("footer"))
            yield from (one_line(each) for each in frames if any(map(str.isalpha, each[7:].replace("Page", ""))))

    def slides(self) -> list[Element]:
        """Return the slides of a presentation, or the pages of a drawing."""
        body = self._body()
        return [] if body is None else [each for each in body if local(each) == "page"]

    def slide_text(self, page: Element) -> str:
        """Return the text of a slide's shapes from top to bottom, then the speaker's notes."""
        self._blocks = Blocks()
        notes = [child for child in page if local(child) == "notes"]
        for shape in _from_top([child for child in page if local(child) != "notes"]):
            if attribute(shape, "class") in ("title",):
                self._blocks.heading(1, " ".join(self._inline(each) for each in shape.iter() if local(each) == "p"))
            else:
                self._block(shape)
            self._blocks.gap()
        shown, self._blocks = self._blocks.text(), Blocks()
        for each in notes:
            for shape in each:
                if attribute(shape, "class") == "notes":
                    self._block(shape)
        words = self._blocks.text()
        others = (*self._beneath(page), *self._declared(page))
        return "\n\n".join(filter(None, (shown, *others, f"Notes: {words}" if words else "")))

    def _beneath(self, page: Element) -> Iterator[str]:
        """Yield the text that a slide master shows on every slide, with the first slide."""
        name = attribute(page, "master-page-name")
        if name in self._masters:
            return
        self._masters.add(name)
        masters = (each for each in self._master.iter() if local(each) == "master-page")
        for shape in (each for master in masters if attribute(master, "name") == name for each in master):
            if local(shape) in _DRAWN and not attribute(shape, "class"):
                words = one_line(" ".join("".join(each.itertext()) for each in shape.iter() if local(each) == "p"))
                yield f"Slide master: {words}" if words else ""

    def _declared(self, page: Element) -> Iterator[str]:
        """Yield the header and the footer of a slide, each text once in the presentation."""
        for kind in ("header", "footer"):
            name = attribute(page, f"use-{kind}-name")
            for each in self._body() or () if name else ():
                words = one_line("".join(each.itertext()))
                is_named = local(each) == f"{kind}-decl" and attribute(each, "name") == name
                if is_named and words and words not in self._footers:
                    self._footers.add(words)
                    yield f"{kind.capitalize()}: {words}"

    def _body(self) -> Element | None:
        body = next((each for each in self._root if local(each) == "body"), None)
        return None if body is None else next(iter(body), None)

    def _children(self, element: Element | None) -> None:
        for child in () if element is None else element:
            self._block(child)

    def _block(self, element: Element) -> None:
        match local(element):
            case "h":
                level = number(attribute(element, "outline-level")) or 1
                self._blocks.heading(level, self._inline(element))
                self._flush()
            case "p":
                self._paragraph(element)
            case "list":
                self._list(element)
            case "table":
                self._blocks.gap()
                comments: list[str] = []
                for row in self._rows(element, comments):
                    self._blocks.row(row.cells)
                self._blocks.gap()
                self._waiting += comments
                self._flush()
            case "frame" | "object" | "image":
                self._frame(element)
                self._flush()
            case "plugin" | "applet" | "object-ole" | "floating-frame":
                self._notes.add(NoteKind.OBJECT)
            case "control":
                self._blocks.paragraph(self._controls.get(attribute(element, "control"), ""))
            case "annotation":
                self._blocks.paragraph(self._comment(element))
            case "section" if attribute(element, "display") == "none":
                self._notes.add(NoteKind.HIDDEN, "hidden section")
            case name if name not in _NOT_SHOWN:
                self._children(element)

    def _paragraph(self, element: Element) -> None:
        if self._is_hidden(element):
            self._notes.add(NoteKind.HIDDEN, "hidden text")
            return
        words = self._inline(element)
        if self._lists and words.strip():
            self._blocks.item(len(self._lists) - 1, words, self._marker())
        else:
            self._blocks.paragraph(words)
        self._flush()

    def _list(self, element: Element) -> None:
        style = attribute(element, "style-name") or (self._lists[-1].style if self._lists else "")
        if not self._lists:
            self._blocks.gap()
        self._lists.append(_List(style))
        level = self._styles.lists.get(style, {}).get(len(self._lists), _Level())
        count = level.start - 1
        for item in element:
            if local(item) == "list-item":
                start = attribute(item, "start-value")
                count = number(start) if start else count + 1
                self._lists[-1].count = count
            elif local(item) != "list-header":
                continue
            self._children(item)
        self._lists.pop()
        if not self._lists:
            self._blocks.gap()

    def _marker(self) -> str:
        """Return the marker of the next paragraph in a list; only the first paragraph of an item has a number."""
        current = self._lists[-1]
        level = self._styles.lists.get(current.style, {}).get(len(self._lists), _Level())
        if not level.form or current.count is None:
            return "-"
        count, current.count = current.count, None
        return f"{level.prefix}{written(count, level.form)}{level.suffix}"

    def _inline(self, element: Element) -> str:
        pieces = [element.text or ""]
        for child in element:
            words = self._inline_piece(child)
            style = attribute(child, "style-name")
            if style in self._styles.raised:
                words = raised(words, next(filter(None, reversed(pieces)), ""))
            pieces += [Struck(words) if style in self._styles.struck else words, child.tail or ""]
        is_struck = local(element) in ("p", "h") and attribute(element, "style-name") in self._styles.struck
        return joined(map(Struck, pieces) if is_struck else pieces)

    def _inline_piece(self, child: Element) -> str:
        match local(child):
            case "s":
                return " " * min(number(attribute(child, "c")) or 1, 100)
            case "tab":
                return " "
            case "line-break":
                return "\n"
            case "a":
                return link(self._inline(child), attribute(child, "href"))
            case "span" if self._is_hidden(child):
                self._notes.add(NoteKind.HIDDEN, "hidden text")
                return ""
            case "note":
                return self._note(child)
            case "annotation":
                self._waiting.append(self._comment(child))
                return ""
            case "control":
                return f" {self._controls.get(attribute(child, 'control'), '')} "
            case "frame" if (equation := self._equation(child)) is not None:
                return linear(equation)
            case name if name in _DRAWN:
                outer, self._blocks = self._blocks, Blocks()
                lists, self._lists = self._lists, []
                self._frame(child)
                boxed, self._blocks, self._lists = self._blocks.text(), outer, lists
                self._waiting.append(boxed)
                return ""
            case name if name not in _NOT_SHOWN:
                return self._inline(child)
        return ""

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for words in waiting:
            self._blocks.paragraph(words)

    def _note(self, note: Element) -> str:
        mark = next((one_line("".join(each.itertext())) for each in note if local(each) == "note-citation"), "*")
        label = "endnote " if attribute(note, "note-class") == "endnote" else ""
        bodies = [each for each in note if local(each) == "note-body"]
        words = one_line(" ".join(self._inline(each) for body in bodies for each in body))
        self._waiting.append(f"[{label}{mark}] {words}")
        return f"[{label}{mark}]"

    def _comment(self, annotation: Element) -> str:
        author = next((one_line(each.text or "") for each in annotation if local(each) == "creator"), "")
        words = one_line(" ".join(self._inline(each) for each in annotation if local(each) in ("p", "list")))
        if not words:
            return ""
        return f"Comment ({author}): {words}" if author else f"Comment: {words}"

    def _frame(self, frame: Element) -> None:
        """Read a frame: a text box, an object or a picture, or alternatives of one."""
        before = self._blocks.text()
        words = one_line(" ".join("".join(each.itertext()) for each in frame if local(each) in ("title", "desc")))
        pictures = False
        for child in (frame, *frame) if local(frame) in ("object", "image") else frame:
            match local(child):
                case "image":
                    pictures = True
                case "object":
                    self._object(child)
                case name if name not in ("title", "desc") and child is not frame:
                    self._block(child)
        if words:
            self._blocks.paragraph(f"[Picture: {words}]")
        elif pictures and self._blocks.text() == before:
            self._notes.add(NoteKind.PICTURE)

    def _equation(self, frame: Element) -> Element | None:
        """Return the equation that a frame in a line holds; None if it holds something else."""
        held = next((each for each in frame if local(each) == "object"), None)
        roots = () if held is None else self._roots(held)
        return next((each for root in roots for each in root.iter() if local(each) == "math"), None)

    def _roots(self, element: Element) -> list[Element]:
        """Return the roots of an embedded object, inline or in its own part."""
        roots = [each for each in element if local(each) in ("document", "math")]
        name = attribute(element, "href").removeprefix("./").rstrip("/")
        if not roots and self._package is not None and f"{name}/content.xml" in self._package.names:
            roots = [self._package.root(f"{name}/content.xml")]
        return roots

    def _object(self, element: Element) -> None:
        """Read an equation or a chart."""
        name = attribute(element, "href").removeprefix("./").rstrip("/")
        for root in self._roots(element):
            math = next((each for each in root.iter() if local(each) == "math"), None)
            if math is not None:
                self._blocks.paragraph(linear(math))
            elif any(local(each) == "chart" for each in root.iter()):
                self._blocks.paragraph("\n".join(self._chart(root)))
            else:
                self._notes.add(NoteKind.OBJECT, name)

    def _chart(self, root: Element) -> Iterator[str]:
        titles = [each for each in root.iter() if local(each) in ("title", "subtitle")]
        words = [one_line(" ".join(each.itertext())) for each in titles]
        yield f"Chart: {', '.join(filter(None, words))}" if any(words) else "Chart"
        for table in (each for each in root.iter() if local(each) == "table"):
            yield from table_lines(self._rows(table, []))

    def _rows(self, table: Element, comments: list[str]) -> Iterator[TableRow]:
        going_down: dict[int, tuple[int, str]] = {}
        for row in _nested(table, "table-row"):
            repeated = number(attribute(row, "number-rows-repeated")) or 1
            cells: list[str] = []
            spans: dict[int, int] = {}
            for cell in row:
                if local(cell) not in ("table-cell", "covered-table-cell"):
                    continue
                text = self._cell(cell, comments) or self._uncalculated(cell)
                times = number(attribute(cell, "number-columns-repeated")) or 1
                if text and times > _MOST_REPEATED_COLUMNS:
                    self._leave_out("columns", times - _MOST_REPEATED_COLUMNS)
                for _ in range(min(times, _MOST_REPEATED_COLUMNS)):
                    at = len(cells)
                    down = going_down.get(at)
                    if down is not None and local(cell) == "covered-table-cell":
                        text_here = down[1]
                        going_down[at] = (down[0] - 1, down[1])
                        if down[0] <= 1:
                            del going_down[at]
                    else:
                        text_here = text
                    cells.append(text_here)
                if (rows := number(attribute(cell, "number-rows-spanned"))) > 1:
                    going_down[len(cells) - 1] = (rows - 1, text)
                if (columns := number(attribute(cell, "number-columns-spanned"))) > 1:
                    spans[len(cells) - 1] = columns
            while cells and not cells[-1]:
                cells.pop()
            if cells and repeated > _MOST_REPEATED_ROWS:
                self._leave_out("rows", repeated - _MOST_REPEATED_ROWS)
            for _ in range(min(repeated, _MOST_REPEATED_ROWS if cells else 1)):
                yield TableRow(cells, spans=spans)

    def _leave_out(self, what: str, count: int) -> None:
        self._notes.add(NoteKind.TOO_MUCH, f"repeated {what} of a table", count=count)

    def _cell(self, cell: Element, comments: list[str]) -> str:
        pieces = []
        for child in cell:
            match local(child):
                case "p" | "h":
                    pieces.append(self._inline(child))
                case "annotation":
                    comments.append(self._comment(child))
                case "list" | "table" | "frame":
                    outer, self._blocks = self._blocks, Blocks()
                    lists, self._lists = self._lists, []
                    self._block(child)
                    # Charts and pictures lie above cells, wherever they are anchored.
                    (comments if local(child) == "frame" else pieces).append(self._blocks.text())
                    self._blocks, self._lists = outer, lists
        if not pieces and (value := attribute(cell, "string-value") or attribute(cell, "value")):
            return value
        return " ".join(pieces)

    def _uncalculated(self, cell: Element) -> str:
        """Return the formula of a cell without a stored result; an empty text is one."""
        formula = attribute(cell, "formula").removeprefix("of:")
        if not formula or attribute(cell, "value-type") == "string" or any(attribute(cell, one) for one in _RESULTS):
            return ""
        self._notes.add(NoteKind.UNCALCULATED)
        return one_line(formula)

    def _frames(self, kind: str) -> Iterator[str]:
        """Yield the headers or footers without repetitions."""
        seen = set()
        for each in self._master.iter():
            if local(each) in (kind, f"{kind}-left", f"{kind}-first") and attribute(each, "display") != "false":
                outer, self._blocks = self._blocks, Blocks()
                self._children(each)
                words, self._blocks = self._blocks.text(), outer
                if any(char.isalpha() for char in words) and words not in seen:
                    seen.add(words)
                    yield f"{kind.capitalize()}: {words}"

    def _is_hidden(self, element: Element) -> bool:
        return attribute(element, "style-name") in self._styles.hidden


_FIELDS = frozenset(
    {"text", "textarea", "formatted-text", "number", "date", "time", "listbox", "combobox", "fixed-text", "value-range"}
)
_BOXES = frozenset({"checkbox", "radio"})


def _form_controls(root: Element) -> Iterator[tuple[str, str]]:
    """Yield the ids of the controls of forms, and what each shows."""
    for form in (each for each in root.iter() if local(each) == "forms"):
        for control in form.iter():
            label, kind = one_line(attribute(control, "label")), local(control)
            if kind in _BOXES:
                state = attribute(control, "current-state") or attribute(control, "state")
                is_chosen = state == "checked" or attribute(control, "current-selected") == "true"
                yield attribute(control, "id"), f"[x] {label}" if is_chosen else label
            elif kind in _FIELDS:
                chosen = [one for one in control if attribute(one, "current-selected") == "true"]
                values = [attribute(one, "label") or attribute(one, "value") for one in chosen]
                value = attribute(control, "current-value") or attribute(control, "value") or ", ".join(values)
                yield attribute(control, "id"), one_line(value) or label


def _nested(table: Element, name: str) -> Iterator[Element]:
    for child in table:
        match local(child):
            case found if found == name:
                yield child
            case "table-header-rows" | "table-rows" | "table-row-group":
                yield from _nested(child, name)


def _read_styles(roots: Sequence[Element]) -> _Styles:
    lists: dict[str, dict[int, _Level]] = {}
    hidden: set[str] = set()
    superscripts: set[str] = set()
    struck: set[str] = set()
    for root in roots:
        for element in root.iter():
            match local(element):
                case "list-style":
                    lists[attribute(element, "name")] = dict(_levels(element))
                case "style":
                    for each in element:
                        if local(each) == "text-properties" and attribute(each, "display") == "none":
                            hidden.add(attribute(element, "name"))
                        if _RAISED.match(attribute(each, "text-position")):
                            superscripts.add(attribute(element, "name"))
                        if attribute(each, "text-line-through-style") not in ("", "none"):
                            struck.add(attribute(element, "name"))
    return _Styles(lists, frozenset(hidden), frozenset(superscripts), frozenset(struck))


def _levels(style: Element) -> Iterator[tuple[int, _Level]]:
    for each in style:
        if local(each) == "list-level-style-number":
            form = attribute(each, "num-format")
            suffix = attribute(each, "num-suffix")
            start = number(attribute(each, "start-value")) or 1
            yield number(attribute(each, "level")), _Level(form, attribute(each, "num-prefix"), suffix, start)


def _from_top(shapes: Sequence[Element]) -> list[Element]:
    """Sort shapes into rows, each from left to right, with the title first."""
    keyed = []
    for at, shape in enumerate(shapes):
        title = attribute(shape, "class") == "title"
        keyed.append(
            (not title, _points(attribute(shape, "y")) // _ROW_POINTS, _points(attribute(shape, "x")), at, shape)
        )
    return [each[4] for each in sorted(keyed, key=lambda each: each[:4])]


def _points(length: str) -> float:
    match = _LENGTH.fullmatch(length.strip())
    return float(match[1]) * _POINTS.get(match[2] or "pt", 1.0) if match else 0.0
