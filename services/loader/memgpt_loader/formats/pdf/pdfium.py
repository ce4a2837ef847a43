"""The content of PDF pages, read with PDFium (Chrome's PDF library), which is fast but sets no resource limits."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import unescape
from itertools import islice, pairwise
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pypdfium2
from pypdfium2 import PdfDocument, PdfiumError, PdfPage, raw

from memgpt_loader.formats.pdf import layout
from memgpt_loader.formats.pdf.glyphs import (
    UNKNOWN,
    glyphs,
    is_vertical,
    laid_flat,
    reads_like_text,
    skewed_lines,
    upright,
)
from memgpt_loader.formats.pdf.layers import hide_layers, with_inner
from memgpt_loader.formats.pdf.layout import TextRun
from memgpt_loader.formats.pdf.links import page_links, with_addresses
from memgpt_loader.formats.spec import File
from memgpt_loader.markup import one_line
from memgpt_loader.text_recognition import MOST_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image

_PAGES_AN_OPENING = 100
"""Pages after which the file is reopened: PDFium keeps the fonts of every page it has read."""

_BROKEN_OFF = "\ufffe"
"""What PDFium returns for a hyphen at the end of a line, including the line end."""
_SAMPLED = 32
"""Only one of this many characters is inspected: checking each in Python takes longer than PDFium itself."""
_SAMPLED_AGAIN = 4
"""The same for pages that may contain undecodable characters."""
_MOST_GLYPHS = 60_000
"""A page with more characters keeps PDFium's order, which bounds the time it takes."""
_MOST_ANNOTATIONS = 2000
_HAN_OR_KANA = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
_WORD = re.compile(r"\S+")
_DOTS_PER_INCH = 300
"""Resolution in which pages are drawn to recognize their text."""
_TITLE = 1.25
"""A line whose letters are taller than the page's other text by this factor is a title."""
_WITH_TEXT = {
    raw.FPDF_ANNOT_TEXT: "Note",
    raw.FPDF_ANNOT_FREETEXT: "",
    raw.FPDF_ANNOT_HIGHLIGHT: "Note",
    raw.FPDF_ANNOT_UNDERLINE: "Note",
    raw.FPDF_ANNOT_SQUIGGLY: "Note",
    raw.FPDF_ANNOT_STRIKEOUT: "Note",
    raw.FPDF_ANNOT_CARET: "Note",
    raw.FPDF_ANNOT_SQUARE: "Note",
    raw.FPDF_ANNOT_CIRCLE: "Note",
    raw.FPDF_ANNOT_LINE: "Note",
    raw.FPDF_ANNOT_POLYGON: "Note",
    raw.FPDF_ANNOT_POLYLINE: "Note",
    raw.FPDF_ANNOT_INK: "Note",
    raw.FPDF_ANNOT_STAMP: "Stamp",
}
_DRAWN = {raw.FPDF_ANNOT_INK, raw.FPDF_ANNOT_STAMP, raw.FPDF_ANNOT_SOUND, raw.FPDF_ANNOT_MOVIE}
_DRAWN |= {raw.FPDF_ANNOT_SCREEN, raw.FPDF_ANNOT_RICHMEDIA, raw.FPDF_ANNOT_THREED}
_DRAWN |= {raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_WATERMARK}
_TAG = re.compile(r"<[^<>]{0,2000}>")
_SMALLEST_PICTURE = 64
"""Pixels of a side; smaller pictures are bullets and lines."""
_MOST_SEGMENTS = 60
"""Lines and curves of a page without text that may be ornaments. Letters that are drawn as outlines have more."""


@dataclass
class DrawnPage:
    """The content of a page."""

    text: str = ""
    """Text in reading order, not yet cleaned."""
    titles: frozenset[str] = frozenset()
    """Title lines at the page's edges, in larger letters than other text; white space collapsed."""
    undecodable: int = 0
    """Number of characters in fonts that do not map to Unicode."""
    comments: list[str] = field(default_factory=list)
    """Text of its annotations."""
    links: list[str] = field(default_factory=list)
    """Links whose words are not in the text, such as those of pictures."""
    is_picture: bool = False
    """Whether it has no text, but a picture or many lines, which may be the outlines of letters."""
    drawings: int = 0
    """Number of visible annotations without text."""
    has_fields: bool = False
    """Whether it has form fields."""
    has_attachments: bool = False
    """Whether it has attachment annotations."""
    hidden: frozenset[str] = frozenset()
    """Names of the layers on it that are not shown, and whose content is left out."""


