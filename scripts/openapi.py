"""Write the OpenAPI document of the JSON that Envoy translates to gRPC: `scripts/openapi.py FILE`.

gnostic's protoc-gen-openapi, of clients/go/go.tool.mod, generates it from the contracts, for the services that
`deploy/envoy/envoy.yaml` lists. Envoy maps each method to `POST /package.Service/Method`, with the request as the body.
The contracts need no annotations for that, so they are added here, for the generator alone.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.protos import ROOT, descriptor_set

_TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
# Without commas, which separate the generator's options.
_DESCRIPTION = (
    "Agents with a long-term memory. JSON over HTTP through the Envoy of deploy/envoy. A streaming method responds "
    "with one JSON object a line. Uploads need gRPC."
)


class OpenApiError(Exception):
    """The document cannot be generated; the message says why."""


def services(envoy: Path = ROOT / "deploy" / "envoy" / "envoy.yaml") -> set[str]:
    """Return the full names of the services that Envoy translates."""
    return {name for found in _transcoders(yaml.safe_load(envoy.read_text())) for name in found["services"]}


def _transcoders(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("name") == _TRANSCODER:
            yield node["typed_config"]
        for value in node.values():
            yield from _transcoders(value)
    elif isinstance(node, list):
        for value in node:
            yield from _transcoders(value)


def annotated(files: FileDescriptorSet, exposed: set[str]) -> list[str]:
    """Add HTTP annotations to the methods of some services; return the files that have them.

    Methods that receive streams get none: Envoy refuses them.
    """
    changed = []
    for file in files.file:
        for service in file.service:
            name = f"{file.package}.{service.name}"
            if name not in exposed:
                continue
            changed.append(file.name)
            for method in service.method:
                if not method.client_streaming:
                    rule = method.options.Extensions[annotations_pb2.http]
                    rule.post, rule.body = f"/{name}/{method.name}", "*"
    return changed


def write(target: Path, version: str) -> None:
    """Write the document.

    Args:
        target: A file ending in ``.yaml``.
        version: Version of the contracts.

    Raises:
        OpenApiError: Go is not installed, or the generator failed.
    """
    files = descriptor_set()
    names = annotated(files, services())
    with tempfile.TemporaryDirectory() as scratch:
        described = Path(scratch) / "memgpt.binpb"
        described.write_bytes(files.SerializeToString())
        options = {
            "title": "MemGPT on Milvus",
            "version": version,
            "description": _DESCRIPTION,
            "fq_schema_naming": "true",
            "enum_type": "string",
        }
        arguments = [f"--openapi_opt={key}={value}" for key, value in options.items()]
        command = [f"--plugin=protoc-gen-openapi={_generator()}", f"--openapi_out={scratch}", *arguments]
        if protoc.main(["protoc", f"--descriptor_set_in={described}", *command, *names]):
            raise OpenApiError("protoc-gen-openapi failed")
        target.write_text((Path(scratch) / "openapi.yaml").read_text(encoding="utf-8"), encoding="utf-8")


def _generator() -> str:
    command = ["go", "tool", "-modfile=go.tool.mod", "-n", "protoc-gen-openapi"]
    try:
        found = subprocess.run(command, cwd=ROOT / "clients" / "go", capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise OpenApiError("Go is not installed") from None
    except subprocess.CalledProcessError as error:
        raise OpenApiError(f"go tool failed: {error.stderr}") from None
    return found.stdout.strip()


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1]), "0")
    except OpenApiError as problem:
        sys.exit(f"openapi: {problem}")
