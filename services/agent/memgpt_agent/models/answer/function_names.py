"""Names of functions as models write them: ``functions.send_message``, ``sendMessage``, ``send_message:0``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from memgpt_agent.functions import Function

MAX_NAME = 64
_SUFFIX = re.compile(r"(?::\d+|\(\)|<\|.*|\s.*)\Z", re.DOTALL)
_PREFIX = re.compile(r".*[.:/]")
_WORD = re.compile(r"\w+")
_FAMILY = re.compile(r"(?:\w+__|(?:functions?|tools?|default_api|api|call)_)(?=\w)")
_ODD = re.compile(r"[^a-z0-9]")


class FunctionNames:
    """The functions that may be called, found by any spelling of their names."""

    def __init__(self, functions: Sequence[Function]) -> None:
        self.by_name = {function.name: function for function in functions}
        plain: dict[str, str] = {}
        for name in self.by_name:
            # Two functions whose names differ by case alone are told apart by their exact names only.
            key = _plain(name)
            plain[key] = "" if key in plain else name
        self._plain = plain

    def known(self, written: str) -> str:
        """Return the name of the function that is meant; empty if there is none."""
        text = written.strip().strip("\"'`*<>")
        for candidate in (text, _SUFFIX.sub("", text), _PREFIX.sub("", _SUFFIX.sub("", text))):
            if candidate in self.by_name:
                return candidate
            if found := self._plain.get(_plain(candidate), ""):
                return found
        return ""

    def spelled(self, written: str, *, bare: bool = False) -> str:
        """Return the name of the function that is meant, else the name as it was written, cut to a bound.

        Args:
            written: The name.
            bare: Whether the call has no arguments: they may be in the name, which then stays whole.
        """
        if bare and not self.known(written) and any(mark in written for mark in "({"):
            return written
        return self.known(written) or self._inside(written) or written.strip()[:MAX_NAME]

    def _inside(self, written: str) -> str:
        """Return the only function that a text names, perhaps after a prefix; empty if there is none."""
        words = [word for text in _WORD.findall(written) for word in (text, _FAMILY.sub("", text))]
        found = set(filter(None, map(self.known, words)))
        return found.pop() if len(found) == 1 else ""


def _plain(name: str) -> str:
    return _ODD.sub("", name.lower())
