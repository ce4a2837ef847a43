"""Validation of requests: their ``buf.validate`` constraints, and what these cannot express.

The only module that uses protovalidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import protovalidate
from memgpt.common.v1 import file_note_pb2

from memgpt_runtime import reasons
from memgpt_runtime.errors import FieldViolation, InvalidArgument

if TYPE_CHECKING:
    from google.protobuf.message import Message


_SIZE_RULES = ("string.max_bytes", "bytes.max_len")


def prepare() -> None:
    """Load the parser of rules, which takes a tenth of a second: the first call would wait for it."""
    protovalidate.collect_violations(file_note_pb2.FileNote())


class Problems:
    """Collects what is wrong with a request, so that one error names all of it.

    Attributes:
        errors: One error for each problem.
    """

    def __init__(self) -> None:
        self.errors: list[InvalidArgument] = []

    def add(self, message: str, *, field: str) -> None:
        """Add an invalid field."""
        self.errors.append(reasons.invalid_field(message, field=field))

    def check(self, rule: Callable[..., object], *arguments: object, **options: object) -> None:
        """Call a rule, and add the error that it raises."""
        try:
            rule(*arguments, **options)
        except InvalidArgument as error:
            self.errors.append(error)

    def end(self) -> None:
        """Raise an error that names all problems.

        Raises:
            InvalidArgument: There is a problem; if there is only one, it is that error itself.
        """
        if self.errors:
            raise _combined(self.errors)


Check: TypeAlias = Callable[[Any, Problems], None]
"""Looks for problems of a request. The request may break its constraints, too."""


class Validator:
    """Checks requests against their constraints, and those of some types by a check of their own."""

    def __init__(self, checks: Mapping[type[Message], Check]) -> None:
        """Set the checks by the type of the request."""
        self._checks = checks

    def __call__(self, message: Message) -> None:
        """Check a message.

        Raises:
            InvalidArgument: Fields are invalid; the error names each of them.
        """
        problems = Problems()
        problems.check(validate, message)
        check = self._checks.get(type(message))
        if check is not None:
            check(message, problems)
        problems.end()


def validate(message: Message, prefix: str = "") -> None:
    """Check a message against its constraints; takes about 10 µs.

    Args:
        message: The message.
        prefix: Goes before the names of fields, such as ``agent.`` for a part of a request.

    Raises:
        InvalidArgument: A field is invalid; the error names each such field by its path, such as ``files[2].name``.
    """
    found = protovalidate.collect_violations(message)
    if not found:
        return
    violations = _one_per_field(_violation(message, violation, prefix) for violation in found)
    text = _text(violations)
    if all(violation.proto.rule_id in _SIZE_RULES for violation in found):
        error = reasons.too_large(text, field=violations[0].field, limit_bytes=_limit(found[0]))
        error.violations = tuple(violations)
        raise error
    raise reasons.invalid_fields(text, violations)


def _combined(errors: Sequence[InvalidArgument]) -> InvalidArgument:
    """Return one error for several; of the violations of a field, those of the first error that names it."""
    if len(errors) == 1:
        return errors[0]
    violations: dict[str, FieldViolation] = {}
    for error in errors:
        for violation in error.violations:
            violations.setdefault(violation.field, violation)
    if len(violations) == len(errors[0].violations):
        return errors[0]
    return reasons.invalid_fields(_text(violations.values()), violations.values())


def _text(violations: Iterable[FieldViolation]) -> str:
    return "; ".join(f"{each.field}: {each.description}" if each.field else each.description for each in violations)


def _one_per_field(violations: Iterable[FieldViolation]) -> list[FieldViolation]:
    """Merge the violations of each field: a value may break several of its rules."""
    descriptions: dict[str, dict[str, None]] = {}
    for violation in violations:
        descriptions.setdefault(violation.field, {})[violation.description] = None
    return [FieldViolation(field, ", ".join(found)) for field, found in descriptions.items()]


def _limit(violation: protovalidate.Violation) -> int:
    return int(violation.rule_value)


def _violation(message: Message, violation: protovalidate.Violation, prefix: str) -> FieldViolation:
    path = _path(violation.proto)
    oneof = message.DESCRIPTOR.oneofs_by_name.get(path)
    path = prefix + path
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
