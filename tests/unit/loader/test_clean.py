from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgpt_loader.formats.pdf.cleaning import PageCleaner


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("revolution-\nized AI", "revolutionized AI"),
        ("revolution\u00ad\nized", "revolutionized"),
        ("a soft\u00adhyphen", "a softhyphen"),
        ("Jean-\nLuc", "Jean-Luc"),
        ("pages 3-\n5", "pages 3-\n5"),
        ("a long-term plan, long-\nterm", "a long-term plan, long-term"),
        ("a longterm and a long-term, long-\nterm", "a longterm and a long-term, longterm"),
        ("e\ufb03cient \ufb01le", "efficient file"),
        ("\U0001d465\U0001d466", "xy"),
        ("x² ½ Ｆ", "x² ½ Ｆ"),
        ("cafe\u0301", "café"),
        ("a\x00b\ud83dc\x07", "abc"),
        ("  a \u00a0 b\t c  \r\n  d \n\n\n\n e ", "a b c\nd\n\ne"),
        ("\n \x00 \n", ""),
    ],
)
def test_clean(raw: str, expected: str) -> None:
    assert PageCleaner().clean(raw) == expected


def test_what_an_earlier_page_spelled_out_decides() -> None:
    cleaner = PageCleaner()
    cleaner.clean("a multi-session chat")
    assert cleaner.clean("Multi-\nsession") == "Multi-session"
    assert cleaner.clean("single-\nsession") == "singlesession"


@given(st.text(st.characters(exclude_categories=[]), max_size=200))
def test_any_text_comes_out_encodable(raw: str) -> None:
    text = PageCleaner().clean(raw)
    text.encode("utf-8")
    assert "\x00" not in text
    assert text == text.strip()
