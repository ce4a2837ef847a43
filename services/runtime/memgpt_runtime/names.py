"""Rules for names chosen by people: names that look alike are equal, and every name is visible."""

from __future__ import annotations

import unicodedata

from memgpt_runtime import reasons

_UNSEEN = {"Cc": "a control character", "Cf": "an invisible character", "Zl": "a line break", "Zp": "a line break"}
"""General categories of Unicode; bidirectional marks and zero-width characters are among Cf."""

_BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Letters and marks without a visible glyph."""

_JOINERS = "\u200c\u200d"


def check_name(field: str, name: str) -> None:
    """Check a name.

    Raises:
        InvalidArgument: The name is blank, has white space at its ends, or contains invisible characters.
    """
    if not name.strip():
        raise reasons.invalid_field(f"{field} must not be blank; give it a name", field=field)
    if name != name.strip():
        raise reasons.invalid_field(f"{field} must not begin or end with white space; remove it", field=field)
    for index, character in enumerate(name):
        what = _UNSEEN.get(unicodedata.category(character), "")
        if character in _BLANKS:
            what = "an invisible character"
        elif _is_noncharacter(ord(character)):
            what = "a noncharacter code point"
        if what and not _joins(name, index):
            raise reasons.invalid_field(
                f"{field} must not contain {what} (U+{ord(character):04X} at position {index + 1}); remove it",
                field=field,
            )


def comparable(name: str) -> str:
    """Return a name in the form in which names are compared (NFC, https://unicode.org/reports/tr15/).

    macOS, for example, writes accents as characters of their own.
    """
    return unicodedata.normalize("NFC", name)


def _is_noncharacter(code: int) -> bool:
    """Whether a code point is a noncharacter. Unassigned ones are not: a newer version of Unicode may assign them."""
    return 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE


def _joins(name: str, index: int) -> bool:
    """Whether the character is a joiner in a valid place: between emoji, or letters of Persian or Indian words."""
    around = name[index - 1 : index] + name[index + 1 : index + 2]
    return (
        name[index] in _JOINERS
        and len(around) == 2
        and all(not each.isascii() and unicodedata.category(each) not in {*_UNSEEN, "Zs"} for each in around)
    )
