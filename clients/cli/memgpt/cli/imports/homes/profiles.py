"""Personas, humans and presets of MemGPT 0.1 to 0.3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from memgpt.cli.imports.bounded import read_bytes
from memgpt.cli.imports.pieces import Profile, ProfileKind
from memgpt.cli.imports.report import Report
from memgpt.cli.imports.sqlite_database import Database
from memgpt.cli.imports.values import string

_MAX_TEXT = 1 << 20
_FOLDERS = (
    ("personas", ProfileKind.PERSONA),
    ("humans", ProfileKind.HUMAN),
    ("system_prompts", ProfileKind.PRESET),
)
_TABLES = (
    ("personamodel", "text", ProfileKind.PERSONA),
    ("humanmodel", "text", ProfileKind.HUMAN),
    ("presets", "system", ProfileKind.PRESET),
)


def read_profiles(home: Path, metadata: Database | None, report: Report) -> Iterator[Profile]:
    """Yield the profiles in the folders and tables of a home; those of the folders come first and once."""
    seen: set[tuple[ProfileKind, str, str]] = set()
    for profile in (*_in_folders(home, report), *_in_tables(metadata)):
        key = (profile.kind, profile.name, profile.text)
        if key not in seen and profile.text.strip():
            seen.add(key)
            yield profile


def _in_folders(home: Path, report: Report) -> Iterator[Profile]:
    for folder, kind in _FOLDERS:
        for path in sorted((home / folder).glob("*.txt")):
            if path.is_symlink() or not path.is_file():
                report.left_out(folder, "link or folder in place of a text", path.name)
            else:
                yield Profile(kind, path.stem, read_bytes(path, _MAX_TEXT).decode(errors="replace"))
    for path in sorted((home / "presets").glob("*.yaml")):
        report.left_out("presets", "preset file; it only names a system prompt and functions", path.name)


def _in_tables(metadata: Database | None) -> Iterator[Profile]:
    for table, column, kind in _TABLES if metadata else ():
        assert metadata is not None  # noqa: S101 - for the type checker
        for row in metadata.rows(table, ("name", column)):
            yield Profile(kind, string(row["name"]), string(row[column]))
