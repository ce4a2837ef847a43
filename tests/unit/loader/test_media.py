from __future__ import annotations

import codecs

import pytest
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.media import MARKDOWN, PDF, PLAIN, media_type_of


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
        ("utf32.txt", codecs.BOM_UTF32_BE + "text".encode("utf-32-be"), PLAIN),
    ],
)
def test_content_first_then_name(name: str, head: bytes, expected: str) -> None:
    assert media_type_of(name, head) == expected


@pytest.mark.parametrize(
    ("name", "head", "reason", "says"),
    [
        ("a.pdf", b"", FailureReason.EMPTY, "downloaded"),
        ("a.pdf", b"<html>", FailureReason.BROKEN, "no PDF header"),
        ("a.pdf", b"PK\x03\x04..", FailureReason.BROKEN, "ZIP"),
        ("a.txt", b"\x89PNG....", FailureReason.UNSUPPORTED, "PNG"),
        ("a.txt", b"ab\x00\x01\x02", FailureReason.UNSUPPORTED, "binary"),
        ("a.docx", b"PK\x03\x04..", FailureReason.UNSUPPORTED, "office document"),
        ("a.py", b"import os", FailureReason.UNSUPPORTED, "'.py'"),
        ("Makefile", b"all:", FailureReason.UNSUPPORTED, "no extension"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(name: str, head: bytes, reason: FailureReason, says: str) -> None:
    with pytest.raises(FileFailure) as failure:
        media_type_of(name, head)
    assert failure.value.reason is reason
    assert says in failure.value.message
