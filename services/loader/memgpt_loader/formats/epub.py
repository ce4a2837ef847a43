"""EPUB books: each chapter in the book's spine is a page."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from memgpt_loader import decoding
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.inspected_file import ZIP
from memgpt_loader.formats.office.packages import Package, local, open_package, resolve
from memgpt_loader.formats.spec import File, FileLimits, Format, PageText, Parsed, broken, encrypted, too_many_pages
from memgpt_loader.notes import NoteKind, Notes

EPUB = "application/epub+zip"

_XHTML = "application/xhtml+xml"
_WHAT = "the book"
_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_FONTS = (".ttf", ".otf", ".woff", ".woff2")


def parse(file: File, limits: FileLimits) -> Parsed:
    """Open a book."""
    notes = Notes()
    with open_package(file, _WHAT, limits) as package:
        chapters = _chapters(package, notes)
        if _is_protected(package):
            raise encrypted()
    if not chapters:
        raise FileFailure(FailureReason.EMPTY, "the book has no chapters; check that it was saved completely")
    if len(chapters) > limits.max_pages:
        raise too_many_pages(len(chapters), "chapters", limits)
    return Parsed(len(chapters), _pages(file, chapters, limits, notes), notes)


def _pages(file: File, chapters: list[str], limits: FileLimits, notes: Notes) -> Iterator[PageText]:
    from memgpt_loader.formats.html_text import to_text

    any_text = False
    with open_package(file, _WHAT, limits) as package:
        for number, part in enumerate(chapters, start=1):
            data = package.read(part)
            words = ""
            if data.strip():
                source = decoding.decode(data, decoding.declared_encoding(data), notes)
                # The title of a chapter's file is mostly the title of the book, repeated.
                xhtml = source if "<?xml" in source[:200] else f"<?xml?>{source}"
                within = Notes()
                words = to_text(xhtml, title=False, notes=within)
                for note in within:
                    notes.add(note.kind, page=number, unit="chapter", count=note.count)
            any_text = any_text or bool(words)
            yield PageText(number, words)
    if not any_text:
        raise FileFailure(
            FailureReason.NO_TEXT,
            f"none of the book's {len(chapters):,} chapter(s) contains text: its pages are probably images; "
            "run OCR on it and load the result",
        )


def _chapters(package: Package, notes: Notes) -> list[str]:
    """Return the names of the chapter parts in reading order."""
    if _CONTAINER not in package.names:
        raise broken(_WHAT)
    contents = [each.get("full-path", "") for each in package.root(_CONTAINER).iter() if local(each) == "rootfile"]
    if not contents or contents[0] not in package.names:
        raise broken(_WHAT)
    opf = package.root(contents[0])
    items = {each.get("id", ""): each for each in opf.iter() if local(each) == "item"}
    spellings = {name.casefold(): name for name in package.names}
    found: list[str] = []
    for reference in (each.get("idref", "") for each in opf.iter() if local(each) == "itemref"):
        item = items.get(reference)
        if item is not None and not _is_readable(item):
            item = items.get(item.get("fallback", ""), item)
        if item is None:
            notes.add(NoteKind.MISSING_PART, reference)
            continue
        if "nav" in (item.get("properties") or "").split():
            continue
        name = resolve(contents[0], unquote(item.get("href", "").partition("#")[0]))
        name = name if name in package.names else spellings.get(name.casefold(), "")
        if not name:
            notes.add(NoteKind.MISSING_PART, item.get("href", reference))
        elif not _is_readable(item):
            notes.add(NoteKind.PICTURE if item.get("media-type", "").startswith("image/") else NoteKind.OBJECT, name)
        elif name not in found[-1:]:  # a file may be listed once for each of its sections
            found.append(name)
    return [*found, *_beside(package, contents[0], opf, set(found))]


def _beside(package: Package, book: str, opf: Element, chapters: set[str]) -> Iterator[str]:
    """Yield the names of the texts outside of the reading order, such as notes, which links lead to."""
    listed = (each for each in opf.iter() if local(each) == "reference" and each.get("type") in ("toc", "cover"))
    references = {each.get("href", "").partition("#")[0] for each in listed}
    for item in opf.iter():
        name = resolve(book, unquote(item.get("href", "").partition("#")[0]))
        is_chapter = local(item) == "item" and item.get("media-type") == _XHTML and name in package.names
        is_shown_otherwise = "nav" in (item.get("properties") or "").split() or item.get("href", "") in references
        if is_chapter and name not in chapters and not is_shown_otherwise:
            chapters.add(name)
            yield name


def _is_readable(item: Element) -> bool:
    """Whether an item of a book is text, regardless of the exact media type that it declares."""
    kind = item.get("media-type", "")
    return kind.startswith("text/") or "xml" in kind


def _is_protected(package: Package) -> bool:
    """Whether anything other than fonts is encrypted; fonts are often merely obfuscated."""
    if _ENCRYPTION not in package.names:
        return False
    uris = [each.get("URI", "") for each in package.root(_ENCRYPTION).iter() if local(each) == "CipherReference"]
    return any(not uri.lower().endswith(_FONTS) for uri in uris)


FORMAT = Format(
    name="book",
    media_types={EPUB: (".epub",)},
    parse=parse,
    reads="chapters in reading order, then texts outside of it, such as notes",
    omits="chapters missing from the book, chapters that are images, pictures without alternative text, sounds and "
    "videos",
    pages="chapters",
    signature=lambda inspected: EPUB if inspected.declared == EPUB else "",
    first_bytes=ZIP,
)
