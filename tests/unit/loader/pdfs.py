"""PDFs made for tests, good and bad."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject, StreamObject

HELVETICA = DictionaryObject(
    {
        NameObject("/Type"): NameObject("/Font"),
        NameObject("/Subtype"): NameObject("/Type1"),
        NameObject("/BaseFont"): NameObject("/Helvetica"),
    }
)


def pdf(pages: Sequence[str], *, password: str | None = None, owner_password: str | None = None) -> bytes:
    """A PDF with the given lines of ASCII text on each page; an empty page has no text at all."""
    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(width=612, height=792)
        if not text:
            continue
        lines = "".join(f"({line}) Tj T*\n" for line in text.split("\n"))
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 14 TL 72 720 Td\n{lines}ET".encode("ascii"))
        page[NameObject("/Contents")] = writer._add_object(stream)
        _use_font(writer, page)
    if password is not None:
        writer.encrypt(user_password=password, owner_password=owner_password, algorithm="AES-256")
    return _bytes(writer)


def bomb(megabytes: int = 200) -> bytes:
    """A PDF of a few hundred KB whose only page expands to very much."""
    compressor = zlib.compressobj(9)
    piece = b" " * (1024 * 1024)
    data = b"".join(compressor.compress(piece) for _ in range(megabytes)) + compressor.flush()
    writer = PdfWriter()
    page = writer.add_blank_page(width=612, height=792)
    stream = StreamObject()
    stream._data = data
    stream[NameObject("/Filter")] = NameObject("/FlateDecode")
    page[NameObject("/Contents")] = writer._add_object(stream)
    _use_font(writer, page)
    return _bytes(writer)


def _use_font(writer: PdfWriter, page: DictionaryObject) -> None:
    fonts = DictionaryObject({NameObject("/F1"): writer._add_object(HELVETICA)})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})


def _bytes(writer: PdfWriter) -> bytes:
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()
