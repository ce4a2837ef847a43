"""Pictures: the text in them, if the Loader recognizes text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.inspected_file import InspectedFile
from memgpt_loader.formats.spec import File, FileLimits, Format, PageText, Parsed, broken, too_many_pages
from memgpt_loader.markup import tidy
from memgpt_loader.notes import NoteKind, Notes
from memgpt_loader.text_recognition import MOST_PIXELS, TextRecognizer

if TYPE_CHECKING:
    from PIL.Image import Image

PNG, JPEG, GIF = "image/png", "image/jpeg", "image/gif"
TIFF, BMP, WEBP = "image/tiff", "image/bmp", "image/webp"

# Where the first bytes are letters, the pattern includes bytes that text does not contain.
_FIRST_BYTES = {
    PNG: rb"\x89PNG",
    JPEG: rb"\xff\xd8\xff",
    GIF: rb"GIF8[79]a(?=.*[\x00-\x08])",
    TIFF: rb"II\*\x00|MM\x00\*",
    BMP: rb"BM.{4}\x00{4}",
    WEBP: rb"RIFF.{4}WEBP",
}
_MOST_DECODED_PIXELS = 150_000_000
_SMALL = 1_500
"""Pictures with shorter sides are enlarged: Tesseract expects letters as large as in print at 300 dots per inch."""


def _parse(file: File, limits: FileLimits) -> Parsed:
    kind = file.media_type.partition("/")[2].upper()
    if limits.recognizer is None:
        raise FileFailure(
            FailureReason.UNSUPPORTED,
            f"the file is a {kind} image, which the Loader does not read; run OCR on it, if it shows text, "
            "or have the Loader do so (loader.ocr_languages)",
        )
    pages = _page_count(file, kind)
    if pages > limits.max_pages:
        raise too_many_pages(pages, "pages", limits)
    notes = Notes()
    return Parsed(pages, _pages(file, kind, pages, limits.recognizer, notes), notes)


def _page_count(file: File, kind: str) -> int:
    try:
        with _opened(file, kind) as picture:
            return int(getattr(picture, "n_frames", 1)) if kind == "TIFF" else 1  # else frames of an animation
    except MemoryError:
        raise
    except Exception as error:  # on malformed pictures the library raises arbitrary exceptions
        raise broken("the picture", error) from error


def _pages(file: File, kind: str, pages: int, recognizer: TextRecognizer, notes: Notes) -> Iterator[PageText]:
    any_text = False
    for number in range(1, pages + 1):
        if recognizer.exhausted:
            notes.add(NoteKind.SCANNED_PAGE, page=number, count=pages - number + 1)
            break
        text = tidy(recognizer.text(_page(file, kind, number)))
        any_text = any_text or bool(text)
        if not text:
            notes.add(NoteKind.PICTURE, page=number if pages > 1 else 0)
        yield PageText(number if pages > 1 else 0, text)
    if not any_text:
        raise FileFailure(
            FailureReason.NO_TEXT,
            "no text was recognized in the picture; load a sharper one, or add its language to loader.ocr_languages",
        )


@contextmanager
def _opened(file: File, kind: str) -> Iterator[Image]:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # checked by `_page`, which says what to do
    with file.open() as stream, Image.open(stream, formats=[kind]) as picture:
        yield picture


def _page(file: File, kind: str, number: int) -> Image:
    from PIL import ImageOps

    try:
        with _opened(file, kind) as picture:
            picture.seek(number - 1)
            if picture.width * picture.height > _MOST_DECODED_PIXELS:
                raise FileFailure(FailureReason.TOO_LARGE, "the picture has too many pixels; load a smaller one")
            return _prepared(ImageOps.exif_transpose(picture))
    except (FileFailure, MemoryError):
        raise
    except Exception as error:
        raise broken("the picture", error) from error


def _prepared(picture: Image) -> Image:
    """Return a picture in gray on white, in a size that suits recognition."""
    from PIL import Image

    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.new("RGBA", layer.size, "white")
        picture.alpha_composite(layer)
    picture = picture.convert("L")
    if max(picture.size) < _SMALL:
        return picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.LANCZOS)
    if picture.width * picture.height > MOST_PIXELS:
        scale = (MOST_PIXELS / (picture.width * picture.height)) ** 0.5
        return picture.resize((max(1, int(picture.width * scale)), max(1, int(picture.height * scale))))
    return picture


def _signature(inspected: InspectedFile) -> str:
    return next((kind for kind, magic in _FIRST_BYTES.items() if re.match(magic, inspected.head, re.DOTALL)), "")


FORMAT = Format(
    name="picture",
    media_types={
        PNG: (".png",),
        JPEG: (".jpeg", ".jpg"),
        GIF: (".gif",),
        TIFF: (".tif", ".tiff"),
        BMP: (".bmp",),
        WEBP: (".webp",),
    },
    parse=_parse,
    reads="text in the picture, if `loader.ocr_languages` is set",
    omits="pages without recognizable text",
    pages="pages",
    signature=_signature,
    needs_recognition=True,
)
