"""Reading of untrusted JSON within bounds of bytes, depth and count.

The bounds keep a file from taking the machine's memory: a JSON text of containers takes up to a hundred times its size
once it is parsed.
"""

from __future__ import annotations

import codecs
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from memgpt.cli.errors import CliError
from memgpt.cli.maintenance import STANDARD

MAX_FILE = 128 << 20
"""Maximum bytes of a file that is read as one JSON value."""

MAX_LINE = 32 << 20
"""Maximum bytes of a line of JSON."""

MAX_DEPTH = 128
"""Maximum nesting of lists and objects."""

_SQLITE = b"SQLite format 3\0"
_MAX_CONTAINERS = 2_000_000
_MAX_VALUES = 16_000_000


def read_json(path: Path, max_bytes: int = MAX_FILE) -> Any:
    """Return the JSON value in a file; ``-`` is standard input.

    Raises:
        CliError: The file is too large, or `parse_json` refuses it.
        OSError: It cannot be read.
    """
    data = read_bytes(path, max_bytes)
    if data.startswith(_SQLITE):
        raise CliError(f"{path} is a SQLite database; Letta's is read with `memgpt import letta --sqlite {path}`")
    return parse_json(data, str(path))


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file; ``-`` is standard input.

    Raises:
        CliError: The file has more than `max_bytes`.
        OSError: It cannot be read.
    """
    if path == STANDARD:
        data = sys.stdin.buffer.read(max_bytes + 1)
    else:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise CliError(f"{path} is larger than {max_bytes >> 20} MiB, the most that is read")
    return data


def read_lines(file: BinaryIO, name: str) -> Iterator[Any]:
    """Yield the JSON values of a file that has one per line; blank lines are skipped.

    Raises:
        CliError: A line is too long, or `parse_json` refuses it.
    """
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise CliError(f"{name}, line {number}: longer than {MAX_LINE >> 20} MiB")
        if line.strip():
            yield parse_json(line, f"{name}, line {number}")


def parse_json(data: bytes | str, name: str) -> Any:
    """Return a JSON value; strings have no lone surrogates, which UTF-8 cannot represent.

    Args:
        data: UTF-8 with or without a byte order mark, UTF-16 with one, as Windows redirects output, or text.
        name: What errors call it.

    Raises:
        CliError: It is not JSON, is nested too deeply, or has too many values.
    """
    try:
        text = data.decode(_encoding(data)) if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        raise CliError(f"{name}: not UTF-8 text, at byte {error.start}") from error
    containers = text.count("[") + text.count("{")
    if containers > _MAX_CONTAINERS or text.count(",") > _MAX_VALUES:
        raise CliError(f"{name}: more than {_MAX_CONTAINERS:,} lists and objects, or {_MAX_VALUES:,} values")
    try:
        value = _DECODER.decode(text)
    except RecursionError as error:
        raise _too_deep(name) from error
    except ValueError as error:  # also of integers with thousands of digits
        raise CliError(f"{name}: not valid JSON: {error}") from error
    if containers > MAX_DEPTH:
        _check_depth(value, name)
    return _without_surrogates(value) if "\\u" in text or "\\U" in text else value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text[:40])


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)


def _encoding(data: bytes) -> str:
    return "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def _too_deep(name: str) -> CliError:
    return CliError(f"{name}: nested more than {MAX_DEPTH} levels deep")


def _check_depth(value: Any, name: str) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        deeper: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                deeper += (item for item in each.values() if isinstance(item, (dict, list)))
            elif isinstance(each, list):
                deeper += (item for item in each if isinstance(item, (dict, list)))
        if not deeper:
            return
        level = deeper
    raise _too_deep(name)


def _without_surrogates(value: Any) -> Any:
    """Return a value whose strings are valid Unicode; depth is checked before."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): _without_surrogates(item) for key, item in value.items()}
    return value


def clean(text: str) -> str:
    """Return text with U+FFFD in place of lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
