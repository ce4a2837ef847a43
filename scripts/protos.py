"""Compile, check and lint the contracts in `protos/`; nothing here needs the network.

scripts/protos.py generate     write the Python stubs into gen/python
scripts/protos.py check        fail if the committed stubs are not what the protos compile to
scripts/protos.py lint         buf lint, and buf breaking against the last release
scripts/protos.py image FILE   write a descriptor set for the code generators of clients
scripts/protos.py transcoding FILE   write a descriptor set for proxies that translate between JSON and gRPC
scripts/protos.py release      write the descriptor set of this version into protos/released
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import error_details_pb2

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
RELEASED = PROTOS / "released"
STUBS = ROOT / "gen" / "python"

_VALIDATE = "buf/validate/validate.proto"
_DETAILS = ("google/rpc/error_details.proto", "google/rpc/status.proto")
_REASONS = "memgpt/common/v1/reasons.py"
_PATHS = [
    f"--proto_path={path}" for path in (PROTOS, ROOT / "third_party", Path(grpc_tools.__file__).parent / "_proto")
]
_VERSION_CHECKS = (
    re.compile(r"^# Protobuf Python Version: .*\n", re.MULTILINE),
    re.compile(r"^from google.protobuf import runtime_version as _runtime_version\n", re.MULTILINE),
    re.compile(r"^_runtime_version\.ValidateProtobufRuntimeVersion\(\n(?: .*\n)*\)\n", re.MULTILINE),
    re.compile(r"^import warnings\n", re.MULTILINE),
    re.compile(r"^GRPC_GENERATED_VERSION = (?:.*\n)*?if _version_not_supported:\n(?: .*\n)*\n", re.MULTILINE),
)


class ProtoError(Exception):
    """The protos do not compile, or buf rejects them; the tool has printed why."""


def _run_protoc(*arguments: str) -> None:
    """Run protoc.

    Raises:
        ProtoError: protoc failed.
    """
    # The protoc plugins are next to this interpreter, which need not belong to an activated environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "grpc_tools.protoc", *arguments]
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise ProtoError("protoc failed")


def _sources() -> list[str]:
    return sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))


def descriptor_set() -> FileDescriptorSet:
    """Compile the protos, and remove the import of `buf/validate/validate.proto` from every file.

    The rules stay in place as options that a client's protobuf does not know, where protovalidate reads them. So a
    client needs neither protovalidate nor the package `buf`, which another project owns.
    """
    with tempfile.NamedTemporaryFile(suffix=".binpb") as target:
        _run_protoc(
            *_PATHS, "--include_imports", "--include_source_info", f"--descriptor_set_out={target.name}", *_sources()
        )
        compiled = FileDescriptorSet.FromString(Path(target.name).read_bytes())
    files = [file for file in compiled.file if file.name != _VALIDATE]
    for file in files:
        if _VALIDATE in file.dependency:
            file.dependency.remove(_VALIDATE)
    return FileDescriptorSet(file=files)


def transcoding() -> bytes:
    """Return a descriptor set with the types of error details, so that proxies can translate errors as well."""
    with tempfile.NamedTemporaryFile(suffix=".binpb") as target:
        details = f"--proto_path={Path(error_details_pb2.__file__).parents[2]}"
        output = f"--descriptor_set_out={target.name}"
        _run_protoc(*_PATHS, details, "--include_imports", output, *_sources(), *_DETAILS)
        return Path(target.name).read_bytes()


def compile_stubs(out: Path) -> None:
    """Compile every proto to Python under `out`; `*_pb2_grpc` only for files that declare a service."""
    sources, described = _sources(), descriptor_set()
    with tempfile.NamedTemporaryFile(suffix=".binpb") as file:
        Path(file.name).write_bytes(described.SerializeToString())
        imports = f"--descriptor_set_in={file.name}"
        _run_protoc(imports, f"--python_out={out}", f"--mypy_out=quiet:{out}", *sources)
        services = [source for source in sources if source.endswith("_service.proto")]
        _run_protoc(imports, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *services)
    for stub in (*out.rglob("*_pb2.py"), *out.rglob("*_pb2_grpc.py")):
        stub.write_text(_for_any_version(stub.read_text()))
    # Regular packages below the namespace `memgpt`, each with a `py.typed` marker.
    for version in sorted({(out / source).parent for source in sources}):
        name = version.relative_to(out).as_posix()
        (version / "__init__.py").write_text(f'"""Generated from protos/{name}."""\n')
        (version.parent / "__init__.py").write_text(f'"""Generated from protos/{Path(name).parent.as_posix()}."""\n')
        (version.parent / "py.typed").touch()
    (out / _REASONS).write_text(_reasons(described))


def _for_any_version(stub: str) -> str:
    """Remove the checks by which a stub refuses versions of protobuf and grpcio before the generator's own.

    The rest works with all versions that `gen/python/pyproject.toml` permits; a test runs the oldest and the newest.
    """
    for pattern in _VERSION_CHECKS:
        stub = pattern.sub("", stub)
    return stub


def _reasons(described: FileDescriptorSet) -> str:
    """Return the module of `ErrorInfo.reason` values: those of the enum `ErrorReason` without their prefix."""
    (enum,) = (enum for file in described.file for enum in file.enum_type if enum.name == "ErrorReason")
    names = [value.name.removeprefix("ERROR_REASON_") for value in enum.value if value.number]
    members = "".join(f'    {name} = "{name}"\n' for name in names)
    return f'''"""Generated from protos/memgpt/common/v1/errors.proto."""

from enum import StrEnum


class Reason(StrEnum):
    """Values of `ErrorInfo.reason`, described at `ErrorReason` in the contract."""

{members}'''


def _generated(root: Path) -> dict[str, bytes]:
    """Return the generated files under `root` by relative path."""
    files = (path for path in (root / "memgpt").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def _compare() -> tuple[dict[str, bytes], list[str]]:
    """Return the compiled stubs, and the paths under `STUBS` at which the committed stubs differ."""
    with tempfile.TemporaryDirectory() as scratch:
        compile_stubs(Path(scratch))
        wanted = _generated(Path(scratch))
    present = _generated(STUBS)
    return wanted, sorted(path for path in wanted.keys() | present.keys() if wanted.get(path) != present.get(path))


def generate() -> None:
    """Update the stubs; unchanged files keep their time stamps."""
    wanted, differing = _compare()
    for path in differing:
        target = STUBS / path
        if path in wanted:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(wanted[path])
        else:
            target.unlink()
    print(f"{len(wanted)} generated files, {len(differing)} changed")


def check() -> None:
    """Fail if generating the stubs would change any file."""
    _, differing = _compare()
    if differing:
        listing = "\n  ".join(differing)
        raise ProtoError(f"These stubs are not what protos/ compiles to; run `make generate`:\n  {listing}")
    print("The generated stubs are up to date.")


def _buf(*arguments: str | Path) -> None:
    buf = Path(sys.executable).parent / "buf"
    if subprocess.run([buf, *arguments], cwd=ROOT, check=False).returncode:
        raise ProtoError(f"buf {arguments[0]} failed")


def _version(path: Path) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", path.stem)))


def lint() -> None:
    """Check the style of the protos and their compatibility with the last release."""
    _buf("lint")
    _buf("format", "--diff", "--exit-code", "protos")
    base = max(RELEASED.glob("memgpt-*.binpb"), key=_version, default=None)
    if base is not None:
        _buf("breaking", "protos", "--against", base)
    print(f"buf: clean, and compatible with {base.stem if base else 'nothing, for there is no release'}")


def release() -> None:
    """Write the descriptor set of this version, with which later contracts must stay compatible."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    target = RELEASED / f"memgpt-{version}.binpb"
    RELEASED.mkdir(exist_ok=True)
    _buf("build", "protos", "--exclude-source-info", "--output", target)
    print(target.relative_to(ROOT))


def main() -> None:
    """Run the one command named on the command line."""
    parser = argparse.ArgumentParser(description="Compile, check and lint the contracts in protos/.")
    commands = parser.add_subparsers(dest="command", required=True)
    simple = {"generate": generate, "check": check, "lint": lint, "release": release}
    for name in simple:
        commands.add_parser(name)
    for name in ("image", "transcoding"):
        commands.add_parser(name).add_argument("file", type=Path)
    arguments = parser.parse_args()
    try:
        if arguments.command == "image":
            arguments.file.write_bytes(descriptor_set().SerializeToString())
        elif arguments.command == "transcoding":
            arguments.file.write_bytes(transcoding())
        else:
            simple[arguments.command]()
    except ProtoError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
