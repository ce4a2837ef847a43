"""The ids in a call's messages.

Ids are found by the names of fields, which the contracts keep to: a string named ``…_id`` is an id, a list of strings
named ``…_ids`` holds ids. Names, labels and texts are what people wrote, so they are never taken.
A tenant has no other id than its name, which lines call ``tenant``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from memgpt_runtime.logs import redact

_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""Ids of the suite, and the request ids of callers. Anything else in such a field was refused, and may be a text."""

_DEPTH = 3
"""How many messages deep ids are looked for, such as ``granted.turn.turn_id``."""

_MOST_LISTED = 16
"""Maximum number of ids of one field in a line; a request may have a thousand."""

_NOT_OURS = "call_id"
"""Names a call of a function, and is chosen by the model."""

_TENANTS = frozenset(
    f"memgpt.memory.v1.{name}" for name in ("CreateTenantRequest", "DeleteTenantRequest", "GetTenantRequest", "Tenant")
)
"""Messages whose field ``name`` is the name of a tenant."""

_EXPORTED = frozenset(f"memgpt.{service}.v1.ImportAgentRequest.piece" for service in ("agent", "memory"))
"""Fields with the ids of an agent as it was exported, perhaps elsewhere; the imported one gets others."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A field that holds ids.

    Attributes:
        path: Names of the fields that lead to it, and its own.
        listed: Whether it is a list.
        key: What the line calls it.
    """

    path: tuple[str, ...]
    listed: bool
    key: str


@cache
def _fields(message: Descriptor, depth: int = _DEPTH) -> Sequence[_Field]:
    """Return the fields that hold ids, of a message and those in it."""
    found: list[_Field] = []
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            ids = field.name.endswith("_ids" if field.is_repeated else "_id") and field.name != _NOT_OURS
            if ids or (field.name == "tenant" and not field.is_repeated):
                found.append(_Field((field.name,), field.is_repeated, field.name))
            elif field.name == "name" and message.full_name in _TENANTS:
                found.append(_Field((field.name,), listed=False, key="tenant"))
        elif field.full_name in _EXPORTED:
            continue
        elif field.message_type is not None and not field.is_repeated and depth > 1:
            found += [
                _Field((field.name, *inner.path), inner.listed, inner.key)
                for inner in _fields(field.message_type, depth - 1)
            ]
    return found


def _is_id(value: str) -> bool:
    """Whether a value may be written: a caller can also put a token where an id belongs, such as that of a key."""
    return _ID.fullmatch(value) is not None and redact(value) == value


def _ids(message: Message) -> Iterator[tuple[str, str | list[str]]]:
    for field in _fields(message.DESCRIPTOR):
        holder = message
        for name in field.path[:-1]:
            if not holder.HasField(name):
                break
            holder = getattr(holder, name)
        else:
            value = getattr(holder, field.path[-1])
            if field.listed:
                ids = [id_ for id_ in value[:_MOST_LISTED] if _is_id(id_)]
                if ids:
                    yield field.key, ids
            elif value and _is_id(value):
                yield field.key, value


class IdCollector:
    """Collects the ids in the messages of one call.

    Attributes:
        found: Ids by field name; of equal names, the first counts.
    """

    def __init__(self) -> None:
        self.found: dict[str, str | list[str]] = {}

    def __call__(self, message: Message) -> None:
        """Look at a request or a response."""
        for name, value in _ids(message):
            self.found.setdefault(name, value)
