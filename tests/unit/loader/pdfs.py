"""PDFs made for tests, good and bad."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject, NumberObject, StreamObject

HELVETICA = DictionaryObject(
    {
        NameObject("/Type"): NameObject("/Font"),
        NameObject("/Subtype"): NameObject("/Type1"),
        NameObject("/BaseFont"): NameObject("/Helvetica"),
    }
)


PICTURE = "\0"
"""Stands for a page with a picture on it and no text."""


def pdf(pages: Sequence[str], *, password: str | None = None, owner_password: str | None = None) -> bytes:
    """A PDF with the given lines of ASCII text on each page; an empty page has no text at all."""
    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(width=612, height=792)
        if not text:
            continue
        if text == PICTURE:
            _use_picture(writer, page)
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


def loop() -> bytes:
    """A PDF whose tree of pages is its own child."""
    data = pdf(["never reached"])
    at = data.index(b"/Kids")
    first = data.index(b"[", at)
    kid = data[first + 1 : data.index(b"]", first)].split()[0]
    pages = data[: data.index(b"/Type /Pages")].rsplit(b" 0 obj", 1)[0].split()[-1]
    assert len(kid) == len(pages)
    return data[:first] + data[first:].replace(kid + b" 0 R", pages + b" 0 R", 1)


def _use_picture(writer: PdfWriter, page: DictionaryObject) -> None:
    picture = StreamObject()
    picture._data = b"\0"
    for key in ("/Width", "/Height", "/BitsPerComponent"):
        picture[NameObject(key)] = NumberObject(1)
    picture[NameObject("/Subtype")] = NameObject("/Image")
    pictures = DictionaryObject({NameObject("/Im1"): writer._add_object(picture)})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/XObject"): pictures})


def _use_font(writer: PdfWriter, page: DictionaryObject) -> None:
    fonts = DictionaryObject({NameObject("/F1"): writer._add_object(HELVETICA)})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})


def _bytes(writer: PdfWriter) -> bytes:
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()
