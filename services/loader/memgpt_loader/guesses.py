"""Which encoding bytes are probably in that are not UTF-8, and say nothing about themselves."""

from __future__ import annotations

from dataclasses import dataclass

# Supersets stand for what they contain: windows-1252 for Latin-1, GB18030 for GBK and GB2312, CP932 for Shift-JIS,
# CP949 for EUC-KR. Among equally good guesses the first is taken. So what has fewer common characters comes first: what
# keeps to the rows of Hangul is far likelier Korean than Chinese.
_OF_TWO_BYTES = ("cp949", "gb18030", "euc_jp", "cp932", "big5")
_OF_ONE_BYTE = ("cp1252", "cp1251", "koi8_r", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp874")
_MOST_CHAOS = 0.2
"""Above this measure of unlikely characters (from 0 to 1) a guess at an encoding of one byte is not believed."""
_LEAST_COMMON = 0.9
"""From this fraction of common characters on a guess at an encoding of two bytes is believed at once."""
_FEWEST_PAIRS = 3


@dataclass(frozen=True, slots=True)
class _Rows:
    """Where the common characters of an encoding of two bytes lie: its script, its punctuation, and level 1 of Han."""

    leads: tuple[tuple[int, int], ...]
    """Ranges of the first byte."""
    trail: int
    """The least second byte."""


# By the standards' rows: JIS X 0208, GB 2312, Big5, KS X 1001. Kana in GB 2312 do not count.
_COMMON = {
    "cp932": _Rows(((0x81, 0x83), (0x88, 0x97)), 0x40),
    "euc_jp": _Rows(((0xA1, 0xA1), (0xA4, 0xA5), (0xB0, 0xCF)), 0xA1),
    "gb18030": _Rows(((0xA1, 0xA1), (0xA3, 0xA3), (0xB0, 0xD7)), 0xA1),
    "big5": _Rows(((0xA1, 0xA1), (0xA4, 0xC6)), 0x40),
    "cp949": _Rows(((0xA1, 0xA1), (0xB0, 0xC8)), 0xA1),
}


def guesses(sample: bytes) -> list[str]:
    """Encodings, the likeliest first.

    Text in an encoding of two bytes is told by its structure: hardly any other text falls into pairs of bytes that are
    all common characters. The rest is left to charset-normalizer.

    Args:
        sample: The beginning of the text, not broken off within a character.
    """
    common = {name: _common(sample, name) for name in _OF_TWO_BYTES}
    found = sorted((name for name in common if common[name] >= _LEAST_COMMON), key=lambda name: -common[name])
    return found or _by_statistics(sample)


def _common(sample: bytes, encoding: str) -> float:
    """Which fraction of the characters beyond ASCII is common; 0 if there are few, or the bytes do not fit."""
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    rows = _COMMON[encoding]
    beyond = [char.encode(encoding) for char in text if not char.isascii()]
    common = sum(
        len(char) == 2 and char[1] >= rows.trail and any(first <= char[0] <= last for first, last in rows.leads)
        for char in beyond
    )
    return common / len(beyond) if len(beyond) >= _FEWEST_PAIRS else 0.0


def _by_statistics(sample: bytes) -> list[str]:
    from charset_normalizer import from_bytes  # 0.1 s, that UTF-8 can do without

    names = [*_OF_TWO_BYTES, *_OF_ONE_BYTE]
    found = [match for match in from_bytes(sample, cp_isolation=names) if match.chaos <= _MOST_CHAOS]
    found.sort(key=lambda match: (match.chaos, -match.coherence, names.index(match.encoding)))
    return [match.encoding for match in found if _worded(str(match))]


def _worded(text: str) -> bool:
    """Whether a text has at least as many letters, digits and spaces as other characters: noise has not."""
    return sum(char.isalnum() or char.isspace() for char in text) * 2 >= len(text) and len(set(text)) > 1
