"""The parts of a file that signatures inspect: name, first bytes, and the directory of an archive or compound file."""

from __future__ import annotations

import io
import re
import zipfile
from functools import cached_property
from pathlib import PurePosixPath
from typing import BinaryIO

HEAD_BYTES = 4096
"""Number of bytes at the start of a file that identify every format except packages."""

ZIP = b"PK\x03\x04"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_BYTES = 64 * 1024 * 1024
"""Maximum bytes of a compound file to search; its directory may be anywhere."""


class InspectedFile:
    """A file whose format is being detected."""

    def __init__(self, name: str, source: BinaryIO | bytes, named: str = "") -> None:
        """Read the first bytes.

        Args:
            name: The file's name; only its extension counts.
            source: The file; the position of a stream is undefined afterwards.
            named: The media type that the extension stands for; empty if none.
        """
        self.stream: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source
        self.head = self.stream.read(HEAD_BYTES)
        self.suffix = suffix_of(name)
        self.named = named

    @cached_property
    def parts(self) -> frozenset[str] | None:
        """Names of the parts of a ZIP archive; None if it is damaged or not a ZIP archive."""
        if not self.head.startswith(ZIP):
            return None
        try:
            with zipfile.ZipFile(self.stream) as archive:
                return frozenset(archive.namelist())
        except Exception:  # noqa: BLE001 - damage of any kind is reported by the parser that the extension selects
            return None

    @cached_property
    def declared(self) -> str:
        """Content of the part `mimetype` of a ZIP archive, as in EPUB and OpenDocument; empty if absent."""
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
        """Whether it is an Office Open XML package with parts in the given folder."""
        parts = self.parts
        return parts is not None and "[Content_Types].xml" in parts and any(each.startswith(folder) for each in parts)

    def holds_stream(self, name: str) -> bool:
        """Whether it is a compound file with a stream of the given name."""
        return name.encode("utf-16-le") in self._compound

    @cached_property
    def _compound(self) -> bytes:
        if not self.head.startswith(OLE):
            return b""
        self.stream.seek(0)
        return self.stream.read(_OLE_BYTES)


def after_prolog(head: bytes) -> bytes:
    """Return the first bytes of a markup file after white space, the XML declaration and comments."""
    at = 3 if head.startswith(b"\xef\xbb\xbf") else 0
    while True:
        at += len(head[at:]) - len(head[at:].lstrip())
        mark = next((end for start, end in _PROLOG.items() if head.startswith(start, at)), None)
        if mark is None or (end := head.find(mark, at)) < 0:
            return head[at:]
        at = end + len(mark)


_PROLOG = {b"<?xml": b">", b"<?mso-": b">", b"<!--": b"-->"}


def suffix_of(name: str) -> str:
    """Return the extension of a file name or URL in lower case, with its dot."""
    path = re.split(r"[?#]", name, maxsplit=1)[0] if "://" in name else name.replace("\\", "/")
    return PurePosixPath(path).suffix.lower()