class PdfiumTexts:
    """A PDF opened with PDFium; a context manager."""

    def __init__(self, file: File, hidden_layers: frozenset[str] = frozenset()) -> None:
        """Prepare to read; the file is opened with the first page.

        Args:
            file: The PDF.
            hidden_layers: Names of layers that are not shown.
        """
        self._file = file
        self._hidden_layers = hidden_layers
        self._document: PdfDocument | None = None
        self._pages_left = 0

    def page(self, number: int, copy: bytes | None = None) -> DrawnPage | None:
        """Read a page.

        Args:
            number: Page number, from 1.
            copy: A document of one page to read the text from, see `Layers.page_without_hidden`; None for the page.

        Returns:
            The content; None if PDFium cannot open the page.
        """
        try:
            page = self._opened()[number - 1]
            copied = None if copy is None else pypdfium2.PdfDocument(copy)
        except (PdfiumError, IndexError):
            return None
        try:
            source = page if copied is None else copied[0]
            hidden = (
                hide_layers(source, self._hidden_layers) if copied is not None or self._hidden_layers else frozenset()
            )
            drawn = _drawn(page, source)
            drawn.hidden = hidden
            drawn.is_picture = not drawn.text.strip() and _is_picture(source)
            _annotate(page, drawn)
            return drawn
        except PdfiumError:
            return None
        finally:
            page.close()
            if copied is not None:
                copied.close()

    def picture(self, number: int) -> Image | None:
        """Draw a page in gray; None if PDFium cannot open it.

        Args:
            number: Page number, from 1.
        """
        try:
            page = self._opened()[number - 1]
        except (PdfiumError, IndexError):
            return None
        try:
            points = max(1.0, page.get_width() * page.get_height())
            scale = min(_DOTS_PER_INCH / 72, (MOST_PIXELS / points) ** 0.5)
            drawn: Image = page.render(scale=scale, grayscale=True).to_pil()
            return drawn
        except PdfiumError:
            return None
        finally:
            page.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _opened(self) -> PdfDocument:
        if not self._pages_left:
            self._close()
        if self._document is None:
            source = self._file.source
            self._document = pypdfium2.PdfDocument(source if isinstance(source, bytes) else str(source))
            self._pages_left = _PAGES_AN_OPENING
        self._pages_left -= 1
        return self._document

    def _close(self) -> None:
        if self._document is not None:
            self._document.close()
            self._document = None


def _is_picture(page: PdfPage) -> bool:
    objects = (raw.FPDFPage_GetObject(page, index) for index in range(raw.FPDFPage_CountObjects(page)))
    segments = 0
    width, height = ctypes.c_uint(), ctypes.c_uint()
    for each in islice(with_inner(objects), _MOST_GLYPHS):
        kind = raw.FPDFPageObj_GetType(each)
        if kind == raw.FPDF_PAGEOBJ_PATH:
            segments += max(raw.FPDFPath_CountSegments(each), 0)
        elif kind == raw.FPDF_PAGEOBJ_IMAGE and raw.FPDFImageObj_GetImagePixelSize(each, width, height):
            segments += _MOST_SEGMENTS * (min(width.value, height.value) >= _SMALLEST_PICTURE)
        if segments >= _MOST_SEGMENTS:
            return True
    return False


def _drawn(page: PdfPage, source: PdfPage) -> DrawnPage:
    text_page = source.get_textpage()
    try:
        drawn = _in_reading_order(page, text_page)
        if links := page_links(page, text_page):
            text, drawn.links = with_addresses(drawn.text, links)
            changed = zip(
                *(map(" ".join, map(str.split, each.splitlines())) for each in (drawn.text, text)), strict=False
            )
            drawn.titles |= {after for before, after in changed if before in drawn.titles}
            drawn.text = text
        return drawn
    finally:
        text_page.close()


def _in_reading_order(page: PdfPage, text_page: Any) -> DrawnPage:
    text = str(text_page.get_text_range())
    count = raw.FPDFText_CountChars(text_page)
    boxes = _boxes(text_page)
    if count <= _MOST_GLYPHS:
        if _is_turned(page, text_page, text, count, boxes):
            return _laid_out(text_page, from_top=True)
        if _needs_care(text_page, text, count) or _interleaves_columns(text_page, boxes):
            return _laid_out(text_page, from_top=False)
    text = _with_superscripts(text_page, text, boxes).replace(_BROKEN_OFF, "-\n")
    return DrawnPage(text, _titles(text_page, text, count))


