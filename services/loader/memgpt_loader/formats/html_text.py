"""The readable text of HTML, by selectolax: what a reader sees, without scripts, forms and navigation."""

from __future__ import annotations

import re
from enum import Enum, auto

from selectolax.lexbor import LexborHTMLParser, LexborNode

from memgpt_loader.markup import Blocks, link

_NOT_READ = frozenset(
    {"script", "style", "noscript", "template", "svg", "canvas", "iframe", "object", "embed", "audio", "video", "head"}
    | {"nav", "button", "select", "input", "textarea", "dialog", "math"}
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "center", "dd", "details", "div", "dl", "dt", "fieldset"}
    | {"figcaption", "figure", "footer", "form", "header", "hr", "html", "legend", "main", "ol", "p", "section"}
    | {"summary", "table", "tbody", "tfoot", "thead", "tr", "td", "th", "ul", "li", "pre", "caption", *_HEADINGS}
)
# A table with one of these in it lays a page out; its cells are read like any other block.
_LAYOUT = "table, ul, ol, h1, h2, h3, h4, h5, h6, p + p, div + div, pre"
_SPACES = re.compile(r"\s+")


def to_text(html: str, *, title: bool = True) -> str:
    """The readable text of an HTML document or fragment.

    Args:
        html: The document.
        title: Whether its title heads the text, where it is not its first heading anyway.
    """
    document = LexborHTMLParser(html)
    reader = _Reader()
    body = _content(document)
    if body is not None:
        reader.read(body)
    read = reader.blocks.text()
    name = document.css_first("head > title")
    words = " ".join(name.text(deep=True).split()) if title and name is not None else ""
    heading = read.partition("\n")[0].lstrip("# ")
    return f"# {words}\n\n{read}".strip() if words and words != heading else read


def _content(document: LexborHTMLParser) -> LexborNode | None:
    """The part of a page that is about something: its only `main`, if it has one with text in it; else all of it."""
    mains = document.css("main, [role=main]")
    if len(mains) == 1 and len(mains[0].text(deep=True).split()) > 20:
        return mains[0]
    return document.body


class _Table(Enum):
    DATA = auto()
    """Its rows are lines."""
    LAYOUT = auto()
    """It lays the page out; its cells are read like any other block."""
    NESTED = auto()
    """It is within a cell of a table of data."""


class _Reader:
    """Walks over a document without recursion, since its depth is its author's choice."""

    def __init__(self) -> None:
        self.blocks = Blocks()
        self._words: list[str] = []
        self._links: list[tuple[int, str]] = []
        """Links that are open: where their words begin, and where they lead."""
        self._tables: list[_Table] = []
        self._row: list[str] | None = None
        """Cells of the row of a table of data that is being read."""
        self._lists = 0
        self._verbatim = 0

    def read(self, root: LexborNode) -> None:
        node: LexborNode | None = root
        last = root.mem_id  # nodes are compared by all that is in them
        while node is not None:
            if self._enter(node):
                if (child := node.child) is not None:
                    node = child
                    continue
                self._leave(node.tag or "")
            while node is not None and (node.mem_id == last or node.next is None):
                node = None if node.mem_id == last else node.parent
                if node is not None:
                    self._leave(node.tag or "")
            node = None if node is None else node.next
        self._flush()

    def _enter(self, node: LexborNode) -> bool:
        """Begins a node; returns whether there is anything in it to read."""
        tag = node.tag or ""
        if tag == "-text":
            words = node.text_content or ""
            self._words.append(words if self._verbatim else _SPACES.sub(" ", words))
            return False
        if not tag[:1].isalpha() or tag in _NOT_READ:  # comments and the like
            return False
        attributes = node.attributes
        if "hidden" in attributes or attributes.get("aria-hidden") == "true":
            return False
        match tag:
            case "br":
                self._words.append("\n" if self._row is None else " ")
            case "img":
                self._words.append(f" {attributes.get('alt') or ''} ")
            case "a":
                self._links.append((len(self._words), attributes.get("href") or ""))
            case _ if tag in _BLOCKS:
                self._boundary()
                self._open(tag, node)
        return True

    def _open(self, tag: str, node: LexborNode) -> None:
        match tag:
            case "table" if self._row is not None:
                self._tables.append(_Table.NESTED)
            case "table":
                self._tables.append(_Table.LAYOUT if _is_layout(node) else _Table.DATA)
                self.blocks.gap()
            case "tr" if self._in_data:
                self._row = []
            case "ul" | "ol":
                if not self._lists:
                    self.blocks.gap()
                self._lists += 1
            case "pre":
                self._verbatim += 1

    def _leave(self, tag: str) -> None:
        match tag:
            case "a" if self._links:
                begin, target = self._links.pop()
                self._words[begin:] = _linked("".join(self._words[begin:]), target)
            case "td" | "th" if self._row is not None and self._in_data:
                self._row.append(self._take())
            case "tr" if self._row is not None and self._in_data:
                row, self._row = self._row, None
                self.blocks.row(row)
            case "table" if self._tables:
                self._boundary()
                if self._tables.pop() is not _Table.NESTED:
                    self.blocks.gap()
            case "ul" | "ol":
                self._boundary()
                self._lists -= 1
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
            self.blocks.item(self._lists - 1, words)
        else:
            self.blocks.paragraph(words)

    def _take(self) -> str:
        """The words so far; a link that is open goes on behind them."""
        if self._links:
            begin, target = self._links[-1]
            self._words[begin:] = _linked("".join(self._words[begin:]), target)
            self._links = [(0, target) for _, target in self._links]
        words, self._words = "".join(self._words), []
        return words


def _linked(words: str, target: str) -> list[str]:
    """A link, with the space around its words outside of it."""
    before = " " if words[:1].isspace() else ""
    after = " " if words[-1:].isspace() else ""
    return [before, link(words, target) if words.strip() else "", after]


def _is_layout(table: LexborNode) -> bool:
    return table.css_first("th, caption") is None and any(each.mem_id != table.mem_id for each in table.css(_LAYOUT))
