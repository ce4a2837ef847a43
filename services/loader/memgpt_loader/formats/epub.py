"""EPUB books: a chapter, as the book's spine lists them, is a page."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

from memgpt_loader import text
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.office.packages import Package, local, open_package, resolve
from memgpt_loader.formats.probe import ZIP
from memgpt_loader.formats.spec import File, Format, Limits, PageText, Parsed, broken, encrypted, too_many_pages

EPUB = "application/epub+zip"

_WHAT = "the book"
_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_CHAPTERS = ("application/xhtml+xml", "text/html")
_FONTS = (".ttf", ".otf", ".woff", ".woff2")


def parse(file: File, limits: Limits) -> Parsed:
    """Opens a book."""
    with open_package(file, _WHAT, limits) as package:
        chapters = _chapters(package)
        if _is_protected(package):
            raise encrypted()
    if not chapters:
        raise FileFailure(FailureReason.EMPTY, "The book has no chapters. Check that it was saved completely.")
    if len(chapters) > limits.max_pages:
        raise too_many_pages(len(chapters), "chapters", limits)
    return Parsed(len(chapters), _pages(file, chapters, limits))


def _pages(file: File, chapters: list[str], limits: Limits) -> Iterator[PageText]:
    from memgpt_loader.formats.html_text import to_text

    any_text = False
    with open_package(file, _WHAT, limits) as package:
        for number, part in enumerate(chapters, start=1):
            data = package.read(part)
            words = ""
            if data.strip():
                # Titles of chapters' files are mostly the book's own, again and again.
                words = to_text(text.decode(data, text.declared_encoding(data)), title=False)
            any_text = any_text or bool(words)
            yield PageText(number, words)
    if not any_text:
        raise FileFailure(
            FailureReason.NO_TEXT,
            f"None of the book's {len(chapters):,} chapter(s) holds text: its pages are probably pictures. "
            "Run OCR on it and load the result.",
        )


def _chapters(package: Package) -> list[str]:
    """Names of the chapters' parts, in order of reading."""
    if _CONTAINER not in package.names:
        raise broken(_WHAT)
    contents = [each.get("full-path", "") for each in package.root(_CONTAINER).iter() if local(each) == "rootfile"]
    if not contents or contents[0] not in package.names:
        raise broken(_WHAT)
    opf = package.root(contents[0])
    items = {
        each.get("id", ""): resolve(contents[0], unquote(each.get("href", "")))
        for each in opf.iter()
        if local(each) == "item"
        and each.get("media-type") in _CHAPTERS
        and "nav" not in (each.get("properties") or "").split()
    }
    spine = [each.get("idref", "") for each in opf.iter() if local(each) == "itemref"]
    return [items[id_] for id_ in spine if items.get(id_) in package.names]


def _is_protected(package: Package) -> bool:
    """Whether more than fonts, which are often obfuscated, is encrypted."""
    if _ENCRYPTION not in package.names:
        return False
    uris = [each.get("URI", "") for each in package.root(_ENCRYPTION).iter() if local(each) == "CipherReference"]
    return any(not uri.lower().endswith(_FONTS) for uri in uris)


FORMAT = Format(
    name="book",
    media_types={EPUB: (".epub",)},
    parse=parse,
    reads="chapters in order of reading",
    omits="",
    pages="chapters",
    signature=lambda probe: EPUB if probe.declared == EPUB else "",
    first_bytes=ZIP,
)
