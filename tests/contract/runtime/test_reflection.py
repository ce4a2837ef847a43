"""Reflection matches the proto files, in both versions of the protocol."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2 as pb
from memgpt.agent.v1 import agent_service_pb2
from memgpt.loader.v1 import loader_service_pb2
from memgpt.memory.v1 import archival_memory_service_pb2
from memgpt_runtime.reflection import V1, V1ALPHA, add_reflection

ROOT = Path(__file__).parents[3]
SERVICES = [
    "memgpt.agent.v1.AgentService",
    "memgpt.loader.v1.LoaderService",
    "memgpt.memory.v1.ArchivalMemoryService",
]
SYMBOLS = [
    *SERVICES,
    "memgpt.agent.v1.AgentService.SendMessage",
    "memgpt.agent.v1.SendMessageRequest",
    "memgpt.agent.v1.GetAgentRequest",
    "memgpt.common.v1.ErrorReason",
    "memgpt.loader.v1.UploadFileRequest.Header",
    "memgpt.memory.v1.SearchMode",
    "memgpt.memory.v1.PassageFilter",
]
# Importing a file's stubs makes protobuf know its descriptors.
assert all((agent_service_pb2, loader_service_pb2, archival_memory_service_pb2))


@pytest.fixture
async def address() -> AsyncIterator[str]:
    server = grpc.aio.server()
    add_reflection(server, SERVICES)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def run(*command: str | Path) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    return output.decode()


def lines(described: str) -> list[str]:
    """Return grpcurl's output without comments, which only the files have."""
    return [line for line in described.splitlines() if line.strip() and not line.strip().startswith("//")]


async def ask(address: str, service: str, request: pb.ServerReflectionRequest) -> pb.ServerReflectionResponse:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(
            f"/{service}/ServerReflectionInfo",
            request_serializer=pb.ServerReflectionRequest.SerializeToString,
            response_deserializer=pb.ServerReflectionResponse.FromString,
        )
        (response,) = [response async for response in call(iter([request]))]
        return response


async def test_grpcurl_prints_the_same_by_reflection_and_from_the_files(address: str, grpcurl: Path) -> None:
    protos = [str(path.relative_to(ROOT / "protos")) for path in sorted((ROOT / "protos").rglob("*.proto"))]
    files = [argument for proto in protos for argument in ("-proto", proto)]
    for symbol in SYMBOLS:
        reflected = await run(grpcurl, "-plaintext", address, "describe", symbol)
        parsed = await run(grpcurl, "-import-path", "protos", "-import-path", "third_party", *files, "describe", symbol)
        assert lines(reflected) == lines(parsed)


async def test_everything_that_is_listed_can_be_described(address: str, grpcurl: Path) -> None:
    assert set((await run(grpcurl, "-plaintext", address, "list")).split()) == {*SERVICES, V1, V1ALPHA}
    described = await run(grpcurl, "-plaintext", address, "describe")
    assert all(f"{name} is a service" in described for name in (*SERVICES, V1, V1ALPHA))


@pytest.mark.parametrize("service", [V1, V1ALPHA])
async def test_both_versions_answer_alike(address: str, service: str) -> None:
    method = "memgpt.agent.v1.AgentService.SendMessage"
    response = await ask(address, service, pb.ServerReflectionRequest(file_containing_symbol=method))
    file = FileDescriptorProto.FromString(response.file_descriptor_response.file_descriptor_proto[0])
    assert file.name == "memgpt/agent/v1/agent_service.proto"
    assert file.message_type[0].field[0].json_name == "requestId"
    extension = pb.ExtensionRequest(containing_type="google.protobuf.FieldOptions", extension_number=1159)
    response = await ask(address, service, pb.ServerReflectionRequest(file_containing_extension=extension))
    assert b"buf/validate/validate.proto" in response.file_descriptor_response.file_descriptor_proto[0]


@pytest.mark.parametrize(
    "request_",
    [
        pb.ServerReflectionRequest(file_containing_symbol="memgpt.Nothing"),
        pb.ServerReflectionRequest(file_by_filename="nothing.proto"),
        pb.ServerReflectionRequest(all_extension_numbers_of_type="memgpt.Nothing"),
        pb.ServerReflectionRequest(),
    ],
    ids=["symbol", "file", "extendee", "empty"],
)
async def test_what_is_unknown_is_not_found(address: str, request_: pb.ServerReflectionRequest) -> None:
    response = await ask(address, V1, request_)
    assert response.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert response.original_request == request_


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_alone_has_every_file_that_it_needs(service: str) -> None:
    package = service.rpartition(".")[0]
    code = f"""if True:
        import asyncio, importlib, re
        from memgpt_runtime.reflection import _files
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", {service.rpartition(".")[2]!r}).lower()
        importlib.import_module(f"{package}.{{name}}_pb2")
        files = _files([{service!r}])
        print(*{{each for file in files.values() for each in file.dependency}} - files.keys())
    """
    assert (await run(sys.executable, "-c", code)).strip() == ""
