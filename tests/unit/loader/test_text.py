from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.text import decode

TEXT = "Grüße, 世界 🧬\nsecond line"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
    ],
)
def test_encodings_with_a_mark_and_line_ends(data: bytes) -> None:
    assert decode(data) == TEXT


def test_a_stray_control_vanishes() -> None:
    assert decode(b"a" * 500 + b"\x07 bell") == "a" * 500 + " bell"


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [
        (b"", FailureReason.EMPTY, "white space"),
        (b" \n\t ", FailureReason.EMPTY, "white space"),
        (codecs.BOM_UTF8, FailureReason.EMPTY, "white space"),
        ("Grüße".encode("latin-1"), FailureReason.UNSUPPORTED, "from byte 2 on. Save it as UTF-8"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8", FailureReason.UNSUPPORTED, "UTF-16"),
        (b"abc\x00def", FailureReason.UNSUPPORTED, "binary"),
        (b"\x01\x02\x03 text", FailureReason.UNSUPPORTED, "binary"),
    ],
)
def test_what_is_no_text(data: bytes, reason: FailureReason, says: str) -> None:
    with pytest.raises(FileFailure) as failure:
        decode(data)
    assert failure.value.reason is reason
    assert says in failure.value.message


@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_a_typed_failure(data: bytes) -> None:
    try:
        text = decode(data)
    except FileFailure:
        pass
    else:
        assert text.strip()
        text.encode("utf-8")
        assert "\x00" not in text
