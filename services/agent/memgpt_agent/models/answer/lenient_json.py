"""JSON as models write it: with single quotes, trailing commas, bare keys, line breaks in strings, Python's constants.

A text that ends before its value does is rejected, although libraries would complete it: half of a message must not be
taken for a whole one. Nothing is executed.
"""

from __future__ import annotations

import json
import re
from typing import Any

_MAX_DEPTH = 64
_MAX_DIGITS = 1000
_SPACE = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_BARE = re.compile(r"[A-Za-z_$][\w$.-]*")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_CONSTANTS = {"true": True, "false": False, "null": None, "None": None, "True": True, "False": False}
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"} | {char: char for char in "/\\\"'`\n"}
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_QUOTES = {'"': '"', "'": "'", "“": "”", "`": "`"}
_ESCAPED = re.compile(r'\{\s*\\"')
_FOLLOWS_STRING = re.compile(r"\s*(?:[,}\]:]|\Z)")


def decode(text: str, start: int = 0) -> tuple[Any, int]:
    """Return the JSON value that begins at ``start``, strictly read if possible, and where it ends.

    Raises:
        ValueError: There is no complete value.
    """
    try:
        return json.JSONDecoder(strict=False).raw_decode(text, start)
    except ValueError:
        return _Decoder(text).value(start, 0)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_object(text: str) -> dict[str, Any] | None:
    """Return the object of a call's arguments, repaired where that is safe; None if there is no complete one.

    Also accepts an object inside a fence or before stop tokens, and one that was written as a JSON string, perhaps
    without its quotation marks.
    """
    begin = text.find("{")
    quoted = text.lstrip()[:1] == '"'
    if begin < 0 and not quoted:
        return None
    try:
        if quoted:
            inner = json.loads(text, strict=False)
            return read_object(inner) if isinstance(inner, str) and len(inner) < len(text) else None
        value, _ = decode(text, begin)
    except (ValueError, RecursionError):
        return read_object(f'"{text.strip()}"') if not quoted and _ESCAPED.match(text, begin) else None
    return value if isinstance(value, dict) else None


def unescaped(char: str) -> str:
    """Return what a backslash and a character stand for, other than ``u``."""
    # Before most characters the backslash itself is meant: regular expressions, formulas, paths.
    return _ESCAPES.get(char, f"\\{char}")


class _Decoder:
    def __init__(self, text: str) -> None:
        self._text = text

    def value(self, place: int, depth: int) -> tuple[Any, int]:
        place = self._skip(place)
        mark = self._text[place : place + 1]
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        if mark == "{":
            return self._object(place + 1, depth)
        if mark == "[":
            return self._list(place + 1, depth)
        if mark in _QUOTES and mark:
            return self._string(place)
        return self._plain(place)

    def _skip(self, place: int) -> int:
        match = _SPACE.match(self._text, place)
        return place if match is None else match.end()

    def _object(self, place: int, depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        while True:
            place = self._skip(place)
            mark = self._text[place : place + 1]
            if mark == "}":
                return found, place + 1
            if mark == ",":
                place += 1
                continue
            key, place = self._key(place)
            place = self._skip(place)
            if self._text[place : place + 1] not in (":", "="):
                raise ValueError(f"no colon at {place}")
            found[key], place = self.value(place + 1, depth + 1)
            place = self._after(place, "}")

    def _key(self, place: int) -> tuple[str, int]:
        if self._text[place : place + 1] in _QUOTES:
            return self._string(place)
        match = _BARE.match(self._text, place)
        if match is None:
            raise ValueError(f"no key at {place}")
        return match[0], match.end()

    def _list(self, place: int, depth: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        while True:
            place = self._skip(place)
            mark = self._text[place : place + 1]
            if mark == "]":
                return found, place + 1
            if mark == ",":
                place += 1
                continue
            one, place = self.value(place, depth + 1)
            found.append(one)
            place = self._after(place, "]")

    def _after(self, place: int, end: str) -> int:
        place = self._skip(place)
        if self._text[place : place + 1] not in (",", end):
            raise ValueError(f"no comma at {place}")
        return place

    def _string(self, place: int) -> tuple[str, int]:
        end_mark = _QUOTES[self._text[place]]
        if self._text.startswith(end_mark * 3, place):  # as in Python
            end_mark *= 3
        parts: list[str] = []
        place += len(end_mark)
        while place < len(self._text):
            char = self._text[place]
            end = place + len(end_mark)
            if char == "\\":
                piece, place = self._escaped(place + 1)
                parts.append(piece)
            elif self._text.startswith(end_mark, place) and _FOLLOWS_STRING.match(self._text, end):
                return "".join(parts), end
            else:
                # A quotation mark belongs to the text unless what follows it could follow a string.
                parts.append(char)
                place += 1
        raise ValueError("the text ends inside a string")

    def _escaped(self, place: int) -> tuple[str, int]:
        char = self._text[place : place + 1]
        if char == "u" and (match := _HEX.match(self._text, place + 1)):
            return chr(int(match[0], 16)), match.end()
        return unescaped(char), place + 1

    def _plain(self, place: int) -> tuple[Any, int]:
        if match := _NUMBER.match(self._text, place):
            try:
                return json.loads(match[0]), match.end()
            except ValueError:
                sign, digits = match[0].startswith("-"), match[0].lstrip("+-")
                if digits.isdecimal() and len(digits) < _MAX_DIGITS:
                    return -int(digits) if sign else int(digits), match.end()
                return float(match[0]), match.end()
        match = _BARE.match(self._text, place)
        if match is None or match[0] not in _CONSTANTS:
            raise ValueError(f"no value at {place}")
        return _CONSTANTS[match[0]], match.end()
