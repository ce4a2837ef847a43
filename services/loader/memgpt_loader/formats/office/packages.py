"""Documents that are ZIP archives of XML: opened with an eye on bombs."""

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
from memgpt_loader.formats.spec import File, Limits, broken, encrypted

_PIECE = 1024 * 1024
_MOST_ENTRIES = 20_000
_MOST_RATIO = 200
"""Bytes that one packed byte may become, from `_RATIO_FROM` on: office documents reach some dozens."""
_RATIO_FROM = 16 * 1024 * 1024
_MOST_DEPTH = 200
"""Elements within elements: Word's own limit for tables in tables is far below."""


@dataclass(frozen=True)
class Relationship:
    """What a part of an office document refers to."""

    kind: str
    """The last part of its type: `slide`, `hyperlink`."""
    target: str
    """Name of a part, or an address outside."""


class Package:
    """An open archive.

    Attributes:
        names: Names of its parts.
        in_order: The same as they stand in the archive.
    """

    def __init__(self, archive: zipfile.ZipFile, what: str) -> None:
        self._archive = archive
        self._what = what
        self.in_order = tuple(archive.namelist())
        self.names = frozenset(self.in_order)

    def read(self, name: str) -> bytes:
        """A part's bytes.

        Raises:
            FileFailure: BROKEN: it is not there, or damaged.
        """
        with self._errors():
            return self._archive.read(name)

    def after(self, name: str, mark: re.Pattern[bytes]) -> bytes:
        """A part's bytes after the first match of a mark of at most 64 bytes; none if it is not found.

        Raises:
            FileFailure: BROKEN: it is not there, or damaged.
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
        """The events `start` and `end` of a part's elements, as they are read; clear those that are done with.

        Raises:
            FileFailure: BROKEN; TOO_LARGE for XML that declares entities, or is nested too deep.
        """
        with self._errors(), self._archive.open(name) as stream:
            yield from _elements(stream)

    def root(self, name: str) -> Element:
        """A small part as a tree; the failures are those of `elements`."""
        return _first(self.elements(name), self._what)

    def relationships(self, part: str) -> dict[str, Relationship]:
        """What an office document's part refers to, by the ids that it uses; `part` is empty for the package itself."""
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
        """Name of the part with an office document's content."""
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
    """Reads a document of XML that is not in an archive; the failures are those of `Package.elements`."""
    with _errors_of(what):
        return _first(_elements(stream), what)


def _first(elements: Iterator[tuple[str, Element]], what: str) -> Element:
    first: Element | None = None
    for _, element in elements:
        first = element if first is None else first
    if first is None:
        raise broken(what)
    return first


@contextmanager
def open_package(file: File, what: str, limits: Limits) -> Iterator[Package]:
    """Opens an archive whose parts, unpacked, are within bounds.

    Args:
        file: The file.
        what: What it is to be, as the beginning of a sentence: "The presentation".
        limits: What it may ask for.

    Raises:
        FileFailure: BROKEN, ENCRYPTED or TOO_LARGE.
    """
    with file.open() as stream, _opened(stream, what) as archive:
        parts = archive.infolist()
        if any(part.flag_bits & 1 for part in parts):
            raise encrypted()
        # What is declared here is all that the library unpacks of a part.
        unpacked = sum(part.file_size for part in parts)
        if (
            unpacked > limits.max_unpacked_bytes
            or len(parts) > _MOST_ENTRIES
            or unpacked > max(_RATIO_FROM, _MOST_RATIO * stream.seek(0, os.SEEK_END))
        ):
            raise FileFailure(
                FailureReason.TOO_LARGE,
                f"{what} expands to {unpacked:,} bytes in {len(parts):,} parts, which looks like a decompression bomb. "
                "If it is to be trusted, split it, or raise loader.max_unpacked_bytes.",
            )
        yield Package(archive, what)


def _opened(stream: BinaryIO, what: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(stream)
    except _BROKEN as error:
        raise broken(what, error) from error


def declares_entities(what: str, error: Exception) -> FileFailure:
    """The failure of a file with XML that declares entities."""
    return FileFailure(
        FailureReason.TOO_LARGE,
        f"{what} declares XML entities, as bombs do and no such document needs. "
        "If it is to be trusted, open it where it was made, and save it again.",
        detail=type(error).__name__,
    )


def resolve(part: str, target: str) -> str:
    """The name of the part that another one refers to."""
    pieces: list[str] = [] if target.startswith("/") else list(PurePosixPath(part).parent.parts)
    for piece in target.split("/"):
        if piece == "..":
            with suppress(IndexError):
                pieces.pop()
        elif piece not in ("", "."):
            pieces.append(piece)
    return "/".join(pieces)


def local(element: Element) -> str:
    """An element's name without its namespace; empty for comments and the like."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: Element, name: str) -> str:
    """The value of an attribute, whatever its namespace; empty if it is not there."""
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def relationship_id(element: Element) -> str:
    """The id of a relationship: `r:id`, where `id` alone is another thing."""
    return next((value for key, value in element.attrib.items() if key.endswith("relationships}id")), "")


def _elements(stream: IO[bytes]) -> Iterator[tuple[str, Element]]:
    depth = 0
    for event, element in iterparse(stream, events=("start", "end"), forbid_dtd=False, forbid_entities=True):
        depth += 1 if event == "start" else -1
        if depth > _MOST_DEPTH:
            raise FileFailure(
                FailureReason.TOO_LARGE,
                f"The file has elements nested more than {_MOST_DEPTH} deep, as bombs have. "
                "If it is to be trusted, export it to PDF and load that.",
            )
        yield event, element