def _boxes(text_page: Any) -> list[TextRun]:
    """Return the boxes of the drawn pieces of text, without their text."""
    found = []
    left, top, right, bottom = (ctypes.c_double() for _ in range(4))
    references = [ctypes.byref(each) for each in (left, top, right, bottom)]
    for index in range(raw.FPDFText_CountRects(text_page, 0, -1)):
        raw.FPDFText_GetRect(text_page, index, *references)
        found.append(TextRun("", left.value, bottom.value, right.value, top.value))
    return found


def _is_turned(page: PdfPage, text_page: Any, text: str, count: int, boxes: Sequence[TextRun]) -> bool:
    """Whether the text is rotated, vertical, or drawn from bottom to top."""
    if page.get_rotation() or _goes_upwards(boxes):
        return True
    if _HAN_OR_KANA.search(text) and any(box.height > 3 * (box.right - box.left) for box in boxes):
        return True
    sample = range(0, count, _SAMPLED)
    turned = [index for index in sample if raw.FPDFText_GetCharAngle(text_page, index) > 0.1]
    return len(turned) * 2 > len(sample)


def _needs_care(text_page: Any, text: str, count: int) -> bool:
    """Whether the text is in a right-to-left script or partly undecodable."""
    if layout.RIGHT_TO_LEFT.search(text):
        return True
    if not any(raw.FPDFText_HasUnicodeMapError(text_page, index) == 1 for index in range(0, count, _SAMPLED)):
        return False
    doubtful = [
        index for index in range(0, count, _SAMPLED_AGAIN) if raw.FPDFText_HasUnicodeMapError(text_page, index) == 1
    ]
    return not reads_like_text("".join(chr(raw.FPDFText_GetUnicode(text_page, index)) for index in doubtful))


def _goes_upwards(boxes: Sequence[TextRun]) -> bool:
    steps = [after.bottom - before.bottom for before, after in pairwise(boxes)]
    up, down = sum(step > 2 for step in steps), sum(step < -2 for step in steps)
    return up > 2 and up > 2 * down


def _interleaves_columns(text_page: Any, boxes: Sequence[TextRun]) -> bool:
    rows = layout.rows_as_drawn(boxes)
    if sum(any(True for _ in layout.gaps(row)) for row in rows) < layout.LEAST_ROWS:
        return False
    for at in range(len(rows)):
        end, _ = layout.column_block(rows, at)
        if end > at:
            with_text = [[_with_text(text_page, box) for box in row] for row in rows[at:end]]
            if layout.column_block(with_text, 0)[0]:
                return True
    return False


def _with_text(text_page: Any, box: TextRun) -> TextRun:
    text = str(text_page.get_text_bounded(box.left, box.bottom, box.right, box.top)).strip()
    return replace(box, text=text)


def _laid_out(text_page: Any, *, from_top: bool) -> DrawnPage:
    found, undecodable = glyphs(text_page)
    rows: list[str] = []
    titles: set[str] = set()
    for group in upright(found):
        pieces = layout.segments(laid_flat(group) if is_vertical(group) else group)
        rows += layout.lines(pieces, from_top=from_top)
        titles |= _tall(pieces)
    text = "\n".join([*rows, *skewed_lines(found)])
    if undecodable:
        text = _WORD.sub(_mostly_known, text)
    return DrawnPage(text, frozenset(titles), undecodable)


