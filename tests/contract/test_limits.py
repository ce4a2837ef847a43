"""Every string, list and map of a request has a maximum, so no message can take unbounded memory."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import memgpt.agent.v1
import memgpt.loader.v1
import memgpt.memory.v1
import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    field_mask_pb2,
    message_factory,
    timestamp_pb2,
)
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from protovalidate import ViolationPb

PACKAGES = [memgpt.agent.v1, memgpt.loader.v1, memgpt.memory.v1]


def _rules() -> Any:
    """Return a field options class that knows the constraints of protovalidate, which the stubs do not."""
    pool = descriptor_pool.DescriptorPool()
    for module in (descriptor_pb2, duration_pb2, timestamp_pb2, field_mask_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    rules = descriptor_pb2.FileDescriptorProto.FromString(ViolationPb.desc().file.proto.to_binary())
    pool.AddSerializedFile(rules.SerializeToString())
    options = message_factory.GetMessageClass(pool.FindMessageTypeByName("google.protobuf.FieldOptions"))
    extension = pool.FindExtensionByName("buf.validate.field")

    def read(field: FieldDescriptor) -> Any:
        return options.FromString(field.GetOptions().SerializeToString()).Extensions[extension]  # type: ignore[index]

    return read


RULES = _rules()
TEXT = ("max_len", "max_bytes", "len", "len_bytes", "pattern", "const")


def _bounded(rules: Any, field: FieldDescriptor) -> bool:
    if field.type == FieldDescriptor.TYPE_STRING:
        return any(rules.string.HasField(name) for name in TEXT) or bool(getattr(rules.string, "in"))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return any(rules.bytes.HasField(name) for name in ("max_len", "len", "const"))
    return True


def _unbounded(message: Descriptor, seen: set[str]) -> Iterator[str]:
    if message.full_name in seen or message.full_name.startswith("google."):
        return
    seen.add(message.full_name)
    for field in message.fields:
        rules = RULES(field)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if not rules.map.HasField("max_pairs"):
                yield field.full_name
        elif field.is_repeated:
            if not rules.repeated.HasField("max_items"):
                yield field.full_name
            if not _bounded(rules.repeated.items, field):
                yield f"{field.full_name} (an item)"
        elif not _bounded(rules, field):
            yield field.full_name
        if field.message_type is not None:
            yield from _unbounded(field.message_type, seen)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_field_of_a_request_has_a_maximum(package: Any) -> None:
    unbounded: list[str] = []
    seen: set[str] = set()
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.endswith("_service_pb2"):
            file = importlib.import_module(f"{package.__name__}.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                for method in service.methods:
                    unbounded += _unbounded(method.input_type, seen)
    assert sorted(unbounded) == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_no_page_size_is_negative(package: Any) -> None:
    """The contracts say so, so that the error lists the field beside all others that are invalid."""
    free = [
        method.full_name
        for module in pkgutil.iter_modules(package.__path__)
        if module.name.endswith("_service_pb2")
        for service in importlib.import_module(f"{package.__name__}.{module.name}").DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if (field := method.input_type.fields_by_name.get("page_size")) and not RULES(field).int32.HasField("gte")
    ]
    assert free == []
