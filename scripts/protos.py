"""Compile, check and lint the contracts in `protos/`.

    scripts/protos.py generate   write the Python stubs into gen/python
    scripts/protos.py check      fail if the committed stubs are not what the protos compile to
    scripts/protos.py lint       buf lint, and buf breaking against the last release or the main branch

Nothing here needs the network. What the protos import from outside, `buf/validate/validate.proto`, comes as a
descriptor from the installed `protovalidate`, the library that enforces those rules: both are always of one version.
For the same reason buf is given a compiled image and not the sources.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

import grpc_tools
from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from protovalidate import ViolationPb

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
STUBS = ROOT / "gen" / "python"

_VALIDATE = "buf/validate/validate.proto"
_REASONS = "memgpt/common/v1/reasons.py"
_WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


class ProtoError(Exception):
    """The protos do not compile, or buf objects; the tool has printed why."""


def _protoc(protos: Path, *arguments: str | Path) -> None:
    """Run protoc over `protos`, with the descriptor of `buf/validate/validate.proto` in reach.

    Raises:
        ProtoError: protoc refused.
    """
    with tempfile.NamedTemporaryFile(suffix=".binpb") as imports:
        descriptors = descriptor_pb2.FileDescriptorSet()
        for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
            module.DESCRIPTOR.CopyToProto(descriptors.file.add())
        descriptors.file.add().ParseFromString(ViolationPb.desc().file.proto.to_binary())
        imports.write(descriptors.SerializeToString())
        imports.flush()
        paths = (f"--proto_path={protos}", f"--proto_path={_WELL_KNOWN}")
        _run_protoc(f"--descriptor_set_in={imports.name}", *paths, *map(str, arguments))


def _run_protoc(*arguments: str) -> None:
    """Run protoc.

    Raises:
        ProtoError: protoc refused.
    """
    # The protoc plugins lie beside this interpreter, which need not be the one of an activated environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "grpc_tools.protoc", *arguments]
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise ProtoError("protoc failed")


def _sources(protos: Path) -> list[str]:
    return sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))


def compile_stubs(out: Path) -> None:
    """Compile every proto to Python under `out`; `*_pb2_grpc` only for files that declare a service."""
    sources = _sources(PROTOS)
    described = descriptor_set()
    with tempfile.TemporaryDirectory() as scratch:
        descriptors = Path(scratch) / "descriptors.binpb"
        descriptors.write_bytes(described.SerializeToString())
        imports = f"--descriptor_set_in={descriptors}"
        _run_protoc(imports, f"--python_out={out}", f"--mypy_out=quiet:{out}", *sources)
        services = [source for source in sources if source.endswith("_service.proto")]
        _run_protoc(imports, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *services)
    # Regular packages below the namespace `memgpt`, each with the mark that its stubs are typed.
    for version in sorted({(out / source).parent for source in sources}):
        name = version.relative_to(out).as_posix()
        (version / "__init__.py").write_text(f'"""Generated from protos/{name}."""\n')
        (version.parent / "__init__.py").write_text(f'"""Generated from protos/{Path(name).parent.as_posix()}."""\n')
        (version.parent / "py.typed").touch()
    (out / _REASONS).write_text(_reasons(described))


def _reasons(described: descriptor_pb2.FileDescriptorSet) -> str:
    """The module with the values of `ErrorInfo.reason`: those of the enum `ErrorReason`, without their prefix."""
    (enum,) = (enum for file in described.file for enum in file.enum_type if enum.name == "ErrorReason")
    names = [value.name.removeprefix("ERROR_REASON_") for value in enum.value if value.number]
    members = "".join(f'    {name} = "{name}"\n' for name in names)
    return f'''"""Generated from protos/memgpt/common/v1/errors.proto."""

from enum import StrEnum


class Reason(StrEnum):
    """Values of `ErrorInfo.reason`, described at `ErrorReason` in the contract."""

{members}'''


def descriptor_set() -> descriptor_pb2.FileDescriptorSet:
    """Return the compiled contracts with their comments, without the import of `buf/validate/validate.proto`.

    The rules stay where they are, as options that protobuf does not know; protovalidate reads them from there. A client
    needs neither it nor the package `buf`, which is not ours to ship.
    """
    with tempfile.NamedTemporaryFile(suffix=".binpb") as out:
        options = ("--include_imports", "--include_source_info", f"--descriptor_set_out={out.name}")
        _protoc(PROTOS, *options, *_sources(PROTOS))
        files = descriptor_pb2.FileDescriptorSet.FromString(Path(out.name).read_bytes())
    kept = [file for file in files.file if file.name != _VALIDATE]
    for file in kept:
        if _VALIDATE in file.dependency:
            file.dependency.remove(_VALIDATE)
    return descriptor_pb2.FileDescriptorSet(file=kept)


def _generated(root: Path) -> dict[str, bytes]:
    """The generated files under `root`, by relative path."""
    files = (path for path in (root / "memgpt").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def _compare() -> tuple[dict[str, bytes], list[str]]:
    """What the protos compile to, and the paths under `STUBS` at which the committed stubs differ from it."""
    with tempfile.TemporaryDirectory() as scratch:
        compile_stubs(Path(scratch))
        wanted = _generated(Path(scratch))
    present = _generated(STUBS)
    return wanted, sorted(path for path in wanted.keys() | present.keys() if wanted.get(path) != present.get(path))


def generate() -> None:
    """Bring the stubs up to date; files that are right already keep their time stamps."""
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
    """Fail if a regeneration would change anything."""
    _, differing = _compare()
    if differing:
        listing = "\n  ".join(differing)
        raise ProtoError(f"These stubs are not what protos/ compiles to; run `make generate`:\n  {listing}")
    print("The generated stubs are up to date.")


def _image(protos: Path, target: Path) -> None:
    """Compile `protos` to an image for buf, in which whatever is imported from elsewhere is marked as an import."""
    _protoc(protos, "--include_imports", "--include_source_info", f"--descriptor_set_out={target}", *_sources(protos))
    image = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    own = set(_sources(protos))
    for file in image.file:
        if file.name not in own:
            # buf.alpha.image.v1.ImageFile: field 8042 (buf_extension) holding field 1 (is_import) = true.
            file.MergeFromString(bytes([0xD2, 0xF6, 0x03, 0x02, 0x08, 0x01]))
    target.write_bytes(image.SerializeToString())


def _buf(*arguments: str | Path) -> None:
    buf = Path(sys.executable).parent / "buf"
    if subprocess.run([buf, *arguments], cwd=ROOT, check=False).returncode:
        raise ProtoError(f"buf {arguments[0]} failed")


def _git(*arguments: str) -> bytes | None:
    """What git says, or None if it refuses or is not there (an unpacked archive has no history)."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def _base() -> str | None:
    """The revision the contracts must stay compatible with.

    That is the last release; before the first one the main branch, seen from a branch beside it. On an unreleased main
    branch itself there is none: contracts may still change there.
    """
    if tag := _git("describe", "--tags", "--abbrev=0", "--match", "v*"):
        return tag.decode().strip()
    if (_git("branch", "--show-current") or b"").strip() == b"main":
        return None
    return next((ref for ref in ("origin/main", "main") if _git("rev-parse", "--verify", "--quiet", ref)), None)


def lint() -> None:
    """Check the protos' style, and that they break no client of the last release."""
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "image.binpb"
        _image(PROTOS, image)
        _buf("lint", image)
        print("buf lint: clean")
        base = _base()
        archive = _git("archive", base, "protos") if base else None
        if archive is None:
            print("buf breaking: skipped, there is no release and no other main branch to compare with")
            return
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            # `extractall` is safe only with a filter, which Python 3.11.2, Debian 12's, does not know.
            for member in filter(tarfile.TarInfo.isfile, tar):
                target = Path(scratch) / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None, "a regular file"
                target.write_bytes(source.read())
        before = Path(scratch) / "before.binpb"
        _image(Path(scratch) / "protos", before)
        _buf("breaking", image, "--against", before)
        print(f"buf breaking: compatible with {base}")


def main() -> None:
    """Run the one command named on the command line."""
    commands = {"generate": generate, "check": check, "lint": lint}
    parser = argparse.ArgumentParser(description="Compile, check and lint the contracts in protos/.")
    parser.add_argument("command", choices=commands)
    try:
        commands[parser.parse_args().command]()
    except ProtoError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
