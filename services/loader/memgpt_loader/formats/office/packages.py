"""Documents that are ZIP archives of XML, opened with limits against decompression bombs."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, BinaryIO
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.spec import File, FileLimits, broken, encrypted

_PIECE = 1024 * 1024
_MOST_ENTRIES = 20_000
_MOST_RATIO = 200
"""Maximum compression ratio for parts from `_RATIO_FROM` bytes on; office documents reach a few dozen."""
_RATIO_FROM = 16 * 1024 * 1024
_MOST_DEPTH = 200
"""Maximum nesting depth of elements, far above Word's own limit for nested tables."""


@dataclass(frozen=True)
class Relationship:
    """A reference from a part of an office document to a part or an address."""

    kind: str
    """The last segment of its type, such as `slide` or `hyperlink`."""
    target: str
    """Name of a part, or an external address."""


class Package:
    """An open archive.

    Attributes:
        names: Names of the parts.
        entries: Their directory entries in archive order; a name may occur twice.
    """

    def __init__(self, archive: zipfile.ZipFile, what: str) -> None:
        self._archive = archive
        self._what = what
        self.entries = tuple(archive.infolist())
        self.names = frozenset(archive.namelist())

    def read(self, name: str | zipfile.ZipInfo) -> bytes:
        """Return the bytes of a part, by its name or entry.

        Raises:
            FileFailure: It is missing or damaged (BROKEN), or encrypted (ENCRYPTED).
        """
        entry = name if isinstance(name, zipfile.ZipInfo) else None
        if entry is not None and _is_encrypted(entry):
            raise encrypted()
        with self._errors():
            return self._archive.read(name)

    def after(self, name: str, mark: re.Pattern[bytes]) -> bytes:
        """Return a part's bytes after the first match of a mark of at most 64 bytes; no bytes if it is not found.

        Raises:
            FileFailure: It is missing or damaged (BROKEN).
        """
        rest = b""
        with self._errors(), self._archive.open(name) as stream:
            while piece := stream.read(_PIECE):
                rest += piece
                if match := mark.search(rest):
                    return rest[match.end() :] + stream.read()
                rest = rest[-64:]
        return b""

    def elements(self, name: str) -> Iterator[tuple[str, Element]]:
        """Yield the `start` and `end` events of a part's elements as it is read; clear finished elements.

        Raises:
            FileFailure: It is damaged (BROKEN), or declares entities or is nested too deeply (TOO_LARGE).
        """
        with self._errors(), self._archive.open(name) as stream:
            yield from _elements(stream)

    def root(self, name: str) -> Element:
        """Return a small part as a tree; raises like `elements`."""
        return _first(self.elements(name), self._what)

    def relationships(self, part: str) -> dict[str, Relationship]:
        """Return the relationships of a part by id; an empty `part` means the package itself."""
        path = PurePosixPath(part)
        name = str(path.parent / "_rels" / f"{path.name}.rels")
        if name not in self.names:
            return {}
        found = {}
        for each in self.root(name):
            target, kind = each.get("Target", ""), each.get("Type", "").rpartition("/")[2]
            external = each.get("TargetMode") == "External"
            found[each.get("Id", "")] = Relationship(kind, target if external else resolve(part, target))
        return found

    def main_part(self) -> str:
        """Return the name of the part that holds an office document's content."""
        for each in self.relationships("").values():
            if each.kind == "officeDocument" and each.target in self.names:
                return each.target
        raise broken(self._what)

    def _errors(self) -> AbstractContextManager[None]:
        return _errors_of(self._what)


_BROKEN = (zipfile.BadZipFile, zlib.error, LookupError, EOFError, NotImplementedError, ValueError, OSError)


@contextmanager
def _errors_of(what: str) -> Iterator[None]:
    try:
        yield
    except DefusedXmlException as error:
        raise declares_entities(what, error) from error
    except (*_BROKEN, ParseError) as error:
        raise broken(what, error) from error