def _tall(pieces: Sequence[TextRun]) -> set[str]:
    heights = sorted(piece.height for piece in pieces for _ in piece.text)
    usual = heights[len(heights) * 4 // 5] if heights else 0.0
    return {piece.text for piece in pieces if piece.height > usual * _TITLE}


def _mostly_known(word: re.Match[str]) -> str:
    return "" if word.group().count(UNKNOWN) * 2 > len(word.group()) else word.group()


def _with_superscripts(text_page: Any, text: str, boxes: Sequence[TextRun]) -> str:
    """Turn exponents into superscript digits, so that 10⁶ does not become 106."""
    changes: list[tuple[int, int, str]] = []
    for at, (before, after) in enumerate(pairwise(boxes)):
        # The box of a small letter such as x is no higher than that of a raised digit.
        raised = after.bottom > before.bottom + before.height * 0.15 and after.height < before.height * 1.4
        short = after.right - after.left < before.height * 4
        if raised and short and -1 < after.left - before.right < before.height * 0.5:
            following = boxes[at + 2] if at + 2 < len(boxes) else None
            if change := _raised(text_page, text, before, after, following):
                changes.append(change)
    for start, end, words in sorted(changes, reverse=True):
        text = text[:start] + words + text[end:]
    return text


def _raised(
    text_page: Any, text: str, before: TextRun, after: TextRun, following: TextRun | None
) -> tuple[int, int, str] | None:
    """Return the start and end of a superscript in the text, and its spelling; None if `after` is not raised."""
    one, other = _segment_at(text_page, before), _segment_at(text_page, after)
    if not other.text or not layout.is_superscript(one, other):
        return None
    index = raw.FPDFText_GetCharIndexAtPos(text_page, after.left + 0.5, (after.bottom + after.top) / 2, 2, 2)
    at = raw.FPDFText_GetTextIndexFromCharIndex(text_page, index) if index >= 0 else -1
    if at < 0 or not text.startswith(other.text, at):
        return None
    # The library may take a raised mark for a line of its own.
    start, end, words = len(text[:at].rstrip("\r\n")), at + len(other.text), layout.superscript(other.text)
    ended = _LINE_END.match(text, end)
    if ended and following is not None and following.left >= after.right - 1 and following.bottom < after.bottom:
        end = ended.end()
        words += " " if ended[1] or following.left - after.right > one.height * 0.25 else ""
    return start, end, words


_LINE_END = re.compile(r"[\r\n]+( ?)")


def _segment_at(text_page: Any, box: TextRun) -> TextRun:
    """Return a segment with its text and the height of its font, rather than of its letters."""
    text = str(text_page.get_text_bounded(box.left, box.bottom, box.right, box.top)).strip()
    middle = (box.bottom + box.top) / 2
    index = raw.FPDFText_GetCharIndexAtPos(text_page, box.right - 0.5, middle, 2, 2)
    loose = raw.FS_RECTF()
    if index < 0 or not raw.FPDFText_GetLooseCharBox(text_page, index, loose):
        return TextRun("", box.left, box.bottom, box.right, box.top)
    return TextRun(text, box.left, loose.bottom, box.right, loose.top)


def _titles(text_page: Any, text: str, count: int) -> frozenset[str]:
    heights = [(index, height) for index in range(0, count, _SAMPLED) if (height := _height(text_page, index)) > 1.5]
    lines = list(re.finditer(r"[^\r\n]+", text))
    found = set()
    for line in {*lines[:3], *lines[-3:]}:
        others = sorted(height for index, height in heights if not line.start() <= index < line.end())
        own = _height(text_page, raw.FPDFText_GetCharIndexFromTextIndex(text_page, line.start()))
        if others and own > others[len(others) * 4 // 5] * _TITLE:
            found.add(" ".join(line.group().split()))
    return frozenset(found)


def _height(text_page: Any, index: int) -> float:
    box = raw.FS_RECTF()
    return box.top - box.bottom if raw.FPDFText_GetLooseCharBox(text_page, index, box) else 0.0


def _annotate(page: PdfPage, drawn: DrawnPage) -> None:
    for index in range(min(raw.FPDFPage_GetAnnotCount(page), _MOST_ANNOTATIONS)):
        annotation = raw.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        try:
            _read_annotation(annotation, drawn)
        finally:
            raw.FPDFPage_CloseAnnot(annotation)


def _read_annotation(annotation: Any, drawn: DrawnPage) -> None:
    kind = raw.FPDFAnnot_GetSubtype(annotation)
    if kind == raw.FPDF_ANNOT_WIDGET:
        drawn.has_fields = True
    elif kind == raw.FPDF_ANNOT_FILEATTACHMENT:
        drawn.has_attachments = True
    if raw.FPDFAnnot_GetFlags(annotation) & raw.FPDF_ANNOT_FLAG_HIDDEN:
        return
    words = ""
    if kind in _WITH_TEXT:
        words = _value(annotation, b"Contents") or one_line(unescape(_TAG.sub(" ", _value(annotation, b"RC"))))
    if words:
        label = _WITH_TEXT[kind]
        author = _value(annotation, b"T") if label else ""
        heading = f"{label} ({author})" if author else label
        drawn.comments.append(f"{heading}: {words}" if heading else words)
    elif kind in _DRAWN:
        drawn.drawings += 1


def _value(annotation: Any, key: bytes) -> str:
    size = raw.FPDFAnnot_GetStringValue(annotation, key, None, 0)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size)
    raw.FPDFAnnot_GetStringValue(annotation, key, ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), size)
    return buffer.raw[: size - 2].decode("utf-16-le", "replace").strip()
