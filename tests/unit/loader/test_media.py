from __future__ import annotations

import codecs
import time

import pytest
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import File, media_type_of, parse

from tests.unit.loader.kinds import LIMITS

PDF, PLAIN, MARKDOWN, HTML = "application/pdf", "text/plain", "text/markdown", "text/html"
MAIL, JSONL = "message/rfc822", "application/jsonl"


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.pdf", b"%PDF-1.7\n", PDF),
        ("A.PDF", b"junk\n%PDF-1.4", PDF),
        ("no extension", b"%PDF-1.7", PDF),
        ("wrongly.txt", b"%PDF-1.7", PDF),
        ("a.txt", b"plain", PLAIN),
        ("spec.md", b"A PDF begins with %PDF-1.", MARKDOWN),
        ("dir/sub.d/READ.ME.Markdown", b"# title", MARKDOWN),
        ("windows\\a.txt", b"plain", PLAIN),
        ("utf16.txt", codecs.BOM_UTF16_LE + "text".encode("utf-16-le"), PLAIN),
        ("utf16.txt", codecs.BOM_UTF16_BE + "text".encode("utf-16-be"), PLAIN),
        ("a.py", b"import os", PLAIN),
        ("Makefile", "all: # für alle".encode(), PLAIN),
        ("wrongly.txt", b"\n<!-- saved -->\n<!doctype HTML><p>x", HTML),
        ("page", b"<?xml version='1.0'?>\n<html xmlns='x'>", HTML),
        ("page", b"\xef\xbb\xbf<!-- a --><!-- b -->\n<?xml version='1.0'?><!-- c --><html>", HTML),
        (
            "drawing",
            b"<?xml version='1.0'?><!-- a --><!DOCTYPE svg [ <!ENTITY a 'b'> ]>\n<!-- b --><svg>",
            "image/svg+xml",
        ),
        ("spec.md", b"<html> is the first tag.", MARKDOWN),
        ("letter", b"Received: x\r\n by y\r\nFrom: a\r\nSubject: b\r\n\r\ntext", MAIL),
        ("notes.txt", b"Note: x\nTo do: y\nDate: z\n", PLAIN),
        ("a.JSONL", b"{}", JSONL),
        ("search.txt", b"BM25 is a ranking function.\n", PLAIN),
        ("table.csv", b"BMI,weight\n21,70\n", "text/csv"),
        ("notes.md", b"GIF89a is the newer version of GIF.\n", MARKDOWN),
        ("notes.txt", b"RIFF stands for a container.\n", PLAIN),
        ("notes.txt", b"Rar! says the crow.\n", PLAIN),
        ("notes.txt", b"SQLite format 3 is stable.\n", PLAIN),
        ("utf32.txt", codecs.BOM_UTF32_BE + "text".encode("utf-32-be"), PLAIN),
    ],
)
def test_content_first_then_name(name: str, head: bytes, expected: str) -> None:
    assert media_type_of(name, head) == expected


@pytest.mark.parametrize(
    ("name", "head", "reason", "says"),
    [
        ("a.pdf", b"", FailureReason.EMPTY, "downloaded"),
        ("a.pdf", b"<html>", FailureReason.BROKEN, "not a PDF"),
        ("a.pdf", b"PK\x03\x04..", FailureReason.BROKEN, "ZIP"),
        ("a.docx", b"{}", FailureReason.BROKEN, "not a Word document"),
        ("a.txt", b"\x89PNG....", FailureReason.UNSUPPORTED, "PNG"),
        ("a.pdf", b"\x89PNG....", FailureReason.UNSUPPORTED, "PNG"),
        ("a.txt", b"BM\x8e\x00\x00\x00\x00\x00\x00\x00\x36\x00", FailureReason.UNSUPPORTED, "BMP"),
        ("a.txt", b"GIF89a\x01\x00\x01\x00", FailureReason.UNSUPPORTED, "GIF"),
        ("a.txt", b"RIFF\x24\x08\x00\x00WAVEfmt ", FailureReason.UNSUPPORTED, "a sound"),
        ("a.txt", b"Rar!\x1a\x07\x01\x00", FailureReason.UNSUPPORTED, "RAR"),
        ("a.zip", b"PK\x03\x04..", FailureReason.UNSUPPORTED, "unpack it"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FailureReason.UNSUPPORTED, "legacy office"),
        ("a.unknown", b"x = '\xff'", FailureReason.UNSUPPORTED, "UTF-8"),
        ("unknown", b"ab\x00\x01\x02", FailureReason.UNSUPPORTED, "convert it"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(name: str, head: bytes, reason: FailureReason, says: str) -> None:
    with pytest.raises(FileFailure) as failure:
        parse(File(head, name, media_type_of(name, head)), LIMITS)
    assert failure.value.reason is reason
    assert says in failure.value.message


@pytest.mark.parametrize("name", ["comments.xml", "comments.txt", "comments.svg"])
def test_many_comments_take_no_time(name: str) -> None:
    began = time.process_time()
    media_type_of(name, b"<!---->" * 1000)
    assert time.process_time() - began < 1
