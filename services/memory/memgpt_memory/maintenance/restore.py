"""``memgpt-memory restore FILE``: restore a backup of a Milvus Lite store.

Everything is unpacked next to the store and checked against the backup's own checksums; only then two renames put it in
place. An existing store is moved aside, never deleted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from memgpt.config import ConfigError, load_config
from memgpt_runtime import reasons
from memgpt_runtime.errors import InvalidArgument, ServiceError
from memgpt_runtime.ids import new_id

from memgpt_memory.config import MemorySettings
from memgpt_memory.maintenance.backup import CHECKSUMS, FILES, FORMAT, HEADER
from memgpt_memory.maintenance.replacement import held, put_in_place
from memgpt_memory.store.layout import SCHEMA_VERSION

_NAME = re.compile(r"store/(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*")
_CHUNK = 1 << 20
_MAX_JSON = 64 << 20


def restore(backup: IO[bytes], store: Path, *, replace: bool) -> Path | None:
    """Put a backup in the place of a store; return the path of the former store, if there was one.

    Args:
        backup: The tar file's bytes, read once.
        store: The Lite file, which may be absent.
        replace: Whether a store that is there may be moved aside.

    Raises:
        FailedPrecondition: A store exists or is in use, or the backup is of a newer version.
        InvalidArgument: It is not a backup, or it is damaged or truncated. Nothing was changed.
    """
    if store.exists() and not replace:
        raise reasons.wrong_state(
            f"{store} already exists; use --force to move it aside, or set another store (memory.uri)",
            resource="store",
            state="EXISTS",
        )
    with held(store):
        staging = store.with_name(f"{store.name}.{new_id('restoring')}")
        try:
            staging.mkdir(parents=True)
            _unpack(backup, staging)
            former = put_in_place(staging, store, "before")
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return former


def _unpack(backup: IO[bytes], into: Path) -> None:
    found: dict[str, str] = {}
    expected: dict[str, str] | None = None
    try:
        with tarfile.open(fileobj=backup, mode="r|*") as archive:
            for number, member in enumerate(archive):
                content = archive.extractfile(member) if member.isreg() else None
                if content is None or expected is not None or (number == 0) != (member.name == HEADER):
                    raise _unusable()
                if number == 0:
                    _check_header(_json(content, member.size))
                elif member.name == CHECKSUMS:
                    expected = _json(content, member.size)
                elif _NAME.fullmatch(member.name):
                    found[member.name] = _write(content, into / member.name.removeprefix(FILES))
                else:
                    raise _unusable()
    except (tarfile.TarError, EOFError, ValueError, FileExistsError) as error:
        raise _unusable() from error
    if expected != found or not found:
        raise _unusable()


def _check_header(header: dict[str, Any]) -> None:
    if header.get("format") != FORMAT or not isinstance(header.get("layout"), int):
        raise _unusable()
    if header["layout"] > SCHEMA_VERSION:
        raise reasons.wrong_state(
            f"the backup has layout {header['layout']}, but this version knows layouts up to {SCHEMA_VERSION}; use the "
            "version that made it, or a newer one",
            resource="backup",
            state="UNKNOWN_LAYOUT",
        )


def _json(content: IO[bytes], size: int) -> dict[str, Any]:
    if size > _MAX_JSON:
        raise _unusable()
    value = json.loads(content.read())
    if not isinstance(value, dict):
        raise _unusable()
    return value


def _write(content: IO[bytes], path: Path) -> str:
    """Write a file; return its SHA-256."""
    digest = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _unusable() -> InvalidArgument:
    return reasons.invalid_field(
        "not a complete memgpt backup: it is truncated, damaged or another kind of file; nothing was changed",
        field="backup",
    )


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    os.umask(0o077)
    parser = argparse.ArgumentParser(
        prog="memgpt-memory restore",
        description="Put a backup in the place of the Milvus Lite store that the configuration names (memory.uri).",
    )
    parser.add_argument("file", metavar="FILE", help="the backup; - for standard input")
    parser.add_argument("--force", action="store_true", help="move a store that is there aside")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file (~/.memgpt/config.toml)")
    arguments = parser.parse_args(argv)
    try:
        config = load_config("memory", MemorySettings, path=arguments.config)
        store = config.service.lite_file(config.home)
        if store is None:
            raise reasons.wrong_state(
                f"memory.uri is a Milvus server ({config.service.uri}), but backups are of Milvus Lite; use "
                "milvus-backup, or set memory.uri to a file",
                resource="store",
                state="SERVER",
            )
        if arguments.file == "-":
            former = restore(sys.stdin.buffer, store, replace=arguments.force)
        else:
            with Path(arguments.file).open("rb") as file:
                former = restore(file, store, replace=arguments.force)
    except ConfigError as error:
        return _fail(str(error), 2)
    except ServiceError as error:
        return _fail(error.message, 1)
    except OSError as error:
        given = error.filename is not None and str(error.filename) == arguments.file
        remedy = "" if given else "; make its folder writable, or set another file (memory.uri)"
        return _fail(f"cannot use {error.filename or store} ({error.strerror or error}){remedy}", 1)
    sys.stdout.write(f"Restored {store}\n")
    if former is not None:
        sys.stdout.write(f"The previous store is now {former}; delete it when you no longer need it\n")
    return 0


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"memgpt-memory: {message}\n")
    return code
