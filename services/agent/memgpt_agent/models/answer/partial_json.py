"""Extraction of text from incomplete JSON, so that thoughts and messages are shown while the model writes.

A piece costs its own length, however much came before it. Libraries for partial JSON, such as jiter, read the text from
its beginning with every piece, and reject half of an escaped character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from memgpt_agent.functions import BUILT_IN
from memgpt_agent.functions.function import ABOUT_USER, INNER_THOUGHTS
from memgpt_agent.functions.send_message import SEND_MESSAGE
from memgpt_agent.models.answer.function_names import FunctionNames
from memgpt_agent.models.answer.lenient_json import unescaped
from memgpt_agent.models.answer.reasoning import ReasoningFilter
from memgpt_agent.models.base import DeltaKind, Sink

_NOTABLE = re.compile(r'["{}\[\],:]')
_END_OF_RUN = re.compile(r'["\\]')
_UNICODE_ESCAPE = 6

Path = tuple[str, ...]


class StringReader:
    """Reads a JSON object in pieces, and returns the new text of the strings in it.

    Text before the object, such as a fence, and text after it are skipped. Nothing is validated: for text that is not
    JSON the result is empty or arbitrary.
    """

    def __init__(self) -> None:
        self._path: list[str] = []
        # Whether each open container is an object; the current key is the last part of the path.
        self._objects: list[bool] = []
        self._in_string = False
        self._is_key = False
        self._key = ""
        self._escape = ""
        self._high = ""
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the object is complete."""
        return self._ended

    def feed(self, piece: str) -> Iterator[tuple[Path, str]]:
        """Yield the new text of every string value in ``piece``, with the keys that lead to it; ``[]`` is a list."""
        place = 0
        while place < len(piece) and not self._ended:
            if self._in_string:
                text, place = self._string(piece, place)
                if text and self._is_key:
                    self._key += text
                elif text:
                    yield tuple(self._path), text
            else:
                place = self._structure(piece, place)

    def _structure(self, piece: str, place: int) -> int:
        match = _NOTABLE.search(piece, place)
        if match is None:
            return len(piece)
        self._mark(match[0])
        return match.end()

    def _mark(self, mark: str) -> None:
        if not self._objects:
            if mark == "{":
                self._open(is_object=True)
        elif mark in "{[":
            self._open(is_object=mark == "{")
        elif mark in "}]":
            self._objects.pop()
            self._path.pop()
            self._ended = not self._objects
        elif mark == ",":
            self._is_key = self._objects[-1]
        elif mark == ":":
            self._path[-1], self._is_key = self._key, False
        else:
            self._in_string, self._key = True, ""

    def _open(self, *, is_object: bool) -> None:
        self._objects.append(is_object)
        self._path.append("" if is_object else "[]")
        self._is_key = is_object

    def _string(self, piece: str, place: int) -> tuple[str, int]:
        """Return the text up to the end of the string or of the piece, and where to continue."""
        found: list[str] = []
        while place < len(piece):
            if self._escape:
                self._escape += piece[place]
                place += 1
                found.append(self._unescaped())
                continue
            match = _END_OF_RUN.search(piece, place)
            end = len(piece) if match is None else match.start()
            found.append(piece[place:end])
            place = end + 1
            if match is None:
                break
            if match[0] == '"':
                self._in_string = False
                break
            self._escape = "\\"
        return "".join(found), min(place, len(piece))

    def _unescaped(self) -> str:
        """Return the escaped character, once the escape is complete."""
        escape = self._escape
        if escape[1] != "u":
            self._escape = ""
            return unescaped(escape[1])
        if len(escape) < _UNICODE_ESCAPE:
            return ""
        self._escape = ""
        try:
            code = int(escape[2:], 16)
        except ValueError:
            return ""
        # Two escapes make one character beyond the basic plane; half of one is never returned.
        if 0xD800 <= code < 0xDC00:
            self._high = chr(code)
            return ""
        if 0xDC00 <= code < 0xE000:
            pair, self._high = self._high + chr(code), ""
            return pair.encode("utf-16", "surrogatepass").decode("utf-16") if len(pair) > 1 else ""
        return chr(code)


class PartialCall:
    """Reads the JSON of one call as it comes, and passes on the new text of its thought and message."""

    def __init__(self, sink: Sink, names: FunctionNames | None = None) -> None:
        self._sink = sink
        self._names = names or FunctionNames(BUILT_IN)
        self._reader = StringReader()
        self._message = ReasoningFilter(in_message=True)
        self._name = ""
        self._unnamed: list[str] = []
        self._learns = False

    def arguments(self, name: str, piece: str) -> None:
        """Add to the arguments of the function ``name``, which include the thought."""
        for path, text in self._reader.feed(piece):
            if path == (INNER_THOUGHTS,):
                self._sink.delta(DeltaKind.THOUGHT, text)
            elif path == ("message",) and self._speaks(name):
                self._say(self._message.feed(text))
        self._finish()

    def answer(self, piece: str) -> None:
        """Add to an object that holds the thought and the call, in any order."""
        for path, text in self._reader.feed(piece):
            if path == (INNER_THOUGHTS,):
                self._sink.delta(DeltaKind.THOUGHT, text)
            elif path == (ABOUT_USER,):
                self._learns = self._learns or bool(text.strip())
            elif path in (("call", "function"), ("function",)):
                self._name += text
            elif path in (("call", "arguments", "message"), ("arguments", "message")):
                self._unnamed.append(text)
        # A fact is saved in a step before that of the reply, which is not sent if this fails.
        if self._unnamed and self._speaks(self._name) and not self._learns:
            self._say(self._message.feed("".join(self._unnamed)))
            self._unnamed.clear()
        self._finish()

    def _finish(self) -> None:
        """Pass on what was held back because it could have been a mark, once nothing can follow it."""
        if self._reader.ended:
            self._say(self._message.end())

    def _speaks(self, name: str) -> bool:
        return self._names.known(name) == SEND_MESSAGE.name

    def _say(self, text: str) -> None:
        if text:
            self._sink.delta(DeltaKind.MESSAGE, text)
