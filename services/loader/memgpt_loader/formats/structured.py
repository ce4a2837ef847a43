"""JSON and JSON lines: a line for each value, with the path to it; records are set apart by blank lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from memgpt_loader import text
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.spec import File, Format, Limits, PageText, Parsed, broken, flowing

JSON = "application/json"
JSONL = "application/jsonl"

_MOST_DEPTH = 200


def parse(file: File, limits: Limits) -> Parsed:
    """Opens a JSON document, or a file with one to a line."""
    if file.media_type == JSONL:
        return Parsed(1, _records(file))
    return Parsed(1, _document(file))


def _document(file: File) -> Iterator[PageText]:
    source = text.decode(file.read())
    try:
        value = _decoded(source)
    except ValueError as error:
        lines = [line for line in source.split("\n", 2) if line.strip()]
        if len(lines) > 1 and _is_json(lines[0]):  # JSON lines under another name
            return _records(file)
        raise broken("The JSON document", error) from error
    del source
    return flowing("\n\n".join(_record(each) for each in value) if isinstance(value, list) else _record(value))


def _records(file: File) -> Iterator[PageText]:
    size = number = 0
    any_text = False
    pending: list[str] = []
    for line in _lines(file):
        number += 1
        if not line.strip():
            continue
        try:
            record = _record(_decoded(line))
        except ValueError as error:
            raise broken(f"Line {number:,} of the JSON lines", error) from error
        if not record:
            continue
        pending.append(record)
        size += len(record) + 2
        if size >= text.BLOCK_CHARS:
            yield PageText(0, "\n\n".join([*pending, ""]))
            any_text, size, pending = True, 0, []
    if pending or not any_text:
        yield from flowing("\n\n".join(pending))


def _lines(file: File) -> Iterator[str]:
    rest = ""
    for block in text.blocks(file.open()):
        *lines, rest = (rest + block).split("\n")
        yield from lines
    yield rest


def _is_json(line: str) -> bool:
    try:
        _decoded(line)
    except ValueError:
        return False
    return True


def _decoded(source: str) -> Any:
    try:
        return json.loads(source, parse_int=str, parse_float=str)  # numbers as they are written, however long
    except RecursionError:
        raise _too_deep() from None


def _record(value: Any) -> str:
    return "\n".join(_flat(value, "", 0))


def _flat(value: Any, path: str, depth: int) -> Iterator[str]:
    if depth > _MOST_DEPTH:
        raise _too_deep()
    match value:
        case dict():
            for key, each in value.items():
                yield from _flat(each, f"{path}.{key}" if path else str(key), depth + 1)
        case list() if all(not isinstance(each, dict | list) for each in value):
            if value:
                yield _line(path, ", ".join(_scalar(each) for each in value))
        case list():
            for number, each in enumerate(value, start=1):
                yield from _flat(each, f"{path}[{number}]", depth + 1)
        case None | "":
            pass
        case _:
            yield _line(path, _scalar(value))


def _line(path: str, value: str) -> str:
    return f"{path}: {value}" if path else value


def _scalar(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value)


def _too_deep() -> FileFailure:
    return FileFailure(
        FailureReason.TOO_LARGE,
        f"The JSON is nested more than {_MOST_DEPTH} deep, as bombs are. Flatten it, or load it as text.",
    )


FORMAT = Format(
    name="JSON document",
    media_types={JSON: (".json",), JSONL: (".jsonl", ".ndjson")},
    parse=parse,
    reads="values, each with its path",
    omits="records that cannot be parsed",
)
