"""Guess the encoding of bytes that are not UTF-8 and declare no encoding."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Supersets stand for what they contain: windows-1252 for Latin-1, GB18030 for GBK and GB2312, CP932 for Shift-JIS,
# CP949 for EUC-KR. Among equally good guesses the first is taken. So what has fewer common characters comes first: what
# keeps to the rows of Hangul is far likelier Korean than Chinese.
_OF_TWO_BYTES = ("cp949", "gb18030", "euc_jp", "cp932", "big5")
_OF_ONE_BYTE = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874"),
    *("iso8859-2", "iso8859-5", "iso8859-6", "iso8859-7", "iso8859-8", "iso8859-15", "koi8-r", "koi8-u"),
    *("cp437", "cp737", "cp850", "cp852", "cp855", "cp857", "cp862", "cp866", "cp1125", "kz1048"),
    *("mac-roman", "mac-cyrillic", "mac-greek", "mac-latin2", "mac-turkish"),
)
_RARE = (
    *("johab", "cp720", "cp775", "cp860", "cp861", "cp863", "cp864", "cp865", "cp869"),
    *("iso8859-3", "iso8859-4", "iso8859-10", "iso8859-14", "iso8859-16", "mac-iceland"),
)
"""Encodings that are taken only if they are clearly more likely than the others, which they resemble."""
_RARE_ADVANTAGE = 1.3
_SOME_LIKELIHOOD = 0.05
_RIVAL, _FAINT_RIVAL = 0.8, 0.5
"""A guess is uncertain if another one is at least this fraction as likely; the second applies to short texts."""
_MAC_SPACE = re.compile(rb"(?<=[\xc1-\xff])\xa0(?=[\xc1-\xff])")
_AS_ISO = bytes(byte & 0x7F if 0xA0 <= byte < 0xC0 else 0xC8 if byte > 0xF2 else byte for byte in range(256))
"""Mac Arabic is ISO-8859-6 with letters of Persian, and with spaces, signs and digits from right to left."""
_TWO_BYTES_OF_CHARDET = {
    "cp949": "cp949", "gb18030": "gb18030", "euc_jis_2004": "euc_jp", "cp932": "cp932", "big5hkscs": "big5hkscs",
}  # fmt: skip
_LEAST_COMMON = 0.9
"""A guess at a two-byte encoding is accepted at once from this fraction of common characters on."""
_FEWEST_PAIRS = 3
_MOST_OF_SHORT_TEXT = 8
"""Bytes beyond ASCII in a text that is too short for statistics."""
_SUPERSETS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "cp936": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "iso8859-9": "cp1254",
    "tis_620": "cp874",
    "iso8859-11": "cp874",
}


def superset(name: str) -> str:
    """The encoding that programs mean when they declare another one: windows-1252 by Latin-1, GB18030 by GB2312.

    Args:
        name: Name of the codec, as Python spells it.
    """
    return _SUPERSETS.get(name.replace("-", "_") if name.startswith(("shift", "euc", "tis")) else name, name)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a two-byte encoding that hold its common characters: its script, punctuation, and level 1 of Han."""

    leads: tuple[tuple[int, int], ...]
    """Ranges of the first byte."""
    trail: int
    """Lowest second byte."""


# By the standards' rows: JIS X 0208, GB 2312, Big5, KS X 1001. Kana in GB 2312 do not count.
_COMMON = {
    "cp932": _Rows(((0x81, 0x83), (0x88, 0x97)), 0x40),
    "euc_jp": _Rows(((0xA1, 0xA1), (0xA4, 0xA5), (0xB0, 0xCF)), 0xA1),
    "gb18030": _Rows(((0xA1, 0xA1), (0xA3, 0xA3), (0xB0, 0xD7)), 0xA1),
    "big5": _Rows(((0xA1, 0xA1), (0xA4, 0xC6)), 0x40),
    "cp949": _Rows(((0xA1, 0xA1), (0xB0, 0xC8)), 0xA1),
}


