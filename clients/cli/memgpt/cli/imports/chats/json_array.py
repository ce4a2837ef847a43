"""Reading of a large JSON array, one element at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from memgpt.cli.errors import CliError
from memgpt.cli.imports.bounded import MAX_LINE, parse_json, read_lines

_CHUNK = 1 << 20
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{}]', re.DOTALL)
"""A string, a bracket, or the quote of a string that does not end here."""


def read_array(file: BinaryIO, name: str) -> Iterator[Any]:
    """Yield the objects of a JSON array, or of JSON lines.

    Args:
        file: A seekable or other binary file, at its start.
        name: How errors call it.

    Raises:
        CliError: It is neither, an element is over 32 MiB, or `parse_json` refuses one.
    """
    stripped = b""
    while not stripped and (head := file.read(_CHUNK)):
        stripped = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if stripped[:1] == b"[":
        yield from _elements(file, stripped[1:], name)
    elif stripped[:1] == b"{":
        yield from read_lines(cast("BinaryIO", _Prefixed(stripped, file)), name)
    else:
        raise CliError(f"{name} is neither a JSON array nor JSON lines")


class _Prefixed:
    """The rest of a file with what was already read of it."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head, self._file = head, file

    def readline(self, size: int) -> bytes:
        end = self._head.find(b"\n") + 1 or len(self._head)
        line, self._head = self._head[: min(end, size)], self._head[min(end, size) :]
        if line.endswith(b"\n") or len(line) == size:
            return line
        return line + self._file.readline(size - len(line))


def _elements(file: BinaryIO, buffer: bytes, name: str) -> Iterator[Any]:
    depth = position = start = count = 0
    while True:
        token = _TOKEN.search(buffer, position)
        if token is None or token[0] == b'"':
            # What stands before the element is not needed any more, and a string is read again from its start.
            kept = start if depth else (token.start() if token else len(buffer))
            position = (token.start() if token else len(buffer)) - kept
            buffer, start = buffer[kept:], 0
            if len(buffer) > MAX_LINE:
                raise _too_large(name, count + 1)
            more = file.read(max(_CHUNK, len(buffer)))
            if not more:
                raise CliError(f"{name} ends within the array; it is incomplete")
            buffer += more
            continue
        position = token.end()
        if token[0] in (b"[", b"{"):
            if not depth:
                start = token.start()
            depth += 1
        elif token[0] in (b"]", b"}"):
            if not depth:
                return
            depth -= 1
            if not depth:
                count += 1
                if position - start > MAX_LINE:
                    raise _too_large(name, count)
                yield parse_json(buffer[start:position], f"{name}, element {count}")


def _too_large(name: str, number: int) -> CliError:
    return CliError(f"{name}: element {number} is larger than {MAX_LINE >> 20} MiB")
