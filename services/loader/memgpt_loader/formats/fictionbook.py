"""FictionBook (FB2) books: the title page and each chapter is a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from memgpt_loader.formats.inspected_file import InspectedFile, after_prolog
from memgpt_loader.formats.office.packages import attribute, local, parse_tree
from memgpt_loader.formats.spec import MARKDOWN, File, FileLimits, Format, PageText, Parsed, broken, too_many_pages
from memgpt_loader.markup import Blocks, Struck, joined, link, one_line, raised
from memgpt_loader.notes import NoteKind, Notes

FB2 = "application/x-fictionbook+xml"

_WHAT = "the book"
_START = re.compile(rb"<(?:\w+:)?FictionBook[\s>]")
_LINES = ("p", "v", "subtitle", "text-author", "date")
_PEOPLE = ("first-name", "middle-name", "last-name", "nickname")


def _parse(file: File, limits: FileLimits) -> Parsed:
    notes = Notes()
    with file.open() as stream:
        root = parse_tree(stream, _WHAT)
    chapters = [part for body in root if local(body) == "body" for part in _chapters(body)]
    if not chapters:
        raise broken(_WHAT)
    if len(chapters) + 1 > limits.max_pages:
        raise too_many_pages(len(chapters) + 1, "chapters", limits)
    return Parsed(len(chapters) + 1, _pages(root, chapters, notes), notes)


def _pages(root: Element, chapters: list[list[Element]], notes: Notes) -> Iterator[PageText]:
    yield PageText(1, _title_page(root, notes))
    for number, chapter in enumerate(chapters, start=2):
        reader = _ChapterReader(notes, number)
        for element in chapter:
            reader.add(element, 1)
        yield PageText(number, reader.blocks.text())


def _chapters(body: Element) -> list[list[Element]]:
    """Return the chapters of a body, each as elements; a body of notes is one chapter."""
    if attribute(body, "name"):
        return [[body]]
    before = [each for each in body if local(each) != "section"]
    chapters = [[each] for each in body if local(each) == "section"]
    return [before, *chapters] if before else chapters


def _title_page(root: Element, notes: Notes) -> str:
    blocks = Blocks()
    info = next((each for each in root.iter() if local(each) == "title-info"), None)
    for each in info if info is not None else ():
        match local(each):
            case "book-title":
                blocks.heading(1, _words(each))
            case "author" | "translator":
                names = [one_line(part.text or "") for part in each if local(part) in _PEOPLE]
                blocks.paragraph(f"{local(each).capitalize()}: {' '.join(filter(None, names))}")
            case "annotation":
                for line in each.iter():
                    if local(line) in _LINES:
                        blocks.paragraph(_words(line))
            case "date":
                blocks.paragraph(_words(each))
            case "sequence":
                number = attribute(each, "number")
                blocks.paragraph(f"Series: {attribute(each, 'name')}{f', {number}' if number else ''}")
            case "coverpage":
                notes.add(NoteKind.PICTURE, page=1, unit="chapter", count=max(len(each), 1))
    published = next((each for each in root.iter() if local(each) == "publish-info"), ())
    for each in published:
        words = one_line("".join(each.itertext()))
        blocks.paragraph(f"{local(each).replace('-', ' ').capitalize()}: {words}" if words else "")
    return blocks.text()


class _ChapterReader:
    def __init__(self, notes: Notes, page: int) -> None:
        self.blocks = Blocks()
        self._notes = notes
        self._page = page

    def add(self, element: Element, level: int) -> None:
        """Add an element and what it contains."""
        match local(element):
            case "title":
                self.blocks.heading(level, " ".join(_words(each) for each in element))
            case "subtitle":
                self.blocks.heading(level + 1, _words(element))
            case "p" | "v" | "text-author" | "date":
                self.blocks.paragraph(_words(element))
                self._images(element)
            case "tr":
                self.blocks.row([_words(cell) for cell in element])
            case "image":
                self._images(element)
            case kind:
                if kind == "table":
                    self.blocks.gap()
                for each in element:
                    self.add(each, level + (kind == "section" and local(each) == "section"))

    def _images(self, element: Element) -> None:
        for each in element.iter():
            if local(each) != "image":
                continue
            if words := attribute(each, "alt") or attribute(each, "title"):
                self.blocks.paragraph(words)
            else:
                self._notes.add(NoteKind.PICTURE, page=self._page, unit="chapter")


def _words(element: Element) -> str:
    """Return the text of a line, with links and exponents marked."""
    pieces = [element.text or ""]
    for each in element:
        words = _words(each)
        match local(each):
            case "sup":
                words = raised(words, "".join(pieces))
            case "strikethrough":
                words = Struck(words)
            case "a":
                words = link(words, attribute(each, "href"))
            case "image":
                words = ""
        pieces += [words, each.tail or ""]
    words = joined(pieces)
    return one_line(words) if local(element) in (*_LINES, "th", "td") else words


def _signature(inspected: InspectedFile) -> str:
    return FB2 if inspected.named != MARKDOWN and _START.match(after_prolog(inspected.head)) else ""


FORMAT = Format(
    name="FictionBook",
    media_types={FB2: (".fb2",)},
    parse=_parse,
    reads="title, authors, annotation and publisher, chapters, poems, tables, links, and notes",
    omits="pictures without alternative text",
    pages="chapters",
    signature=_signature,
)