@dataclass(frozen=True, slots=True)
class Guess:
    """A candidate encoding."""

    name: str
    """Name of the codec."""
    certain: bool = True
    """Whether no other encoding that gives a different text is nearly as likely."""


def likely_encodings(sample: bytes) -> list[Guess]:
    """Return candidate encodings, the most likely first.

    Text in a two-byte encoding is recognized by its structure: hardly any other text consists of byte pairs that are
    all common characters. The rest is left to chardet.

    Args:
        sample: The beginning of the text; it must not end within a character.
    """
    common = {name: _common(sample, name) for name in _OF_TWO_BYTES}
    found = sorted((name for name in common if common[name] >= _LEAST_COMMON), key=lambda name: -common[name])
    if found:
        return [Guess(name) for name in found]
    return _western(sample) or _by_statistics(sample)


def is_hz(sample: bytes) -> bool:
    """Whether ASCII bytes are Chinese in HZ: pairs of letters between ``~{`` and ``~}``, most of them common ones."""
    pairs = b"".join(_HZ.findall(sample))
    common = sum(lead in (0x21, 0x23) or 0x30 <= lead <= 0x57 for lead in pairs[::2])
    return len(pairs) >= 2 * _FEWEST_PAIRS and common >= _LEAST_COMMON * len(pairs) / 2


_HZ = re.compile(rb"~\{((?:[\x21-\x77][\x21-\x7e])+)~\}")


def _western(sample: bytes) -> list[Guess]:
    """Return the encodings in which all letters and signs beyond ASCII have the neighbors that they have in Latin text.

    A few bytes in Latin text mislead statistics, which decide only if there are several such encodings.
    """
    count = len(_BEYOND_ASCII.findall(sample))
    if _is_natural(sample, "cp1252", _WESTERN):
        # "Straße" in cp850 reads "Straáe", which has the neighbors of "más".
        doubtful = count <= _MOST_OF_SHORT_TEXT and _is_natural(sample, "cp1252", _WESTERN_LETTERS)
        rivals = _OF_OLD_SYSTEMS.items() if doubtful else ()
        return [Guess("cp1252", certain=not any(_is_natural(sample, *rival) for rival in rivals))]
    if count < _FEWEST_PAIRS and _is_natural(sample, "cp1252", _FEW_LETTERS):
        return [Guess("cp1252", certain=False)]
    likely = _ROMANCE if _ELISION.search(sample) else _LIKELY_WESTERN
    if _is_natural(sample, "cp1252", likely):  # it is much more common than what else the bytes may be
        return [Guess("cp1252", certain=count > _MOST_OF_SHORT_TEXT)]
    if count > _MOST_OF_SHORT_TEXT:
        return []
    natural = [name for name, pattern in _OF_OLD_SYSTEMS.items() if _is_natural(sample, name, pattern)]
    if len(natural) == 1 and (count < _FEWEST_PAIRS or natural == ["mac-roman"]):
        certain = count >= _FEWEST_PAIRS and not _is_natural(sample, "cp1252", _FEW_LETTERS)
        return [Guess(natural[0], certain)]
    if natural or count <= _FEWEST_PAIRS:
        found = [each.name for each in _by_statistics(sample) if not natural or each.name in natural]
        return [Guess(name, certain=False) for name in found]
    return []


def _is_natural(sample: bytes, encoding: str, pattern: re.Pattern[str]) -> bool:
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return False
    return pattern.sub("", text).isascii()


def _common(sample: bytes, encoding: str) -> float:
    """Return the fraction of non-ASCII characters that are common; 0 if there are few, or the bytes do not fit."""
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    if _is_scattered(text):
        return 0.0
    rows = _COMMON[encoding]
    beyond = [char.encode(encoding) for char in text if not char.isascii()]
    common = sum(
        len(char) == 2 and char[1] >= rows.trail and any(first <= char[0] <= last for first, last in rows.leads)
        for char in beyond
    )
    return common / len(beyond) if len(beyond) >= _FEWEST_PAIRS else 0.0


