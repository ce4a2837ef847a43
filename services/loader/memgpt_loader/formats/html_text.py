"""The readable text of HTML, extracted with selectolax: no scripts, forms or navigation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from html import escape
from xml.etree.ElementTree import Element

from selectolax.lexbor import LexborHTMLParser, LexborNode

from memgpt_loader.formats.equations import linear
from memgpt_loader.formats.office.numbering import written
from memgpt_loader.markup import Blocks, Struck, joined, link, raised
from memgpt_loader.notes import NoteKind, Notes

_NOT_READ = frozenset(
    {"script", "style", "template", "head", "rt", "rp", "rtc"}
    | {"nav", "button", "select", "input", "textarea", "dialog"}
)
_FOR_SCREEN_READERS = re.compile(
    r"sr-?only|screen-?reader|visually-?hidden|off-?screen|assistive|mathml|a11y", re.IGNORECASE
)
"""Classes of text in place of what is hidden from screen readers."""
_NOT_TEXT = re.compile(
    r"(?<![a-z])(?:(?:glyph)?icons?|material-symbols|modal|off-?canvas|tooltip|popover)(?![a-z])", re.IGNORECASE
)
"""Classes of aria-hidden elements that show no text: icons, and closed dialogs."""
_EMBEDDED = frozenset({"iframe", "object", "embed", "audio", "video"})
_UNSEEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_WRITTEN_IN = frozenset(
    {"", "text", "email", "number", "tel", "url", "date", "datetime-local", "month", "week", "time"}
)
"""Types of inputs with a value for readers: no passwords, search terms or labels of buttons."""
_DRAWN = ("math", "svg")
_STRUCK = ("s", "del", "strike")
_LINE_THROUGH = re.compile(r"text-decoration(?:-line)?\s*:[^;]*line-through", re.IGNORECASE)
_SCRIPTS_WANTED = re.compile(r"java\s?script|enable scripts|your browser", re.IGNORECASE)
_MOST_NOTICE_CHARS = 300
_MOST_SPAN = 1000
_MOST_TABLES = 20
"""A table inside of so many others counts as a layout table without a look at its content."""
_MOST_MATH_DEPTH = 60
_MOST_SIBLINGS = 4
"""Elements and texts on each side of what is hidden from screen readers that may be in its place."""
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "center", "dd", "details", "div", "dl", "dt", "fieldset"}
    | {"figcaption", "figure", "footer", "form", "header", "hr", "html", "legend", "main", "ol", "p", "section"}
    | {"summary", "table", "tbody", "tfoot", "thead", "tr", "td", "th", "ul", "li", "pre", "caption", *_HEADINGS}
)
# A table that contains one of these is a layout table; its cells are read like ordinary blocks.
_LAYOUT = "table, ul, ol, h1, h2, h3, h4, h5, h6, p + p, div + div, pre"
_SPACES = re.compile(r"\s+")


def to_text(html: str, *, title: bool = True, notes: Notes | None = None) -> str:
    """Return the readable text of an HTML document or fragment.

    Args:
        html: The document.
        title: Whether to start the text with the title, unless the first heading repeats it.
        notes: Receives notes on pictures without alternative text, and on embedded pages, sounds and videos.
    """
    if _XHTML.search(html[:_HEAD_CHARS]):
        html = _CLOSED.sub(_opened, _without_cdata(html))
    document = LexborHTMLParser(_SHADOW.sub("<shadow-root", html))
    reader = _read(document)
    if not reader.blocks.text():  # a script shows what hides while the page loads
        reader = _read(document, unseen=True)
    if notes is not None and reader.pictures:
        notes.add(NoteKind.PICTURE, count=reader.pictures)
    if notes is not None and (embedded := reader.embedded + len(document.css("frame"))):
        notes.add(NoteKind.OBJECT, count=embedded)
    read = reader.blocks.text()
    if not read:
        read = _without_frames(document)
    name = document.css_first("head > title")
    words = " ".join(name.text(deep=True).split()) if title and name is not None else ""
    heading = read.partition("\n")[0].lstrip("# ")
    return f"# {words}\n\n{read}".strip() if words and words != heading else read


def _read(document: LexborHTMLParser, *, unseen: bool = False) -> _Reader:
    reader = _Reader(_navigation(document), unseen=unseen)
    if document.body is not None:
        reader.read(document.body)
    return reader


def drawing_labels(svg: str) -> list[str]:
    """Return the title, description and labels of an SVG drawing in order, without repetitions."""
    document = LexborHTMLParser(re.sub(r"<(/?)(?:svg|s):", r"<\1", svg))
    return _labels(document.body) if document.body is not None else []


def _labels(drawing: LexborNode, kinds: str = "title, desc, text, foreignObject") -> list[str]:
    labels = (" ".join(_label(each).split()) for each in drawing.css(kinds))
    return [label for label in dict.fromkeys(labels) if label]


def _label(element: LexborNode) -> str:
    """Return the text of a label, with a space before each line: a part with a position of its own."""
    if element.tag != "text":
        return element.text(deep=True)
    pieces: list[str] = []
    for each in element.traverse(include_text=True):
        if each.tag == "-text":
            pieces.append(each.text_content or "")
        elif each.tag == "tspan" and "x" in each.attributes and (each.attributes.keys() & {"y", "dy"}):
            pieces.append(" ")
    return "".join(pieces)


_HEAD_CHARS = 2000
_SHADOW = re.compile(r"<template(?=\s[^<>]{0,200}\bshadowrootmode\b)", re.IGNORECASE)
"""Begins the visible content of an element, unlike other templates."""
_XHTML = re.compile(r"<\?xml|xmlns\s*=\s*[\"']http://www\.w3\.org/1999/xhtml", re.IGNORECASE)
_CLOSED = re.compile(r"<([A-Za-z][\w:.-]*)((?:\s[^<>]*)?)/>")
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())  # noqa: SIM905


def _without_cdata(xhtml: str) -> str:
    """Replace CDATA sections, which an HTML parser takes for comments, by escaped text."""
    first, *pieces = xhtml.split("<![CDATA[")
    found = [first]
    for piece in pieces:
        words, end, rest = piece.partition("]]>")
        found.append(f"{escape(words)}{rest}" if end else piece)
    return "".join(found)


def _opened(match: re.Match[str]) -> str:
    """Rewrite an element that is self-closed in XHTML; an HTML parser would leave it open to the end of the file."""
    name, attributes = match.groups()
    return match.group() if name.lower() in _VOID else f"<{name}{attributes}></{name}>"


def _without_frames(document: LexborHTMLParser) -> str:
    """Return the text of a frameset page for browsers without frames."""
    texts = (each.text(deep=True) for each in document.css("noframes"))
    return "\n\n".join(filter(None, (to_text(each, title=False) for each in texts if each.strip())))


def _navigation(document: LexborHTMLParser) -> frozenset[int]:
    """Return the ids of the headers, footers and sidebars beside the main content that are mostly links."""
    mains = document.css("main, [role=main]")
    found = []
    waiting = [None if len(mains) != 1 or document.body is None else document.body.child]
    while waiting:
        node = waiting.pop()
        if node is None:
            continue
        waiting.append(node.next)
        if node.tag in _FRAMES:
            found += [node.mem_id] if _is_mostly_links(node) else []
        elif node.mem_id != mains[0].mem_id:
            waiting.append(node.child)
    return frozenset(found)


def _is_mostly_links(root: LexborNode) -> bool:
    size = linked = 0
    waiting = [(root.child, False)]
    while waiting:
        node, in_link = waiting.pop()
        if node is None:
            continue
        waiting.append((node.next, in_link))
        if node.tag == "-text":
            characters = len("".join((node.text_content or "").split()))
            size += characters
            linked += characters if in_link else 0
        elif node.tag not in _NOT_READ:
            waiting.append((node.child, in_link or node.tag == "a"))
    return linked * 2 > size


_FRAMES = frozenset({"header", "footer", "aside"})


class _Table(Enum):
    DATA = auto()
    """A data table; each row becomes a line."""
    LAYOUT = auto()
    """A layout table; its cells are read like ordinary blocks."""
    NESTED = auto()
    """A table inside a cell of a data table."""


class _Reader:
    """Walks a document without recursion, because the nesting depth of the input is unbounded."""

    def __init__(self, left_out: frozenset[int], *, unseen: bool) -> None:
        """Begin to read.

        Args:
            left_out: Ids of headers, footers and sidebars to leave out.
            unseen: Whether to read what styles hide.
        """
        self._left_out = left_out
        self._unseen = unseen
        self.blocks = Blocks()
        self.pictures = 0
        """Number of pictures without alternative text."""
        self.embedded = 0
        """Number of embedded pages, sounds, videos and other objects."""
        self._words: list[str] = []
        self._superscripts: list[int] = []
        """Open superscripts of the current text: where each begins."""
        self._struck: list[int] = []
        """Ids of the open elements that strike text through."""
        self._links: list[tuple[int, str]] = []
        """Open links: where their text begins, and their targets."""
        self._tables: list[_Table] = []
        self._row: list[str] | None = None
        """Cells of the current row of a data table."""
        self._going_down: dict[int, tuple[int, str]] = {}
        """By column: how many more rows a cell from above spans, and its text."""
        self._spans = (1, 1)
        """Row and column spans of the current cell."""
        self._lists: list[_List] = []
        self._verbatim = 0

    def read(self, root: LexborNode) -> None:
        node: LexborNode | None = root
        last = root.mem_id  # comparing nodes compares their whole content
        while node is not None:
            if self._enter(node):
                if (child := node.child) is not None:
                    node = child
                    continue
                self._leave(node)
            while node is not None and (node.mem_id == last or node.next is None):
                node = None if node.mem_id == last else node.parent
                if node is not None:
                    self._leave(node)
            node = None if node is None else node.next
        self._flush()

    def _enter(self, node: LexborNode) -> bool:
        """Begin a node. Returns whether its content should be read."""
        tag = node.tag or ""
        if tag == "-text":
            words = node.text_content or ""
            words = words if self._verbatim else _SPACES.sub(" ", words)
            self._words.append(Struck(words) if self._struck else words)
            return False
        if not tag[:1].isalpha():  # comments and other non-elements
            return False
        attributes = node.attributes
        hidden = "hidden" in attributes and attributes["hidden"] != "until-found"
        if hidden or (attributes.get("aria-hidden") == "true" and not _is_shown(node)):
            return False
        if tag in _FRAMES and node.mem_id in self._left_out:
            return False
        if not self._unseen and _UNSEEN.search(attributes.get("style") or ""):
            return False
        if tag in _EMBEDDED:
            self._embed(tag, attributes)
            return False
        if tag in _NOT_READ and not (tag == "dialog" and "open" in attributes) and not _is_question(tag, node):
            self._words.append(_typed(tag, node))
            return False
        if tag in _DRAWN:
            self._draw(tag, node)
            return False
        if tag == "noscript" and not self._is_for_readers(node):
            return False
        if not self._begin(tag, node, attributes):
            return False
        if tag in _STRUCK or _LINE_THROUGH.search(attributes.get("style") or ""):
            self._struck.append(node.mem_id)
        return True

    def _begin(self, tag: str, node: LexborNode, attributes: Mapping[str, str | None]) -> bool:
        """Begin an element that is read. Returns whether its content should be read, too."""
        match tag:
            case "sup":
                self._superscripts.append(len(self._words))
            case "br":
                self._words.append("\n" if self._row is None else " ")
            case "q":
                self._words.append("“")
            case "canvas":
                self.embedded += not _is_spacer(attributes)
            case "area":
                self._words.append(f" {_linked_area(attributes)} ")
            case "img":
                self._words.append(f" {attributes.get('alt') or ''} ")
                self.pictures += _is_unexplained(attributes)
            case "a" if _is_note_mark(node):
                self._words.append(f"[{node.text(deep=True).strip()}]")
                return False
            case "a":
                self._links.append((len(self._words), attributes.get("href") or ""))
            case _ if tag in _BLOCKS:
                self._boundary()
                self._open(tag, node)
        return True

    def _embed(self, tag: str, attributes: Mapping[str, str | None]) -> None:
        page = attributes.get("srcdoc") if tag == "iframe" else None
        if page and "<iframe" not in page:
            within = Notes()
            self._words.append(f" {to_text(page, title=False, notes=within)} ")
            for note in within:
                self.pictures += note.count * (note.kind is NoteKind.PICTURE)
                self.embedded += note.count * (note.kind is NoteKind.OBJECT)
        elif not _is_spacer(attributes):
            self.embedded += 1

    def _draw(self, tag: str, node: LexborNode) -> None:
        if tag == "math":
            self._words.append(linear(_element(node, 0)))
            return
        # The title of a drawing that is hidden from screen readers is no visible text.
        labels = _labels(node, "text, foreignObject") if "aria-hidden" in node.attributes else _labels(node)
        if words := ", ".join(labels):
            self._words.append(f" {words} ")
        elif node.css_first("image") is not None and not node.attributes.get("aria-label"):
            self.pictures += 1

    @staticmethod
    def _is_for_readers(node: LexborNode) -> bool:
        """Whether it contains more than a notice that scripts are required."""
        words = node.text(deep=True)
        return len(words) > _MOST_NOTICE_CHARS or not _SCRIPTS_WANTED.search(words)

    def _open(self, tag: str, node: LexborNode) -> None:
        match tag:
            case "table" if self._row is not None:
                self._tables.append(_Table.NESTED)
            case "table":
                nested = len(self._tables) >= _MOST_TABLES or _is_layout(node)
                self._tables.append(_Table.LAYOUT if nested else _Table.DATA)
                self._going_down = {}
                self.blocks.gap()
            case "tr" if self._in_data:
                self._row = []
            case "td" | "th" if self._row is not None and self._in_data:
                self._fill()
                self._spans = _span(node, "rowspan"), _span(node, "colspan")
            case "ul" | "ol":
                if not self._lists:
                    self.blocks.gap()
                self._lists.append(_List.of(node))
            case "li" if self._lists:
                self._lists[-1].begin_item(node.attributes.get("value"))
            case "pre":
                self._verbatim += 1

    def _leave(self, node: LexborNode) -> None:
        if self._struck[-1:] == [node.mem_id]:
            self._struck.pop()
        match tag := node.tag or "":
            case "q":
                self._words.append("”")
            case "sup" if self._superscripts:
                self._raise(self._superscripts.pop())
            case "a" if self._links:
                begin, target = self._links.pop()
                self._words[begin:] = _linked(joined(self._words[begin:]), target)
            case "td" | "th" if self._row is not None and self._in_data:
                self._cell(self._take())
            case "tr" if self._row is not None and self._in_data:
                self._fill()
                row, self._row = self._row, None
                self.blocks.row(row)
            case "table" if self._tables:
                self._boundary()
                if self._tables.pop() is not _Table.NESTED:
                    self.blocks.gap()
            case "ul" | "ol":
                self._boundary()
                if self._lists:
                    self._lists.pop()
                if not self._lists:
                    self.blocks.gap()
            case "pre":
                if self._row is None:
                    self.blocks.verbatim(self._take())
                self._verbatim -= 1
            case _ if tag in _HEADINGS and self._row is None:
                self.blocks.heading(_HEADINGS[tag], self._take())
            case _ if tag in _BLOCKS:
                self._boundary()

    def _raise(self, begin: int) -> None:
        """Mark a superscript, so that a² is not read as a2."""
        before = next((word for word in reversed(self._words[:begin]) if word), "")
        words = raised("".join(self._words[begin:]), before)
        self._words[begin:] = [Struck(words) if self._struck else words]

    def _cell(self, words: str) -> None:
        """Add a cell; one that spans several rows is repeated in each of them."""
        assert self._row is not None  # noqa: S101 - called within a row
        rows, columns = self._spans
        if rows > 1:
            self._going_down[len(self._row)] = (rows - 1, words)
        self._row += [words, *[""] * (columns - 1)]
        self._spans = (1, 1)

    def _fill(self) -> None:
        """Add the cells that span down from the rows above."""
        assert self._row is not None  # noqa: S101 - called within a row
        while (cell := self._going_down.get(len(self._row))) is not None:
            rows, words = cell
            if rows > 1:
                self._going_down[len(self._row)] = (rows - 1, words)
            else:
                del self._going_down[len(self._row)]
            self._row.append(words)

    @property
    def _in_data(self) -> bool:
        return bool(self._tables) and self._tables[-1] is _Table.DATA

    def _boundary(self) -> None:
        if self._row is not None:
            self._words.append(" ")
        elif not self._verbatim:
            self._flush()

    def _flush(self) -> None:
        words = self._take()
        if self._lists:
            self.blocks.item(len(self._lists) - 1, words, self._lists[-1].marker() if words.strip() else "")
        else:
            self.blocks.paragraph(words)

    def _take(self) -> str:
        """Return the text so far; an open link continues after it."""
        if self._links:
            begin, target = self._links[-1]
            self._words[begin:] = _linked(joined(self._words[begin:]), target)
            self._links = [(0, target) for _, target in self._links]
        words, self._words = joined(self._words), []
        self._superscripts.clear()
        return words


class _List:
    """The markers of a list."""

    def __init__(self, next_number: int | None, step: int = 1, form: str = "1") -> None:
        """Begin a list.

        Args:
            next_number: Number of the first item; None for bullets.
            step: Difference between the numbers of two items.
            form: How numbers are written, as the attribute `type` says it: "1", "a", "A", "i" or "I".
        """
        self._next = next_number
        self._form = form
        self._step = step
        self._marker = "-"

    @classmethod
    def of(cls, node: LexborNode) -> _List:
        if node.tag != "ol":
            return cls(None)
        step = -1 if "reversed" in node.attributes else 1
        first = _whole(node.attributes.get("start"))
        if first is None:
            first = 1 if step > 0 else sum(1 for each in node.iter() if each.tag == "li")
        return cls(first, step, (node.attributes.get("type") or "").strip() or "1")

    def begin_item(self, value: str | None) -> None:
        if self._next is None:
            return
        number = _whole(value)
        number = self._next if number is None else number
        self._next, self._marker = number + self._step, f"{written(number, self._form)}."

    def marker(self) -> str:
        """Return the marker of the next line; the further lines of a numbered item have none."""
        marker = self._marker
        if self._next is not None:
            self._marker = " "
        return marker


def _is_question(tag: str, node: LexborNode) -> bool:
    """Whether a button is the title of what it unfolds."""
    above = node.parent
    return tag == "button" and (
        "aria-expanded" in node.attributes
        or (above is not None and (above.tag in _HEADINGS or above.tag in ("dt", "legend")))
    )


def _is_shown(node: LexborNode) -> bool:
    """Return whether an aria-hidden element shows text that no element beside it repeats for screen readers."""
    attributes = node.attributes
    if attributes.get("role") == "dialog" or _NOT_TEXT.search(attributes.get("class") or ""):
        return False
    inner = node.child
    while inner is not None and inner.tag in ("-text", "-comment") and not (inner.text_content or "").strip():
        inner = inner.next
    if inner is not None and inner.tag == "-text" and not any(map(str.isalnum, inner.text_content or "")):
        return False  # the sign of a link to a heading, an arrow, a cross
    return not any(_is_in_place(each) for each in _siblings(node))


def _siblings(node: LexborNode) -> Iterator[LexborNode]:
    """Yield the elements beside an element, up to a number on each side."""
    for step in ("prev", "next"):
        each = getattr(node, step)
        for _ in range(_MOST_SIBLINGS):
            if each is None:
                break
            yield each
            each = getattr(each, step)


def _is_in_place(sibling: LexborNode) -> bool:
    tag = sibling.tag or ""
    return tag == "math" or (tag[:1].isalpha() and bool(_FOR_SCREEN_READERS.search(_class(sibling))))


def _class(node: LexborNode) -> str:
    return f"{node.attributes.get('class') or ''} {node.tag}"


def _is_note_mark(link: LexborNode) -> bool:
    """Whether a link is the mark of a note, which would otherwise be read as part of a number or word."""
    attributes = link.attributes
    kinds = f"{attributes.get('epub:type') or ''} {attributes.get('role') or ''}".split()
    marked = "noteref" in kinds or "doc-noteref" in kinds
    return marked and len(link.text(deep=True).strip()) in range(1, 5)


_WHOLE = re.compile(r"\s*([+-]?\d{1,9})", re.ASCII)


def _whole(text: str | None) -> int | None:
    match = _WHOLE.match(text or "")
    return int(match[1]) if match else None


def _typed(tag: str, node: LexborNode) -> str:
    """Return what was entered in a field of a form."""
    if tag == "textarea":
        return f" {node.text(deep=True)} "
    if tag == "select":
        return f" {', '.join(_chosen(node))} "
    if tag != "input":
        return ""
    attributes = node.attributes
    kind = (attributes.get("type") or "").lower()
    if kind == "image":
        return f" {attributes.get('alt') or ''} "
    if kind in ("checkbox", "radio"):
        return " [x] " if "checked" in attributes else ""
    return f" {attributes.get('value') or ''} " if kind in _WRITTEN_IN else ""


def _chosen(select: LexborNode) -> list[str]:
    """Return the options that a list shows as chosen: without a choice, a drop-down list shows its first one."""
    chosen = select.css("option[selected]")
    attributes = select.attributes
    if not chosen and "multiple" not in attributes and (_whole(attributes.get("size")) or 1) == 1:
        chosen = select.css("option:not([disabled])")[:1]
    return [one.text(deep=True).strip() for one in chosen]


def _linked_area(attributes: Mapping[str, str | None]) -> str:
    """Return what a region of an image map is called."""
    words = attributes.get("alt") or attributes.get("aria-label") or attributes.get("title") or ""
    return link(words, attributes.get("href") or "")


def _is_unexplained(picture: Mapping[str, str | None]) -> bool:
    """Whether a picture lacks alternative text. Spacers do not count, nor pictures attached to the same message."""
    if "alt" in picture or _is_spacer(picture) or picture.get("role") == "presentation":
        return False
    if picture.get("aria-hidden") == "true":
        return False
    return not str(picture.get("src") or "cid:").lower().startswith("cid:")


def _is_spacer(attributes: Mapping[str, str | None]) -> bool:
    sizes = (str(attributes.get(side) or "").strip().removesuffix("px") for side in ("width", "height"))
    return any(size in _SPACER_SIZES for size in sizes)


_SPACER_SIZES = ("0", "1", "2")


def _linked(words: str, target: str) -> list[str]:
    """Return a link, with the white space around its text moved outside."""
    before = " " if words[:1].isspace() else ""
    after = " " if words[-1:].isspace() else ""
    return [before, link(words, target) if words.strip() else "", after]


def _is_layout(table: LexborNode) -> bool:
    return table.css_first("th, caption") is None and any(each.mem_id != table.mem_id for each in table.css(_LAYOUT))


def _span(cell: LexborNode, name: str) -> int:
    value = (cell.attributes.get(name) or "").strip()
    if value == "0" and name == "rowspan":  # to the end of the table
        return _MOST_SPAN
    return min(max(int(value), 1), _MOST_SPAN) if value.isascii() and value.isdigit() and len(value) < 6 else 1


def _element(node: LexborNode, depth: int) -> Element:
    """Convert a MathML node to an element."""
    element = Element(node.tag or "")
    child = node.child if depth < _MOST_MATH_DEPTH else None
    while child is not None:
        if child.tag == "-text":
            element.text = (element.text or "") + (child.text_content or "")
        elif child.tag and child.tag[0].isalpha():
            element.append(_element(child, depth + 1))
        child = child.next
    return element
