"""Addresses of the links on a page of a PDF, whose text alone is drawn."""

from __future__ import annotations

import ctypes
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pypdfium2 import PdfPage, raw

from memgpt_loader.markup import link, one_line

_MOST_LINKS = 500
_MOST_ADDRESS = 2_000
_LATIN = re.compile(r"[A-Za-z0-9]")
_SCHEME = re.compile(r"^(?:https?://|mailto:)(?:www\.)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PageLink:
    """A link to an address.

    Attributes:
        address: Where it leads.
        words: The text in its area, with white space collapsed; empty over a picture.
        at: Where the words are in the page's text, roughly; -1 if unknown.
    """

    address: str
    words: str
    at: int


def page_links(page: PdfPage, text_page: Any) -> list[PageLink]:
    """Return the links on a page that lead out of the document, in the order of the file."""
    found: list[PageLink] = []
    position, annotation = ctypes.c_int(0), raw.FPDF_LINK()
    while len(found) < _MOST_LINKS and raw.FPDFLink_Enumerate(page, position, annotation):
        address = _address(page, annotation)
        if not address:
            continue
        for left, bottom, right, top in _areas(annotation):
            words = one_line(str(text_page.get_text_bounded(left, bottom, right, top)).replace("\ufffe", "-"))
            index = raw.FPDFText_GetCharIndexAtPos(text_page, left + 1, (bottom + top) / 2, 4, 4)
            at = raw.FPDFText_GetTextIndexFromCharIndex(text_page, index) if index >= 0 else -1
            found.append(PageLink(address, words, at))
    return found


def _address(page: PdfPage, annotation: Any) -> str:
    action = raw.FPDFLink_GetAction(annotation)
    if not action or raw.FPDFAction_GetType(action) != raw.PDFACTION_URI:
        return ""
    size = raw.FPDFAction_GetURIPath(page.pdf, action, None, 0)
    if not 1 < size <= _MOST_ADDRESS:
        return ""
    buffer = ctypes.create_string_buffer(size)
    raw.FPDFAction_GetURIPath(page.pdf, action, buffer, size)
    address = "".join(buffer.value.decode("utf-8", "replace").split())
    return address if _SCHEME.match(address) else ""


def _areas(annotation: Any) -> list[tuple[float, float, float, float]]:
    """Return the areas of a link: one for each line, if the file says so."""
    areas: list[tuple[float, float, float, float]] = []
    for index in range(min(raw.FPDFLink_CountQuadPoints(annotation), _MOST_LINKS)):
        quad = raw.FS_QUADPOINTSF()
        if raw.FPDFLink_GetQuadPoints(annotation, index, quad):
            across, down = (quad.x1, quad.x2, quad.x3, quad.x4), (quad.y1, quad.y2, quad.y3, quad.y4)
            areas.append((min(across), min(down), max(across), max(down)))
    area = raw.FS_RECTF()
    if not areas and raw.FPDFLink_GetAnnotRect(annotation, area):
        areas.append((area.left, area.bottom, area.right, area.top))
    return areas


def with_addresses(text: str, links: Iterable[PageLink]) -> tuple[str, list[str]]:
    """Write the addresses of links after their words, as in Markdown.

    Returns:
        The text, and the links whose words are not in it, such as those of pictures.
    """
    places = _Places(text)
    changes: list[tuple[int, int, str]] = []
    rest: list[str] = []
    for each in _whole(places, dict.fromkeys(links)):
        if _shows(each.words, each.address):
            continue
        span = places.take(each.words, each.at)
        if span is None:
            rest.append(link(each.words, each.address))
        else:
            changes.append((*span, link(text[slice(*span)], each.address)))
    for start, end, words in sorted(changes, reverse=True):
        text = text[:start] + words + text[end:]
    return text, list(dict.fromkeys(rest))


class _Places:
    """Where words are in a text, over the ends of lines too."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._places = [place for place, char in enumerate(text) if not char.isspace()]
        self._dense = "".join(text.split())
        self._taken = bytearray(len(text))
        self._found: dict[str, list[tuple[int, int]]] = {}

    def of(self, words: str) -> list[tuple[int, int]]:
        """Return the starts and ends of words, in order."""
        if words not in self._found:
            self._found[words] = list(self._search(words))
        return self._found[words]

    def _search(self, words: str) -> Iterator[tuple[int, int]]:
        dense, wanted = "".join(words.split()), _on_one_line(words)
        at = self._dense.find(dense) if dense else -1
        while at >= 0:
            start, end = self._places[at], self._places[at + len(dense) - 1] + 1
            fits = self._is_whole(start, end) and _on_one_line(self._text[start:end]) == wanted
            if fits:
                yield start, end
            at = self._dense.find(dense, at + (len(dense) if fits else 1))

    def _is_whole(self, start: int, end: int) -> bool:
        """Whether no Latin word continues over the start or the end of a place."""
        text = self._text
        continues_before = start > 0 and _LATIN.match(text[start]) and _LATIN.match(text[start - 1])
        continues_after = _LATIN.match(text[end - 1]) and _LATIN.match(text[end : end + 1])
        return not (continues_before or continues_after)

    def take(self, words: str, at: int) -> tuple[int, int] | None:
        """Return the free place that is nearest to a position; it is not free any more."""
        spans = self.of(words)
        after = bisect_left(spans, (at, 0))
        below, above = after - 1, after
        while below >= 0 or above < len(spans):
            is_below = above == len(spans) or (below >= 0 and at - spans[below][0] <= spans[above][0] - at)
            start, end = spans[below if is_below else above]
            if not any(self._taken[start:end]):
                self._taken[start:end] = b"\1" * (end - start)
                return start, end
            below, above = (below - 1, above) if is_below else (below, above + 1)
        return None


def _on_one_line(text: str) -> str:
    """Return text with white space collapsed, and without that after hyphens."""
    return " ".join(text.split()).replace("- ", "-")


def _whole(places: _Places, links: Iterable[PageLink]) -> Iterator[PageLink]:
    """Join links that go on in the next line: many programs write one with the same address for each line."""
    last: PageLink | None = None
    for each in links:
        if last is None:
            last = each
            continue
        joined = replace(last, words=f"{last.words} {each.words}")
        if last.address == each.address and last.words and each.words and places.of(joined.words):
            last = joined
        else:
            yield last
            last = each
    if last is not None:
        yield last


def _shows(words: str, address: str) -> bool:
    bare = _SCHEME.sub("", address).rstrip("/")
    return not bare or bare.replace("-", "") in "".join(words.split()).replace("-", "")
