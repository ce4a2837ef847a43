from __future__ import annotations

import codecs
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgpt_loader.decoding import blocks, decode
from memgpt_loader.failures import FailureReason, FileFailure

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


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("shift_jis", "これは日本語の文章です。検索できるはずです。"),
        ("euc_jp", "これは日本語の文章です。検索できるはずです。"),
        ("iso2022_jp", "これは日本語の文章です。検索できるはずです。"),
        ("gb18030", "这是一个中文文本。搜索应该能找到它。"),
        ("big5", "這是一個中文文本。搜尋應該能找到它。"),
        ("euc_kr", "이것은 한국어 문장입니다. 검색할 수 있어야 합니다."),
        ("cp1251", "Это русский текст. Поиск должен его найти."),
        ("koi8_r", "Это русский текст. Поиск должен его найти."),
        ("latin-1", "Grüße aus Köln"),
        ("cp1252", "Le café est très agréable; “voilà”, dit-il à huit heures."),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy."),
        ("cp1253", "Αυτό είναι ένα ελληνικό κείμενο."),
        ("cp1256", "هذا نص عربي يجب أن يجده البحث."),
        ("utf-16-le", "Without a mark"),
        ("utf-16-be", "Without a mark, für alle"),
    ],
)
@pytest.mark.parametrize("times", [1, 5000])
def test_encodings_without_a_mark(encoding: str, text: str, times: int) -> None:
    whole = (text + "\n") * times
    assert decode(whole.encode(encoding)) == whole


def test_what_is_declared_is_believed_if_it_fits() -> None:
    data = "Grüße, łódź".encode("iso8859_2")
    assert decode(data, "iso8859_2") == "Grüße, łódź"
    assert decode("Grüße".encode(), "iso8859_2") == "Grüße"
    assert decode("Grüße aus Köln".encode("latin-1"), "rot13") == "Grüße aus Köln"


def test_blocks_are_the_text_cut_between_lines() -> None:
    text = "".join(f"Line {n}, für alle.\r\n" for n in range(120_000))
    pieces = list(blocks(io.BytesIO(text.encode())))
    assert len(pieces) > 1
    assert all(piece.endswith("\n") for piece in pieces)
    assert "".join(pieces) == text.replace("\r\n", "\n")


def test_a_stray_control_vanishes() -> None:
    assert decode(b"a" * 500 + b"\x07 bell") == "a" * 500 + " bell"


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [
        (b"", FailureReason.EMPTY, "white space"),
        (b" \n\t ", FailureReason.EMPTY, "white space"),
        (codecs.BOM_UTF8, FailureReason.EMPTY, "white space"),
        (b"\xff" * 500, FailureReason.UNSUPPORTED, "not text in any encoding"),
        (bytes(range(1, 256)) * 20, FailureReason.UNSUPPORTED, "not text in any encoding"),
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


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("cp1251", "Корабль пришёл в порт рано утром и стоит у причала."),
        ("cp932", "船は朝早く港に着いた。乗客は全員無事だった。"),
        ("cp1250", "Loď přijela do přístavu ve čtvrtek, kapitán řekl: „žádné zboží“."),
    ],
)
@pytest.mark.parametrize("few", ["", "x" * 200_000], ids=["lines", "one line"])
def test_the_encoding_of_text_that_begins_with_ascii(encoding: str, words: str, few: str) -> None:
    source = few + "a line of plain text\n" * 5000 + f"{words}\n" * 20 + "plain again\n" * 50_000 + f"{words}\n"
    assert decode(source.encode(encoding)) == source
