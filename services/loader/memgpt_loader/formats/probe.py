"""What a signature may look at: the name, the first bytes, and the directory of an archive or compound file."""

from __future__ import annotations

import io
import re
import zipfile
from functools import cached_property
from pathlib import PurePosixPath
from typing import BinaryIO

HEAD_BYTES = 4096
"""Bytes at the start of a file that suffice to tell its kind, but for packages."""

ZIP = b"PK\x03\x04"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_BYTES = 64 * 1024 * 1024
"""Of a compound file, whose directory may lie anywhere, no more than this is searched."""


class Probe:
    """A file whose kind is to be told."""

    def __init__(self, name: str, source: BinaryIO | bytes, named: str = "") -> None:
        """Reads the first bytes.

        Args:
            name: The file's name; only its extension counts.
            source: Its bytes; a stream is left anywhere.
            named: The media type that its extension names; empty if none.
        """
        self.stream: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source
        self.head = self.stream.read(HEAD_BYTES)
        self.suffix = suffix_of(name)
        self.named = named

    @cached_property
    def parts(self) -> frozenset[str] | None:
        """Names of the parts of a ZIP archive; None if it is damaged or none."""
        if not self.head.startswith(ZIP):
            return None
        try:
            with zipfile.ZipFile(self.stream) as archive:
                return frozenset(archive.namelist())
        except Exception:  # noqa: BLE001 - damaged in one of many ways: reported by the parser that its name calls for
            return None

    @cached_property
    def declared(self) -> str:
        """What the part `mimetype` of a ZIP archive says, as in EPUB and OpenDocument; empty if there is none."""
        if self.parts is None or "mimetype" not in self.parts:
            return ""
        try:
            with zipfile.ZipFile(self.stream) as archive:
                if archive.getinfo("mimetype").file_size > HEAD_BYTES:
                    return ""
                return archive.read("mimetype").strip().decode("ascii", "replace")
        except Exception:  # noqa: BLE001 - see above
            return ""

    def is_office(self, folder: str) -> bool:
        """Whether it is an Office Open XML package with parts in a folder."""
        parts = self.parts
        return parts is not None and "[Content_Types].xml" in parts and any(each.startswith(folder) for each in parts)

    def holds_stream(self, name: str) -> bool:
        """Whether it is a compound file with a stream of a name."""
        return name.encode("utf-16-le") in self._compound

    @cached_property
    def _compound(self) -> bytes:
        if not self.head.startswith(OLE):
            return b""
        self.stream.seek(0)
        return self.stream.read(_OLE_BYTES)


def suffix_of(name: str) -> str:
    """The extension of a file or of a web page's address, lower case, with its dot."""
    path = re.split(r"[?#]", name, maxsplit=1)[0] if "://" in name else name.replace("\\", "/")
    return PurePosixPath(path).suffix.lower()
