"""Names that people give to what they make: two that look alike are the same, and one that is there can be seen."""

from __future__ import annotations

import unicodedata

from memgpt_runtime.errors import invalid

_UNSEEN = {"Cc": "a control character", "Cf": "an invisible character", "Zl": "a line break", "Zp": "a line break"}
"""General categories of Unicode; bidirectional marks and zero-width characters are among Cf."""

_BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Letters and marks that show nothing."""

_JOINERS = "\u200c\u200d"


def check_name(field: str, name: str) -> None:
    """Refuses a name that is blank, or that does not show what it is.

    Raises:
        InvalidArgument: It says of `field` what is wrong.
    """
    if not name.strip():
        raise invalid(field, f"{field} must not be blank; give it a name")
    if name != name.strip():
        raise invalid(field, f"{field} must not begin or end with white space; remove it")
    for index, character in enumerate(name):
        what = _UNSEEN.get(unicodedata.category(character), "")
        if character in _BLANKS:
            what = "an invisible character"
        elif _never_a_character(ord(character)):
            what = "what is no character"
        if what and not _joins(name, index):
            raise invalid(field, f"{field} must not hold {what} (U+{ord(character):04X}, at {index + 1}); remove it")


def _never_a_character(code: int) -> bool:
    """Whether it is one of the 66 that Unicode gives to none, ever; those not given yet may be in a newer version."""
    return 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE


def _joins(name: str, index: int) -> bool:
    """Whether it is a joiner between what it may join: emoji, and the letters of Persian or Indian words."""
    around = name[index - 1 : index] + name[index + 1 : index + 2]
    return (
        name[index] in _JOINERS
        and len(around) == 2
        and all(not each.isascii() and unicodedata.category(each) not in {*_UNSEEN, "Zs"} for each in around)
    )
