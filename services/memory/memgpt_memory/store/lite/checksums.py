"""Checksums of a Lite store's files, checked before Lite opens a collection.

Lite reads a damaged log up to the damage, falls back to an older manifest, skips missing files, and then removes those
that its manifest does not name. Each of these loses rows silently. Files of rows carry the checksums of Parquet's
pages, to which one of their footers is added, and a manifest has a checksum of its own (see `private`). For logs, a
separate file records the length of each at its last sync, and its checksum up to there.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

CHECKSUM = "memgpt_checksum"
"""The key of a manifest's own checksum."""

_FOOTER_MARK = b"MGFT"
"""Precedes the checksum of a footer."""

_PARQUET_END = struct.Struct("<I4s")
"""The last bytes of a Parquet file: the length of its footer, which comes before them, and a fixed mark."""

_FOOTER_CHECKSUM = struct.Struct("<4sI")

_VERSION = "version"
_READ_BYTES = 1 << 20
_SUFFIX = ".crc"


def manifest_checksum(manifest: Mapping[str, object]) -> int:
    """Return the checksum of a manifest, without itself and the version that Lite adds later."""
    kept = {key: value for key, value in manifest.items() if key not in (CHECKSUM, _VERSION)}
    return zlib.crc32(json.dumps(kept, sort_keys=True).encode())


def add_footer_checksum(path: Path) -> None:
    """Write the checksum of a Parquet file's footer before it, where readers see nothing: Parquet has none of its own.

    The footer says what the columns are called and where their pages are.
    """
    with path.open("r+b") as file:
        start, footer = _footer(file)
        file.seek(start)
        file.write(_FOOTER_CHECKSUM.pack(_FOOTER_MARK, zlib.crc32(footer)) + footer)


def is_footer_altered(path: Path) -> bool:
    """Return whether a Parquet file's footer differs from its checksum; False if it has none."""
    with path.open("rb") as file:
        start, footer = _footer(file)
        file.seek(max(start - _FOOTER_CHECKSUM.size, 0))
        noted = file.read(_FOOTER_CHECKSUM.size)
    if len(noted) < _FOOTER_CHECKSUM.size:
        return False  # too short for a Parquet file
    mark, checksum = _FOOTER_CHECKSUM.unpack(noted)
    return bool(mark == _FOOTER_MARK and checksum != zlib.crc32(footer))


def _footer(file: BinaryIO) -> tuple[int, bytes]:
    """Return where the footer of a Parquet file starts, and the footer with all that follows it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _PARQUET_END.size, 0))
    end = file.read()
    length = _PARQUET_END.unpack(end)[0] if len(end) == _PARQUET_END.size else 0
    start = max(size - _PARQUET_END.size - length, 0)
    file.seek(start)
    return start, file.read()


class LogChecksums:
    """The checksums of one collection's logs."""

    def __init__(self, folder: Path, logs: Path) -> None:
        """Keep checksums in `folder` for the logs in `logs`."""
        self._folder = folder
        self._logs = logs
        self._known: dict[str, tuple[int, int]] = {}

    def note(self, name: str) -> None:
        """Note the length and the checksum of a log that was synced just now."""
        size, checksum = self._known.get(name, (0, 0))
        with (self._logs / name).open("rb") as log:
            log.seek(size)
            while data := log.read(_READ_BYTES):
                size += len(data)
                checksum = zlib.crc32(data, checksum)
        if name not in self._known:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.remove_obsolete()
        self._known[name] = size, checksum
        with (self._folder / f"{name}{_SUFFIX}").open("a") as notes:
            notes.write(f"{size} {checksum}\n")

    def find_damage(self) -> str:
        """Return what is wrong with the logs; empty if nothing is."""
        for notes in sorted(self._folder.glob("*")):
            log = self._logs / notes.stem
            complete, _, _ = notes.read_text(errors="replace").rpartition("\n")  # the last line may be torn
            if complete and not log.exists() and is_due(self._logs.parent, log.name):
                return f"the log {log.name} is missing"
            if complete and log.exists():
                noted = parse_note(complete.rpartition("\n")[2])
                if noted is None:
                    return f"the checksums of the log {log.name} cannot be read"
                content = log.read_bytes()
                if len(content) < noted[0]:
                    return f"the log {log.name} is truncated"
                if zlib.crc32(content[: noted[0]]) != noted[1]:
                    return f"the log {log.name} has been altered"
        return ""

    def remove(self) -> None:
        """Remove the checksums of a collection that is dropped."""
        self._known.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def remove_obsolete(self) -> None:
        """Remove the checksums of logs that are no longer there."""
        for notes in self._folder.glob("*"):
            if not (self._logs / notes.stem).exists():
                notes.unlink()
                self._known.pop(notes.stem, None)


def parse_note(line: str) -> tuple[int, int] | None:
    """Return the length and the checksum of a log from a line of its checksums; None if the line is damaged."""
    size, _, checksum = line.partition(" ")
    if not (size.isascii() and size.isdecimal() and checksum.isascii() and checksum.isdecimal()):
        return None
    return int(size), int(checksum)


def is_due(folder: Path, log: str) -> bool:
    """Return whether the rows of a log are in no file yet."""
    return _number(log) >= _first_log(folder)


def _number(log: str) -> int:
    return int(log.partition(".")[0].rpartition("_")[2])


def _first_log(folder: Path) -> int:
    """Return the number of the first log that a collection's manifest does not say is in files."""
    path = folder / "manifest.json"
    return int(json.loads(path.read_text()).get("active_wal_number") or 0) if path.exists() else 0


def flushed_logs(folder: Path) -> list[Path]:
    """Return the logs of a collection that its manifest says are in files: a crash came before they were removed."""
    first = _first_log(folder)
    return [log for log in folder.glob("wal/*.arrow") if _number(log.name) < first]


def find_damage(folder: Path) -> str:
    """Return what is wrong with the manifest of a collection, or the files that it names; empty if nothing is."""
    path = folder / "manifest.json"
    if not path.exists():
        # The first flush writes files, then the manifest, and only then removes the first log.
        flushed = any(folder.glob("partitions/*/*/*.parquet")) and not any(folder.glob("wal/*_000001.arrow"))
        return "its manifest is missing" if flushed else ""
    try:
        manifest = json.loads(path.read_text())
        partitions = manifest["partitions"]
        named = [
            folder / "partitions" / partition / file
            for partition, files in partitions.items()
            for file in (*files["data_files"], *files["delta_files"])
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its manifest cannot be read"
    if CHECKSUM in manifest and manifest[CHECKSUM] != manifest_checksum(manifest):
        return "its manifest has been altered"
    for file in named:
        if not file.exists():
            return f"{file.name} is missing"
        if is_footer_altered(file):
            return f"the footer of {file.name} has been altered"
    return ""
