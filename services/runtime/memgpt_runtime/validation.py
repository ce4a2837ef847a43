"""Validation of requests against their ``buf.validate`` constraints; the only module that uses protovalidate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import protovalidate
from memgpt.common.v1 import file_note_pb2

from memgpt_runtime import reasons
from memgpt_runtime.errors import FieldViolation

if TYPE_CHECKING:
    from google.protobuf.message import Message


_SIZE_RULES = ("string.max_bytes", "bytes.max_len")


def prepare() -> None:
    """Load the parser of rules, which takes a tenth of a second: the first call would wait for it."""
    protovalidate.collect_violations(file_note_pb2.FileNote())


def validate(message: Message) -> None:
    """Check a message; takes about 10 µs.

    Raises:
        InvalidArgument: A field is invalid; the error names each such field by its path, such as ``files[2].name``.
    """
    found = protovalidate.collect_violations(message)
    if not found:
        return
    violations = _one_per_field(_violation(message, violation) for violation in found)
    text = "; ".join(f"{each.field}: {each.description}" if each.field else each.description for each in violations)
    if all(violation.proto.rule_id in _SIZE_RULES for violation in found):
        error = reasons.too_large(text, field=violations[0].field, limit_bytes=_limit(found[0]))
        error.violations = tuple(violations)
        raise error
    raise reasons.invalid_fields(text, violations)


def _one_per_field(violations: Iterable[FieldViolation]) -> list[FieldViolation]:
    """Merge the violations of each field: a value may break several of its rules."""
    descriptions: dict[str, dict[str, None]] = {}
    for violation in violations:
        descriptions.setdefault(violation.field, {})[violation.description] = None
    return [FieldViolation(field, ", ".join(found)) for field, found in descriptions.items()]


def _limit(violation: protovalidate.Violation) -> int:
    return int(violation.rule_value)


def _violation(message: Message, violation: protovalidate.Violation) -> FieldViolation:
    path = _path(violation.proto)
    oneof = message.DESCRIPTOR.oneofs_by_name.get(path)
    if oneof is not None:  # protovalidate does not list the fields.
        return FieldViolation(path, f"set exactly one of {', '.join(field.name for field in oneof.fields)}")
    # For an unset field, protovalidate reports the pattern instead of saying that the field is missing.
    match violation.proto.rule_id, violation.field_value:
        case (("string.min_len" | "string.pattern"), ""):
            return FieldViolation(path, "must not be empty")
        case "enum.not_in", 0:
            return FieldViolation(path, "must be set")
    return FieldViolation(path, violation.proto.message or violation.proto.rule_id)


def _path(violation: protovalidate.ViolationPb) -> str:
    path = ""
    elements: Iterable[protovalidate.FieldPathElementPb] = violation.field.elements if violation.field else ()
    for element in elements:
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None:
            value = element.subscript.value
            path += f'["{value}"]' if isinstance(value, str) else f"[{value}]"
    return path
