"""An error names every invalid field of a request, whether a constraint or a check of the service finds it.

From the descriptors: each field of each request gets values of every odd kind, alone. Those that are refused are then
put together, and the error must name all of them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from memgpt_agent.rpc.checks import CHECKS as AGENT_CHECKS
from memgpt_loader.rpc.checks import CHECKS as LOADER_CHECKS
from memgpt_memory.rpc import CHECKS as MEMORY_CHECKS
from memgpt_runtime.errors import InvalidArgument
from memgpt_runtime.status import to_status
from memgpt_runtime.validation import Validator

from tests.support.contracts import service_methods

ROOT = Path(__file__).parents[2]

VALIDATORS = {
    "memgpt.agent.v1": Validator(AGENT_CHECKS),
    "memgpt.loader.v1": Validator(LOADER_CHECKS),
    "memgpt.memory.v1": Validator(MEMORY_CHECKS),
}
METHODS = [method for method in service_methods() if method.containing_service.file.package in VALIDATORS]

PLAIN = ("google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask")

UPDATED = ("name", "context_window", "time_zone", "message_ttl", "note_ttl", "tags", "model", "system", "user_id")

VALUES: Mapping[str, str] = {"name": "Ada", "label": "notes", "address": "tools.example.org:443"}
"""Values of valid requests by the names of fields; other texts are an id."""

TEXTS = ("", " ", " x", "\u200b", "no such thing?", "é" * 25_000)
NUMBERS = (-1, 1, 2**31 - 1)
TIMES = ((-(10**11), 0), (10**11, 0), (1, 0), (0, -1))


def _fields(message: Descriptor, path: str = "", depth: int = 3) -> Iterator[tuple[str, FieldDescriptor]]:
    """Yield the fields of a request that have values, also those of its messages."""
    for field in message.fields:
        kind = field.message_type
        if kind is None or kind.full_name in PLAIN:
            yield path + field.name, field
        elif depth and not kind.GetOptions().map_entry:
            yield from _fields(kind, f"{path}{field.name}.", depth - 1)


def _odd(field: FieldDescriptor) -> Sequence[Any]:
    """Return odd values of a field."""
    if field.message_type is not None:
        return ["nope"] if field.message_type.name == "FieldMask" else TIMES
    if field.type == field.TYPE_STRING:
        return TEXTS
    if field.type == field.TYPE_BYTES:
        return (b"", b"x" * 70_000)
    if field.type == field.TYPE_ENUM:
        return (99, 0)
    return () if field.type == field.TYPE_BOOL else NUMBERS


def _set(message: Any, path: str, value: Any) -> None:
    """Set a field at a path; a repeated field gets one element."""
    name, _, rest = path.partition(".")
    field = message.DESCRIPTOR.fields_by_name[name]
    target = getattr(message, name)
    if rest:
        if field.is_repeated:
            _set(target[0] if target else target.add(), rest, value)
        else:
            target.SetInParent()
            _set(target, rest, value)
    elif field.message_type is not None and field.message_type.name == "FieldMask":
        target.paths.append(value)
    elif field.message_type is not None:
        target.seconds, target.nanos = value
    elif field.is_repeated:
        target[:] = [value]
    else:
        setattr(message, name, value)


def _valid(method: MethodDescriptor) -> Any:
    """Return a request with texts in its own required fields."""
    message: Any = message_factory.GetMessageClass(method.input_type)()
    for field in method.input_type.fields:
        alone = field.containing_oneof is None or field.containing_oneof.fields[0].name == field.name
        text = field.type == field.TYPE_STRING and not field.is_repeated
        if text and alone and field.name.endswith(("_id", "name", "label", "address")):
            setattr(message, field.name, VALUES.get(field.name, "some"))
    if method.name == "UpdateAgent":
        message.update_mask.paths.extend(UPDATED)
        message.agent.name = "Ada"
    return message


def _violations(method: MethodDescriptor, request: Message) -> set[str]:
    """Return the fields that the error names as clients get it, without indexes."""
    bad = error_details_pb2.BadRequest()
    try:
        VALIDATORS[method.containing_service.file.package](request)
    except InvalidArgument as error:
        for detail in to_status(error).details:
            detail.Unpack(bad)
    return {re.sub(r"\[\d+\]", "", violation.field) for violation in bad.field_violations}


def _refused(method: MethodDescriptor) -> dict[str, list[Any]]:
    """Return the values of each field that are refused alone."""
    refused: dict[str, list[Any]] = {}
    for path, field in _fields(method.input_type):
        for value in _odd(field):
            request = _valid(method)
            _set(request, path, value)
            if path in _violations(method, request):
                refused.setdefault(path, []).append(value)
    refused.pop("update_mask", None)  # with another mask, nobody knows which fields count
    return refused


def _oneofs(path: str, message: Descriptor) -> Iterator[tuple[str, str]]:
    """Yield the oneofs on a path, each with its field."""
    walked = ""
    for name in path.split("."):
        field = message.fields_by_name[name]
        if field.containing_oneof is not None:
            yield f"{walked}{field.containing_oneof.name}", name
        walked += f"{name}."
        if field.message_type is not None:
            message = field.message_type


def _together(method: MethodDescriptor, refused: Mapping[str, Sequence[Any]], number: int) -> dict[str, Any]:
    """Return one refused value of each field, of a oneof only the fields of one choice."""
    chosen: dict[str, str] = {}
    together = {}
    paths = sorted(refused)
    for path in paths[number % len(paths) :] + paths[: number % len(paths)]:
        choices = dict(_oneofs(path, method.input_type))
        if all(chosen.get(oneof, field) == field for oneof, field in choices.items()):
            chosen |= choices
            together[path] = refused[path][number % len(refused[path])]
    return together


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_an_error_names_all_invalid_fields(method: MethodDescriptor) -> None:
    refused = _refused(method)
    problems = []
    for number in range(max(map(len, refused.values()), default=0)):
        together = _together(method, refused, number)
        request = _valid(method)
        for path, value in together.items():
            _set(request, path, value)
        named = _violations(method, request)
        # Trailers have room for about twenty fields.
        if not together.keys() <= named and len(named) < 15:
            problems.append(f"{sorted(together.keys() - named)} not named beside {sorted(named)}")
    assert problems == []


STATEFUL = {
    "agent/memgpt_agent/rpc/imported_pieces.py": "the order of a stream",
    "agent/memgpt_agent/rpc/_heartbeats.py": "whether a cron expression has times depends on the agent's time zone",
    "memory/memgpt_memory/access/_api_keys.py": "the command line creates keys without a request",
    "memory/memgpt_memory/access/_tenants.py": "so does it delete tenants",
    "memory/memgpt_memory/agents/_decide.py": "what is stored of a note depends on how it is split",
    "memory/memgpt_memory/agents/_errors.py": "the messages of an agent",
    "memory/memgpt_memory/maintenance/restore.py": "a file",
    "memory/memgpt_memory/maintenance/transfer.py": "the order of a stream",
    "memory/memgpt_memory/rpc/_agent_pieces.py": "the order of a stream",
    "memory/memgpt_memory/rpc/_agent_state.py": "the order of a stream",
    "memory/memgpt_memory/rpc/_sources.py": "the order of a stream",
    "memory/memgpt_memory/sources/_errors.py": "the passages of a stream",
    "loader/memgpt_loader/rpc/servicer.py": "the order of a stream",
}
"""Modules that refuse a field by what the request alone does not tell, with the reason."""

CALLED = {
    "agent/memgpt_agent/remote_tools/client.py",
    "memory/memgpt_memory/recall/_recall.py",
    "loader/memgpt_loader/loads/plan.py",
}
"""Modules with rules that the checks call."""


def test_fields_are_refused_by_checks_unless_it_takes_more_than_the_request() -> None:
    found = set()
    for service in ("agent", "loader", "memory"):
        for path in sorted((ROOT / "services" / service).rglob("*.py")):
            for call in ast.walk(ast.parse(path.read_text())):
                if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in ("invalid_field", "invalid_fields"):
                    found.add(path.relative_to(ROOT / "services").as_posix())
    assert found == STATEFUL.keys() | CALLED