def _is_scattered(text: str) -> bool:
    """Whether most characters beyond ASCII stand alone within Latin words, as umlauts do and no Han or kana."""
    runs = _RUN_BEYOND_ASCII.findall(text)
    return len(_ALONE_IN_WORD.findall(text)) * 2 > len(runs)


_RUN_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
_ALONE_IN_WORD = re.compile(r"(?<=[A-Za-z])[^\x00-\x7f](?![^\x00-\x7f])|(?<![^\x00-\x7f])[^\x00-\x7f](?=[a-z])")


def _by_statistics(sample: bytes) -> list[Guess]:
    found = _ranked(sample, (*_TWO_BYTES_OF_CHARDET, *_OF_ONE_BYTE, *_RARE))
    likely = [each for each in found if each[1] not in _RARE]
    rare = [each for each in found if each[1] in _RARE]
    if len(_MAC_SPACE.findall(sample)) >= _FEWEST_PAIRS:
        rare += [(each[0], "mac-arabic") for each in _ranked(sample.translate(_AS_ISO), ("iso8859-6",))]
    least = likely[0][0] * _RARE_ADVANTAGE if likely else 0.0
    ranked = [*sorted((each for each in rare if each[0] >= least), reverse=True)[:1], *likely]
    if not ranked:
        return []
    (best, name), *others = ranked
    text = sample.decode(name)
    others += [each for each in rare if each[1] != name]
    rival = max((other for other, each in others if sample.decode(each, "replace") != text), default=0.0)
    certain = rival < best * (_RIVAL if best >= _SOME_LIKELIHOOD else _FAINT_RIVAL)
    return [Guess(each, certain) for _, each in ranked]


def _ranked(sample: bytes, names: tuple[str, ...]) -> list[tuple[float, str]]:
    """Return the encodings that give words, each with its likelihood, the most likely first."""
    import chardet  # 0.1 s, skipped for UTF-8

    found = chardet.detect_all(sample, ignore_threshold=True, include_encodings=names, compat_names=False)
    guesses = [
        (float(each["confidence"]), _TWO_BYTES_OF_CHARDET.get(name, name))
        for each in found
        if (name := each["encoding"])
    ]
    return [(likelihood, name) for likelihood, name in guesses if _worded(sample, name)]


def _worded(sample: bytes, encoding: str) -> bool:
    """Whether bytes decode to words in an encoding. Noise does not, nor does text in a different encoding."""
    try:
        text = sample.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return False
    plain = sum(char.isalnum() or char.isspace() for char in text)
    if plain * 2 < len(text) or len(set(text)) < 2 or _CONTROL.search(text):
        return False
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    mixed = sum(_LATIN.search(word) is not None and _OTHER_SCRIPT.search(word) is not None for word in words)
    if encoding in _TWO_BYTES_OF_CHARDET.values() and _is_scattered(text):
        return False
    boxed = len(_BOXED.findall(text))
    signs = len(_SIGN_WITHIN.findall(text))
    return mixed * 10 <= len(words) and boxed * 20 <= len(text) and signs * 10 <= len(words)


_WORD = re.compile(r"\w+")
_CONTROL = re.compile("[\x80-\x84\x86-\x9f]")
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]")
_OTHER_SCRIPT = re.compile("[\u0370-\u03ff\u0400-\u052f\u0590-\u06ff\u0e00-\u0e7f]")
_SIGN_WITHIN = re.compile("(?<=[^\\W\\d_])[\u00a1-\u00ac\u00ae-\u00b6\u00b8-\u00bf](?=[^\\W\\d_])")
"""Signs within a word, which are letters of another encoding."""
_BOXED = re.compile("(?<=[^\\W\\d_A-Za-z])[\u2500-\u259f]|[\u2500-\u259f](?=[^\\W\\d_A-Za-z])")
"""Box-drawing characters within a word, which a wrong guess produces."""

