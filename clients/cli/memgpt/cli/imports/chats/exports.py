"""Exports of chats as people download them: a zip archive, a folder with its content, or one of its files."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from memgpt.cli.errors import CliError

_MAX_MEMBERS = 100_000
_MAX_BYTES = 4 << 30
_MAX_RATIO = 200
"""Maximum ratio of a member's size to its compressed size. JSON text has at most some 20."""


class Export:
    """The files of an export, found by their names.

    Attributes:
        path: The archive, folder or file.
        is_file: Whether it is a single file, whatever its name.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile | None) -> None:
        self.path = path
        self.is_file = archive is None and path.is_file()
        self._archive = archive

    def names(self, pattern: str) -> list[str]:
        """Return the names of files whose last part matches a pattern, in order."""
        return sorted(name for name in self._names() if re.fullmatch(pattern, name.rsplit("/", 1)[-1]))

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for reading.

        Raises:
            CliError: It is damaged, encrypted or a bomb.
        """
        if self._archive is None:
            with (self.path / name if self.path.is_dir() else self.path).open("rb") as file:
                yield file
            return
        try:
            with self._archive.open(name) as member:
                yield cast("BinaryIO", member)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise CliError(f"{self.path}, {name} cannot be read: {error}") from error

    def _names(self) -> list[str]:
        if self._archive is not None:
            return [each.filename for each in self._archive.infolist() if not each.is_dir()]
        if self.path.is_dir():
            return [each.name for each in self.path.iterdir() if each.is_file() and not each.is_symlink()]
        return [self.path.name]


@contextmanager
def open_export(path: Path) -> Iterator[Export]:
    """Open an export. Nothing is unpacked, so names in an archive are only labels.

    Raises:
        CliError: It does not exist, or is an archive that is damaged or a bomb.
    """
    if not path.exists():
        raise CliError(f"{path} does not exist; give the zip archive of the export, or a file of it")
    if path.is_dir() or not zipfile.is_zipfile(path):
        yield Export(path, None)
        return
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise CliError(f"{path} is a damaged zip archive: {error}") from error
    with archive:
        _check(archive, path)
        yield Export(path, archive)


def _check(archive: zipfile.ZipFile, path: Path) -> None:
    members = archive.infolist()
    if len(members) > _MAX_MEMBERS:
        raise CliError(f"{path} has more than {_MAX_MEMBERS:,} files")
    for member in members:
        if not member.filename.endswith(".json"):
            continue
        # zipfile reads no more of a member than the size that it declares.
        if member.file_size > _MAX_BYTES:
            raise CliError(f"{path}, {member.filename} is larger than {_MAX_BYTES >> 30} GiB")
        if member.file_size > 1 << 20 and member.file_size > _MAX_RATIO * member.compress_size:
            raise CliError(f"{path}, {member.filename} is compressed further than text can be; it is not an export")
