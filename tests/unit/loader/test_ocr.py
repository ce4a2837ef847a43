"""Text in scans and pictures, recognized by the real Tesseract in a parser process."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest
from memgpt_loader import text_recognition
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import NoteKind
from memgpt_loader.parsing.pool import ParserPool
from memgpt_loader.parsing.results import NotesReported, PageRead
from memgpt_loader.text_recognition import RecognitionUnavailable
from PIL import Image, ImageDraw, ImageFont

from tests.support import pdfs
from tests.unit.loader.parsing.test_pool import LIMITS, read, spooled

KINDS = Path(__file__).parents[2] / "data" / "kinds"


@pytest.fixture
async def pool() -> AsyncIterator[ParserPool]:
    """Parsers that recognize English; skips where Tesseract's data is not installed."""
    try:
        text_recognition.check("eng")
    except RecognitionUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    pool = ParserPool(replace(LIMITS, ocr_languages="eng"))
    yield pool
    await pool.close()


def picture(text: str, mode: str = "L") -> Image.Image:
    drawn = Image.new("L", (1000, 300), 255)
    ImageDraw.Draw(drawn).multiline_text((40, 60), text, fill=0, font=ImageFont.load_default(60))
    return drawn.convert(mode)


def saved(kind: str, *pages: Image.Image) -> bytes:
    stream = io.BytesIO()
    more = {"save_all": True, "append_images": pages[1:]} if len(pages) > 1 else {}
    pages[0].save(stream, kind, **more)
    return stream.getvalue()


async def texts(pool: ParserPool, tmp_path: Path, name: str, data: bytes) -> tuple[list[str], dict[NoteKind, str]]:
    _, *results = await read(pool, spooled(tmp_path, "x", data), name)
    pages = [" ".join(each.text for each in page.passages) for page in results if isinstance(page, PageRead)]
    notes = [note for result in results if isinstance(result, NotesReported) for note in result.notes]
    return pages, {note.kind: note.where for note in notes}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"])
async def test_the_text_of_a_picture_is_recognized(pool: ParserPool, tmp_path: Path, kind: str) -> None:
    assert await texts(pool, tmp_path, "a.dat", saved(kind, picture("Invoice 1042"))) == (["Invoice 1042"], {})


async def test_text_on_a_transparent_background_is_recognized(pool: ParserPool, tmp_path: Path) -> None:
    drawn = Image.new("RGBA", (1000, 300), (0, 0, 0, 0))
    ImageDraw.Draw(drawn).text((40, 60), "Invoice 1042", fill=(0, 0, 0, 255), font=ImageFont.load_default(60))
    assert (await texts(pool, tmp_path, "a.png", saved("PNG", drawn)))[0] == ["Invoice 1042"]


async def test_the_pages_of_a_fax_are_pages(pool: ParserPool, tmp_path: Path) -> None:
    data = saved("TIFF", picture("First page"), picture(""), picture("Third page"))
    pages, notes = await texts(pool, tmp_path, "fax.tif", data)
    assert pages == ["First page", "", "Third page"]
    assert notes == {NoteKind.PICTURE: "page 2"}


async def test_scanned_pages_of_a_pdf_are_recognized(pool: ParserPool, tmp_path: Path) -> None:
    data = saved("PDF", picture("The harbour office"), picture("opens at noon"))
    assert await texts(pool, tmp_path, "scan.pdf", data) == (["The harbour office", "opens at noon"], {})


async def test_pages_with_undecodable_fonts_are_recognized(pool: ParserPool, tmp_path: Path) -> None:
    pages, notes = await texts(pool, tmp_path, "a.pdf", (KINDS / "pdf_notounicode_a.pdf").read_bytes())
    assert NoteKind.UNDECODABLE_TEXT not in notes
    assert all(pages)


async def test_an_attached_picture_is_recognized(pool: ParserPool, tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Receipt", "ann@example.org", "bob@example.org"
    mail.set_content("See the picture.")
    mail.add_attachment(saved("PNG", picture("Total 42 EUR")), maintype="image", subtype="png", filename="r.png")
    pages, notes = await texts(pool, tmp_path, "a.eml", mail.as_bytes())
    assert "Total 42 EUR" in pages[0]
    assert not notes


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (saved("PNG", picture("")), FailureReason.NO_TEXT),
        (saved("PNG", picture("cut off"))[:200], FailureReason.BROKEN),
        (b"\x89PNG\r\n\x1a\n", FailureReason.BROKEN),
        (saved("PNG", Image.new("1", (20_000, 20_000))), FailureReason.TOO_LARGE),
    ],
    ids=["blank", "cut", "header", "huge"],
)
async def test_a_picture_without_text_fails(
    pool: ParserPool, tmp_path: Path, data: bytes, reason: FailureReason
) -> None:
    with pytest.raises(FileFailure) as failure:
        await texts(pool, tmp_path, "a.png", data)
    assert failure.value.reason is reason


async def test_recognized_pages_have_time_of_their_own(tmp_path: Path, pool: ParserPool) -> None:
    """A scan of many pages takes longer than its few characters would be given."""
    hurried = ParserPool(replace(LIMITS, ocr_languages="eng", seconds=4))
    data = saved("PDF", *[picture(f"Page number {number}") for number in range(1, 13)])
    try:
        pages, _ = await texts(hurried, tmp_path, "scan.pdf", data)
    finally:
        await hurried.close()
    assert len(pages) == 12


async def test_without_recognition_a_picture_is_refused_with_what_to_do(tmp_path: Path) -> None:
    plain = ParserPool(LIMITS)
    try:
        with pytest.raises(FileFailure, match=r"a PNG image.*ocr_languages"):
            await texts(plain, tmp_path, "a.png", saved("PNG", picture("Invoice")))
        scan = spooled(tmp_path, "x", pdfs.pdf(["", pdfs.PICTURE]))
        with pytest.raises(FileFailure, match="probably a scan"):
            await read(plain, scan, "scan.pdf")
    finally:
        await plain.close()


def test_what_is_missing_is_named() -> None:
    with pytest.raises(RecognitionUnavailable, match="tesseract-ocr-xx-yy"):
        text_recognition.check("xx_yy")