# Letters and signs with the neighbors that they have in Latin text. Bytes of another encoding have other neighbors, as
# "Möwe" in cp850 reads "M”we", or are the same letters in cp1250. All others are left to statistics.
_SIGNS = (
    "|(?<![^\\W\\d_])[€£¥½¼¾§±×–—•](?![^\\W\\d_])"
    "|(?:(?<=[0-9])|(?<=\\bm)|(?<=\\b[ckdm]m))[²³](?!\\w)"
    "|°(?=[CF]?(?!\\w))|[©®™](?!\\w)"
    "|(?<![\\w])[‘“](?=\\w)|(?<=[a-z])’(?=[a-z])|(?<=[\\w.,!?])[’”](?!\\w)"
    "|(?<!\\w)„(?=\\w[^„“]*“)|(?<=[\\w.,!?])“(?!\\w)"
)


def _letters(lower: str, upper: str) -> str:
    return (
        f"(?<=[A-Za-z])[{lower}]{{1,2}}|[{lower.replace('ß', '')}]{{1,2}}(?=[A-Za-z])"
        f"|(?<![^\\W\\d_])[{upper}](?=[A-Za-z])|(?<=[A-Z])[{upper}](?![a-z])"
    )


_LETTERS_OF_WESTERN = _letters("áâäçéëíîóôöúüßàå", "ÁÂÄÇÉËÍÎÓÔÖÚÜÀÅ")
_WESTERN_LETTERS = re.compile(_LETTERS_OF_WESTERN)
_WESTERN = re.compile(_LETTERS_OF_WESTERN + _SIGNS)
_LIKELY_SIGNS = (
    f"{_SIGNS}|(?<=\\w)’|’(?=\\w)|(?<!\\w)[‘“‚„‹¿¡]|(?<!\\s)[’”‘“›](?!\\w)|(?<![^\\W\\d_])[†‡‰·](?![^\\W\\d_])"
    "|(?<![^\\W\\d_])[–—…«»]|[–—…«»](?![^\\W\\d_])|(?<=[A-Za-z]{2})[–—](?=[A-Za-z]{2}|[aAI]\\b)|[Œœ](?=[ui])"
    "|(?<=[«\\s])\u00a0|\u00a0(?=[»:;!?])"
)
"""Further signs, which may be letters of Macintoshes: “ñ” and “ó” of these are dashes, but seldom between words."""
_LIKELY_WESTERN = re.compile(_LETTERS_OF_WESTERN + _LIKELY_SIGNS)
_ROMANCE = re.compile(
    _letters("áâäçéëíîóôöúüßàåèêìïñòùû", "ÁÂÄÇÉËÍÎÓÔÖÚÜÀÅÈÊÌÏÑÒÙÛ") + _LIKELY_SIGNS + "|(?<!\\w)[àéèòÀÉÈÒ](?!\\w)"
)
_ELISION = re.compile(rb"[A-Za-z]\x92[A-Za-z\xc0-\xff]")
"""As in “l’été”; statistics take the sign for a letter. Languages with other letters at the same bytes have it less."""
_OF_OLD_SYSTEMS = {
    "mac-roman": re.compile(
        _letters("áâäçéëíîóôöúüßàåèêñìòùûïãõøæ", "ÁÂÄÇÉËÍÎÓÔÖÚÜÀÅÈÊÑÌÒÙÛÏÃÕØÆ")
        + _SIGNS
        + "|(?<!\\w)[àéèòó](?!\\w)|(?<!\\w)[«¿¡]|[»…](?!\\w)|(?<=[«\\s])\u00a0|\u00a0(?=[»:;!?])"
    ),
    "cp850": re.compile(_letters("áâäçéëíîóôöúüßàåèêñìòùûï", "ÁÂÄÇÉËÍÎÓÔÖÚÜÀÅÈÊÑÌÒÙÛÏ")),
}
_FEW_LETTERS = re.compile(
    "[à-öø-ÿšœž]|(?<![^\\W\\d_])(?:[À-ÖØ-ÞŠŒŽ](?=[^\\W\\d_])|[ÀÄÅÉÍÓÖÚÜ])|(?<=[A-Z])[À-ÖØ-ÞŠŒŽ](?![a-z])"
)
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
