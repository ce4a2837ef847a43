"""A grpcurl call of each RPC, generated from the contracts.

A request has the fields that its rules require, with sample values chosen by name; the rules accept the result. A test
runs every command.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from protovalidate import Validator

PORTS: Mapping[str, int] = {"agent": 50051, "common": 50051, "memory": 50052, "loader": 50053, "tool": 6000}
"""Default ports, by the second part of a package's name; the one of tool servers is that of `examples/tools`."""

IDS: Mapping[str, str] = {
    "agent_id": "agent_01jd2z6y3x8q4m7k9s5t0v1w2b",
    "api_key_id": "key_01jd2z6y3x8q4m7k9s5t0v1w2b",
    "block_id": "block_01jd2z6y3x8q4m7k9s5t0v1w2b",
    "load_id": "load_01jd2z6y3x8q4m7k9s5t0v1w2b",
    "passage_ids": "passage_01jd2z6y3x8q4m7k9s5t0v1w2b",
    "source_id": "source_01jd2z6y3x8q4m7k9s5t0v1w2b",
}
"""Sample ids by the field's name. A caller uses those of what exists."""

_CONTENT = b"Brest has tides of seven meters."
_SHA256 = hashlib.sha256(_CONTENT).hexdigest()

# By message and field, else by the field alone.
_SAMPLES: Mapping[str, object] = {
    **IDS,
    "address": "127.0.0.1:6000",
    "chunker_version": "1",
    "heartbeat_id": "heartbeat_01jd2z6y3x8q4m7k9s5t0v1w2b",
    "label": "human",
    "name": "Ada",
    "query": "tides",
    "request_id": "c0ffee",
    "sequences": 1,
    "sha256": _SHA256,
    "tenant": "default",
    "text": "Hello.",
    "state": "TURN_STATE_COMPLETED",
    "texts": _CONTENT.decode(),
    "turn_id": "turn_01jd2z6y3x8q4m7k9s5t0v1w2b",
    "update_mask": "name",
    "user_id": "user-17",
    "AttachBlockRequest.label": "team",
    "CreateSharedBlockRequest.name": "team",
    "CreateSourceRequest.name": "notes",
    "CreateTenantRequest.name": "acme",
    "DeleteFileRequest.name": "tides.txt",
    "DeleteTenantRequest.name": "acme",
    "FileManifest.name": "tides.txt",
    "FileVersion.name": "tides.txt",
    "GetTenantRequest.name": "acme",
    "Source.name": "notes",
    "Header.name": "tides.txt",
}

# What a request says beyond what is required, by message.
_BEYOND: Mapping[str, Mapping[str, object]] = {
    "Agent": {"agent_id": IDS["agent_id"], "name": "Ada"},
    "Source": {"source_id": IDS["source_id"], "name": "notes"},
    "BlockEdit": {"value": "Lives in Brest."},
    "CallToolRequest": {"name": "roll_dice", "arguments": '{"count": 2}', "idempotency_key": "turn-1-1"},
    "CreateAgentRequest": {"name": "Ada", "persona": "memgpt_doc"},
    "CreateSharedBlockRequest": {"value": "Meet in Brest."},
    "FileManifest": {"size": len(_CONTENT)},
    "FileVersion": {"size": len(_CONTENT)},
    "CreateLoadRequest": {"source_name": "notes"},
    "GetApiKeyRequest": {"api_key_id": IDS["api_key_id"]},
    "Heartbeat": {"interval": "3600s"},
    "HeartbeatLimits": {"max_turns_per_day": 24},
    "Quota": {"agents": 100},
    "SearchMessagesRequest": {"query": "tides"},
    "SharedBlockEdit": {"value": "Meet in Quimper."},
}

_MORE: Mapping[str, Sequence[object]] = {
    "LoaderService.UploadFile": [{"chunk": base64.b64encode(_CONTENT).decode()}],
    "SourceService.UpsertPassages": [
        {"batch": {"passages": [{"text": _CONTENT.decode()}]}},
        {"finish": {"document_count": 1, "passage_count": 1}},
    ],
}
"""Messages of a request stream after the first, by method."""


def command(method: MethodDescriptor) -> str:
    """Return the command that calls a method of services at their default addresses, as lines of a shell."""
    service = method.containing_service
    assert service is not None
    package = method.full_name.split(".")[1]
    target = f"localhost:{PORTS[package]} {service.full_name}/{method.name}"
    # Tool servers need no reflection.
    program = "grpcurl -plaintext" + (f" -import-path protos -proto {service.file.name}" if package == "tool" else "")
    if method.name == "ImportAgent":
        export = service.methods_by_name["ExportAgent"]
        return f"{command(export)} |\n  grpcurl -plaintext -d @ {target}"
    first = MessageToDict(_sample_request(method), preserving_proto_field_name=True)
    if "update_mask" in first:
        first["update_mask"] = {"paths": first["update_mask"].split(",")}  # grpcurl reads no other form
    messages = [first, *_MORE.get(f"{service.name}.{method.name}", ())]
    if messages == [{}]:
        return f"{program} {target}"
    data = "\n".join(json.dumps(message, ensure_ascii=False) for message in messages)
    return f"{program} -d {shlex.quote(data)} \\\n  {target}"


def method_named(file: str, full_name: str) -> MethodDescriptor:
    """Return a method of the generated code.

    Args:
        file: The file of its service, such as ``memgpt/agent/v1/agent_service.proto``.
        full_name: Its name, such as ``memgpt.agent.v1.AgentService.GetAgent``.
    """
    importlib.import_module(file.removesuffix(".proto").replace("/", ".") + "_pb2")
    found: MethodDescriptor = descriptor_pool.Default().FindMethodByName(full_name)
    return found


@cache
def _validator() -> Validator:
    return Validator()


def _sample_request(method: MethodDescriptor) -> Message:
    """Return the smallest request that the rules of its contract accept."""
    request: Message = GetMessageClass(method.input_type)()
    ParseDict(dict(_BEYOND.get(method.input_type.name, {})), request)
    before = None
    while violations := _validator().collect_violations(request):
        path = [element.field_name for element in violations[0].proto.field.elements]  # type: ignore[union-attr]
        if path == before:
            raise ValueError(f"{method.full_name}: no sample value for {'.'.join(path)}")
        before = path
        _fill(request, path)
    return request


def _fill(message: Any, path: Sequence[str]) -> None:
    """Set the field at a path to its sample."""
    name, *rest = path
    oneof = message.DESCRIPTOR.oneofs_by_name.get(name)
    field = oneof.fields[0] if oneof else message.DESCRIPTOR.fields_by_name[name]
    if rest:
        inner = getattr(message, name)
        _fill(inner[0] if field.is_repeated else inner, rest)
        return
    sample = _SAMPLES.get(f"{message.DESCRIPTOR.name}.{field.name}", _SAMPLES.get(field.name, _default(field)))
    message.ClearField(field.name)
    ParseDict({field.name: [sample] if field.is_repeated else sample}, message)


def _default(field: FieldDescriptor) -> object:
    """Return the sample of a field whose name has none: a message, or 1 for a number and the first enum value."""
    return _BEYOND.get(field.message_type.name, {}) if field.message_type else 1
