"""gRPC server reflection, ``grpc.reflection.v1`` and ``v1alpha``.

grpcio-reflection serves v1alpha alone, does not resolve methods, and does not include files that no service imports,
such as the error reasons. Both versions have the same messages, so one handler serves both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, field_mask_pb2, text_format, timestamp_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.unknown_fields import UnknownFieldSet
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2 as pb
from memgpt.common.v1 import errors_pb2
from protovalidate import ViolationPb

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor

_IMPORTED_BY_RULES = (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2)

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"


def add_reflection(server: grpc.aio.Server, services: Iterable[str]) -> None:
    """Serve the descriptors of `services`, of reflection itself, and of the details that errors carry."""
    names = sorted({*services, V1, V1ALPHA})
    reflection = _Reflection(names, _files(names))
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.respond,
        request_deserializer=pb.ServerReflectionRequest.FromString,
        response_serializer=pb.ServerReflectionResponse.SerializeToString,
    )
    for name in (V1, V1ALPHA):
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}),)
        )


class _Reflection:
    """Serves reflection requests from an index of files."""

    def __init__(self, services: Iterable[str], files: Mapping[str, FileDescriptorProto]) -> None:
        self._services = [pb.ServiceResponse(name=name) for name in services]
        self._files = files
        self._by_symbol = {symbol: file.name for file in files.values() for symbol in _symbols(file)}
        self._by_extension = {
            (extension.extendee.lstrip("."), extension.number): file.name
            for file in files.values()
            for extension in file.extension
        }

    async def respond(
        self, requests: AsyncIterator[pb.ServerReflectionRequest], _context: object
    ) -> AsyncIterator[pb.ServerReflectionResponse]:
        """Respond to each request of a stream."""
        async for request in requests:
            response = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
            self._fill(response, request)
            yield response

    def _fill(self, response: pb.ServerReflectionResponse, request: pb.ServerReflectionRequest) -> None:
        name = None
        match request.WhichOneof("message_request"):
            case "list_services":
                response.list_services_response.service.extend(self._services)
                return
            case "all_extension_numbers_of_type":
                extendee = request.all_extension_numbers_of_type
                numbers = [number for type_name, number in self._by_extension if type_name == extendee]
                if numbers or extendee in self._by_symbol:
                    response.all_extension_numbers_response.base_type_name = extendee
                    response.all_extension_numbers_response.extension_number.extend(numbers)
                    return
            case "file_by_filename":
                name = request.file_by_filename
            case "file_containing_symbol":
                name = self._by_symbol.get(request.file_containing_symbol)
            case "file_containing_extension":
                extension = request.file_containing_extension
                name = self._by_extension.get((extension.containing_type, extension.extension_number))
        if name is not None and name in self._files:
            found = self._with_dependencies(name)
            response.file_descriptor_response.file_descriptor_proto.extend(file.SerializeToString() for file in found)
        else:
            code, text = grpc.StatusCode.NOT_FOUND.value
            response.error_response.error_code, response.error_response.error_message = code, text

    def _with_dependencies(self, name: str) -> Iterator[FileDescriptorProto]:
        waiting, seen = [name], {name}
        while waiting:
            file = self._files[waiting.pop()]
            yield file
            waiting.extend(set(file.dependency) - seen)
            seen.update(file.dependency)


def _files(services: Iterable[str]) -> dict[str, FileDescriptorProto]:
    """Return the files that declare the services, with their dependencies, by name."""
    files: dict[str, FileDescriptorProto] = {}

    def add(descriptor: FileDescriptor) -> None:
        if descriptor.name not in files:
            files[descriptor.name] = FileDescriptorProto.FromString(descriptor.serialized_pb)
            for dependency in descriptor.dependencies:
                add(dependency)

    pool = descriptor_pool.Default()
    for name in services:
        try:
            add(pool.FindServiceByName(name).file)
        except KeyError:  # no descriptor: v1 reflection, or a service without generated code
            continue
    add(errors_pb2.DESCRIPTOR)
    add(error_details_pb2.DESCRIPTOR)
    _restore_rules(files)
    v1 = _reflection_v1()
    files[v1.name] = v1
    return files


def _restore_rules(files: dict[str, FileDescriptorProto]) -> None:
    """Add the import that the stubs lack to files with ``buf.validate`` rules, so that clients can show the rules."""
    rules = FileDescriptorProto.FromString(ViolationPb.desc().file.proto.to_binary())
    with_rules = [
        file for file in files.values() if file.package.startswith("memgpt.") and _has_rules(file.message_type)
    ]
    if not with_rules:
        return
    for file in with_rules:
        if rules.name not in file.dependency:
            file.dependency.append(rules.name)
    files[rules.name] = rules
    for module in _IMPORTED_BY_RULES:
        files.setdefault(module.DESCRIPTOR.name, FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb))


def _has_rules(messages: Iterable[DescriptorProto]) -> bool:
    for message in messages:
        options = [field.options for field in message.field] + [oneof.options for oneof in message.oneof_decl]
        if any(len(UnknownFieldSet(each)) for each in options) or _has_rules(message.nested_type):
            return True
    return False


def _reflection_v1() -> FileDescriptorProto:
    text = text_format.MessageToString(FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb))
    return text_format.Parse(text.replace("v1alpha", "v1"), FileDescriptorProto())


def _symbols(file: FileDescriptorProto) -> Iterator[str]:
    """Yield the full names of everything that a file declares."""
    prefix = f"{file.package}." if file.package else ""
    for message in file.message_type:
        yield from _in_message(message, prefix)
    yield from _in_enums(file.enum_type, prefix)
    yield from _fields(file.extension, prefix)
    for service in file.service:
        yield prefix + service.name
        for method in service.method:
            yield f"{prefix}{service.name}.{method.name}"


def _in_message(message: DescriptorProto, prefix: str) -> Iterator[str]:
    yield prefix + message.name
    inner = f"{prefix}{message.name}."
    yield from _fields(message.field, inner)
    yield from _fields(message.extension, inner)
    yield from (inner + oneof.name for oneof in message.oneof_decl)
    yield from _in_enums(message.enum_type, inner)
    for nested in message.nested_type:
        yield from _in_message(nested, inner)


def _in_enums(enums: Iterable[EnumDescriptorProto], prefix: str) -> Iterator[str]:
    for enum in enums:
        yield prefix + enum.name
        for value in enum.value:
            # In protobuf an enum value is in the scope of its enum's parent; grpcurl also looks for it within the enum.
            yield prefix + value.name
            yield f"{prefix}{enum.name}.{value.name}"


def _fields(fields: Iterable[FieldDescriptorProto], prefix: str) -> Iterator[str]:
    return (prefix + field.name for field in fields)
