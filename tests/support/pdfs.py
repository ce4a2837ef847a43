"""Valid and invalid PDFs generated for tests."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Sequence

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
"""Placeholder for a page with a picture and without text."""


def pdf(pages: Sequence[str], *, password: str | None = None, owner_password: str | None = None) -> bytes:
    """Return a PDF with the given lines of ASCII text on each page; an empty page has no text."""
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
    """Return a PDF of a few hundred KB whose only page expands enormously."""
    data = packed_blanks(megabytes)
    writer = PdfWriter()
    page = writer.add_blank_page(width=612, height=792)
    stream = StreamObject()
    stream._data = data
    stream[NameObject("/Filter")] = NameObject("/FlateDecode")
    page[NameObject("/Contents")] = writer._add_object(stream)
    _use_font(writer, page)
    return _bytes(writer)


def packed_blanks(megabytes: int) -> bytes:
    """Return compressed blanks by repeating one compressed block, which is much faster than compressing them all."""
    piece = b" " * (1024 * 1024)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = compressor.compress(piece) + compressor.flush(zlib.Z_FULL_FLUSH)
    checksum = 1
    for _ in range(megabytes):
        checksum = zlib.adler32(piece, checksum)
    return b"\x78\xda" + block * megabytes + compressor.flush() + checksum.to_bytes(4, "big")


def loop() -> bytes:
    """Return a PDF whose page tree contains itself."""
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


def plain(objects: Sequence[bytes], *, root: int = 1) -> bytes:
    """Return a PDF of the given objects, numbered from 1 and written unchanged, even if they are invalid."""
    pieces = [b"%PDF-1.7\n"]
    at = len(pieces[0])
    offsets = []
    for number, body in enumerate(objects, start=1):
        piece = b"%d 0 obj\n%b\nendobj\n" % (number, body)
        offsets.append(at)
        pieces.append(piece)
        at += len(piece)
    size = len(objects) + 1
    entries = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    pieces.append(b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n" % (size, entries))
    pieces.append(b"<< /Size %d /Root %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, root, at))
    return b"".join(pieces)


def stream_object(data: bytes, entries: bytes = b"") -> bytes:
    """Return the body of a stream object."""
    return b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(data), entries, data)


def in_any_script(pages: Sequence[str]) -> bytes:
    """Return a PDF whose font has every character of the given lines, like those of word processors."""
    codes = {char: code for code, char in enumerate(sorted({*"".join(pages)} - {"\n"}), start=1)}
    chars = b"".join(b"<%04x> <%b>\n" % (code, char.encode("utf-16-be").hex().encode()) for char, code in codes.items())
    cmap = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
        b"1 begincodespacerange <0000> <ffff> endcodespacerange\n"
        b"%d beginbfchar\n%bendbfchar\nendcmap end end" % (len(codes), chars)
    )
    first = 7  # the first page's object
    kids = b" ".join(b"%d 0 R" % (first + 2 * index) for index in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%b] /MediaBox [0 0 612 792] /Resources 3 0 R >>" % (len(pages), kids),
        b"<< /Font << /F1 4 0 R >> >>",
        b"<< /Type /Font /Subtype /Type0 /BaseFont /Any /Encoding /Identity-H"
        b" /DescendantFonts [5 0 R] /ToUnicode 6 0 R >>",
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Any /DW 500"
        b" /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>",
        stream_object(cmap),
    ]
    for index, text in enumerate(pages):
        lines = b"".join(
            b"<%b> Tj T*\n" % b"".join(b"%04x" % codes[char] for char in line) for line in text.split("\n")
        )
        objects.append(b"<< /Type /Page /Parent 2 0 R /Contents %d 0 R >>" % (first + 2 * index + 1))
        objects.append(stream_object(b"BT /F1 12 Tf 14 TL 72 720 Td\n%bET" % lines))
    return plain(objects)


def pdf_of_pages(pages: Iterable[str]) -> bytes:
    """Return a compressed PDF like those of `pdf`, generated quickly even with many pages."""
    texts = list(pages)
    first = 4  # the first page's object
    kids = b" ".join(b"%d 0 R" % (first + 2 * index) for index in range(len(texts)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%b] /MediaBox [0 0 612 792] /Resources 3 0 R >>" % (len(texts), kids),
        b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>",
    ]
    for index, text in enumerate(texts):
        lines = "".join(f"({line}) Tj T*\n" for line in text.split("\n"))
        packed = zlib.compress(f"BT /F1 12 Tf 14 TL 72 720 Td\n{lines}ET".encode("ascii"))
        objects.append(b"<< /Type /Page /Parent 2 0 R /Contents %d 0 R >>" % (first + 2 * index + 1))
        objects.append(stream_object(packed, b"/Filter /FlateDecode"))
    return plain(objects)


def with_tree(kids: Sequence[bytes], count: int) -> bytes:
    """Return a PDF with one page (object 4) and page tree nodes with the given kids (from object 5 on).

    Object 5 is the root of the tree; `count` is the number of pages that it declares.
    """
    nodes = [b"<< /Type /Pages /Count %d /Kids [%b] >>" % (count, each) for each in kids]
    return plain(
        [
            b"<< /Type /Catalog /Pages 5 0 R >>",
            b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>",
            stream_object(b"BT /F1 12 Tf 72 720 Td (A page.) Tj ET"),
            b"<< /Type /Page /Parent 5 0 R /MediaBox [0 0 612 792] /Resources 2 0 R /Contents 3 0 R >>",
            *nodes,
        ]
    )


def with_contents(contents: bytes, entries: bytes, resources: bytes = b"2 0 R", *more: bytes) -> bytes:
    """Return a PDF with one page with the given content stream and resources; `more` are objects from 6 on."""
    return plain(
        [
            b"<< /Type /Catalog /Pages 5 0 R >>",
            b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>",
            stream_object(contents, entries),
            b"<< /Type /Page /Parent 5 0 R /MediaBox [0 0 612 792] /Resources %b /Contents 3 0 R >>" % resources,
            b"<< /Type /Pages /Count 1 /Kids [4 0 R] >>",
            *more,
        ]
    )