def parse_tree(stream: IO[bytes], what: str) -> Element:
    """Parse an XML document that is not in an archive; raises like `Package.elements`."""
    with _errors_of(what):
        return _first(_elements(stream), what)


def parse_elements(stream: IO[bytes], what: str) -> Iterator[tuple[str, Element]]:
    """Yield the events of an XML document that is not in an archive, like `Package.elements`."""
    with _errors_of(what):
        yield from _elements(stream)


def _first(elements: Iterator[tuple[str, Element]], what: str) -> Element:
    first: Element | None = None
    for _, element in elements:
        first = element if first is None else first
    if first is None:
        raise broken(what)
    return first


@contextmanager
def open_package(file: File, what: str, limits: FileLimits, *, allow_encrypted: bool = False) -> Iterator[Package]:
    """Open an archive and check that its unpacked parts are within the limits.

    Args:
        file: The file.
        what: What the file is expected to be, as the start of an error message: "The presentation".
        limits: Limits of parsing.
        allow_encrypted: Whether some parts, but not all, may be encrypted.

    Raises:
        FileFailure: It is damaged (BROKEN), encrypted (ENCRYPTED) or too large (TOO_LARGE).
    """
    with file.open() as stream, _opened(stream, what) as archive:
        parts = archive.infolist()
        locked = [_is_encrypted(part) for part in parts if not part.filename.endswith("/")]
        if all(locked) if allow_encrypted and locked else any(locked):
            raise encrypted()
        # The library unpacks no more of a part than its declared size.
        unpacked = sum(part.file_size for part in parts)
        if (
            unpacked > limits.max_unpacked_bytes
            or len(parts) > _MOST_ENTRIES
            or unpacked > max(_RATIO_FROM, _MOST_RATIO * stream.seek(0, os.SEEK_END))
        ):
            raise FileFailure(
                FailureReason.TOO_LARGE,
                f"{what} expands to {unpacked:,} bytes in {len(parts):,} parts, which looks like a decompression bomb; "
                "if you trust it, split it, or raise loader.max_unpacked_bytes",
            )
        yield Package(archive, what)


def _is_encrypted(part: zipfile.ZipInfo) -> bool:
    return bool(part.flag_bits & 1)


def _opened(stream: BinaryIO, what: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(stream)
    except _BROKEN as error:
        raise broken(what, error) from error


def declares_entities(what: str, error: Exception) -> FileFailure:
    """Return the failure for a file whose XML declares entities."""
    return FileFailure(
        FailureReason.TOO_LARGE,
        f"{what} declares XML entities, which are refused because of XML bombs; if you trust the file, save it "
        "again from its application",
        detail=type(error).__name__,
    )


def resolve(part: str, target: str) -> str:
    """Resolve a reference to the name of the part."""
    pieces: list[str] = [] if target.startswith("/") else list(PurePosixPath(part).parent.parts)
    for piece in target.split("/"):
        if piece == "..":
            with suppress(IndexError):
                pieces.pop()
        elif piece not in ("", "."):
            pieces.append(piece)
    return "/".join(pieces)


def local(element: Element) -> str:
    """Return an element's name without its namespace; empty for comments and other non-elements."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: Element, name: str) -> str:
    """Return the value of an attribute in any namespace; empty if absent."""
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def relationship_id(element: Element) -> str:
    """Return the relationship id `r:id`, as opposed to a plain `id` attribute."""
    return next((value for key, value in element.attrib.items() if key.endswith("relationships}id")), "")


def _elements(stream: IO[bytes]) -> Iterator[tuple[str, Element]]:
    depth = 0
    for event, element in iterparse(stream, events=("start", "end"), forbid_dtd=False, forbid_entities=True):
        depth += 1 if event == "start" else -1
        if depth > _MOST_DEPTH:
            raise FileFailure(
                FailureReason.TOO_LARGE,
                f"the file has elements nested more than {_MOST_DEPTH} levels deep; "
                "if you trust it, export it to PDF and load that",
            )
        yield event, element
