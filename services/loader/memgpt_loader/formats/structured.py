"""JSON and JSON Lines: one line per value, with its path; records are separated by blank lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from memgpt_loader import decoding
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.spec import File, FileLimits, Format, PageText, Parsed, broken, flowing
from memgpt_loader.markup import one_line
from memgpt_loader.notes import NoteKind, Notes

JSON = "application/json"
JSONL = "application/jsonl"

_MOST_DEPTH = 200
_SEPARATOR = b"\x1e"
_READ_BYTES = 1024 * 1024


def _parse(file: File, limits: FileLimits) -> Parsed:
    """Open a JSON document or a JSON Lines file."""
    notes = Notes()
    with file.open() as stream:
        is_sequence = stream.read(1) == _SEPARATOR
    if is_sequence:
        return Parsed(1, _records(_sequence(file), notes), notes)
    return Parsed(
        1, _records(_lines(file, notes), notes) if file.media_type == JSONL else _document(file, notes), notes
    )


def _document(file: File, notes: Notes) -> Iterator[PageText]:
    source = decoding.decode(file.read(), notes=notes)
    comments: list[str] = []
    try:
        values = [_decoded(source)]
    except ValueError as error:
        lines = [line for line in source.split("\n", 2) if line.strip()]
        if len(lines) > 1 and _is_json(lines[0]):  # JSON Lines with another extension
            return _records(_lines(file, notes), notes)
        values = _several(source) or _several(_plain(source, comments))
        if not values:
            raise broken("the JSON document", error) from error
    del source
    if len(values) == 1 and type(values[0]) is list:
        values = values[0]
    return flowing("\n\n".join([*map(_record, values), *filter(None, ["\n".join(comments)])]))


def _several(source: str) -> list[Any]:
    """Return the consecutive JSON values of a file; none if it contains anything else."""
    values, at = [], 0
    while (at := _NOT_BLANK.search(source, at).start()) < len(source):  # type: ignore[union-attr]
        try:
            value, at = _DECODER.raw_decode(source, at)
        except ValueError:
            return []
        except RecursionError:
            raise _too_deep() from None
        values.append(value)
    return values


def _plain(source: str, comments: list[str]) -> str:
    """Convert JSON5 (comments, trailing commas, single quotes, bare names) to JSON.

    Args:
        source: The document.
        comments: Receives its comments.
    """

    def converted(match: re.Match[str]) -> str:
        if match["comment"] is not None and (words := one_line(match["comment"].strip("/*# \t\n"))):
            comments.append(f"Comment: {words}")
        return _as_json(match)

    return _TRAILING.sub(lambda match: match[1] or "", _TOKEN.sub(converted, source))


def _as_json(match: re.Match[str]) -> str:
    comment, single, name = match["comment"], match["single"], match["name"]
    if comment is not None:
        return " "
    if single is not None:
        return json.dumps(single.replace("\\'", "'"), ensure_ascii=False)
    if name is not None and name not in ("true", "false", "null", "NaN", "Infinity"):
        return json.dumps(name, ensure_ascii=False)
    return match.group()


def _records(sources: Iterable[tuple[str, str | bytes]], notes: Notes) -> Iterator[PageText]:
    """Yield the text of records.

    Args:
        sources: The records as JSON, each with its place for people; blank ones are skipped.
        notes: Receives the places of records that cannot be parsed.
    """
    size = bad = 0
    first: ValueError | None = None
    any_text = any_value = False
    pending: list[str] = []
    for place, source in sources:
        if not source.strip():
            continue
        try:
            record = _record(_decoded(source.decode() if isinstance(source, bytes) else source))
        except ValueError as error:
            bad += 1
            notes.add(NoteKind.BAD_RECORD, place)
            first = first or error
            continue
        any_value = True
        if not record:
            continue
        pending.append(record)
        size += len(record) + 2
        if size >= decoding.BLOCK_CHARS:
            yield PageText(0, "\n\n".join([*pending, ""]))
            any_text, size, pending = True, 0, []
    if bad and not any_value:
        raise broken("every line or record of the file", first)
    if pending or not any_text:
        yield from flowing("\n\n".join(pending))


def _lines(file: File, notes: Notes) -> Iterator[tuple[str, str]]:
    rest = ""
    number = 0
    for block in decoding.blocks(file.open(), notes=notes):
        *lines, rest = (rest + block).split("\n")
        for line in lines:
            number += 1
            yield f"line {number:,}", line
    yield f"line {number + 1:,}", rest


def _sequence(file: File) -> Iterator[tuple[str, bytes]]:
    """Yield the records of a JSON text sequence (RFC 7464), each of which begins with a record separator."""
    rest = b""
    number = 0
    with file.open() as stream:
        while data := stream.read(_READ_BYTES):
            *records, rest = (rest + data).split(_SEPARATOR)
            for record in records:
                yield f"record {number:,}", record
                number += 1
    yield f"record {number:,}", rest


def _is_json(line: str) -> bool:
    try:
        _decoded(line)
    except ValueError:
        return False
    return True


def _decoded(source: str) -> Any:
    try:
        return json.loads(source, parse_int=str, parse_float=str, object_pairs_hook=_pairs)
    except RecursionError:
        raise _too_deep() from None


class _Pairs(list[tuple[str, Any]]):
    """An object with duplicate keys, kept as pairs."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Pairs:
    unique = dict(pairs)
    return unique if len(unique) == len(pairs) else _Pairs(pairs)


_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, object_pairs_hook=_pairs)  # keep numbers as written
_NOT_BLANK = re.compile(r"[^\s,\x1e]|\Z")
_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|(?P<comment>//[^\n]*|/\*.*?\*/|\#[^\n]*)|\'(?P<single>(?:[^\'\\]|\\.)*)\'|(?P<name>[^\W\d][\w$]*)(?=\s{0,100}:)'
    r"|[^\s\w\"'/#]+|\s+|\w+|.",
    re.DOTALL,
)
_TRAILING = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])')


def _record(value: Any) -> str:
    return "\n".join(_flat(value, "", 0))


def _flat(value: Any, path: str, depth: int) -> Iterator[str]:
    if depth > _MOST_DEPTH:
        raise _too_deep()
    match value:
        case dict():
            yield from _members(value.items(), path, depth)
        case _Pairs():
            yield from _members(value, path, depth)
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


def _members(pairs: Iterable[tuple[str, Any]], path: str, depth: int) -> Iterator[str]:
    for key, each in pairs:
        yield from _flat(each, f"{path}.{key}" if path else str(key), depth + 1)


def _line(path: str, value: str) -> str:
    return f"{path}: {value}" if path else value


def _scalar(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value)


def _too_deep() -> FileFailure:
    return FileFailure(
        FailureReason.TOO_LARGE,
        f"the JSON is nested more than {_MOST_DEPTH} levels deep; flatten it, or load it as text",
    )


FORMAT = Format(
    name="JSON document",
    media_types={JSON: (".json", ".geojson", ".jsonc", ".json5"), JSONL: (".json-seq", ".jsonl", ".ndjson")},
    parse=_parse,
    reads="every value with its path, including several documents or a text sequence in one file, comments, and "
    "repeated keys",
    omits="records that cannot be parsed",
)
