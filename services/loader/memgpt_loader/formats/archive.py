"""Archives: each member file is a document, listed under its name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast

from memgpt_loader import decoding
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.embedded import MOST_DEPTH, embedded_text
from memgpt_loader.formats.inspected_file import InspectedFile
from memgpt_loader.formats.office.packages import open_package
from memgpt_loader.formats.spec import File, FileLimits, Format, PageText, Parsed, broken, too_many_pages
from memgpt_loader.markup import one_line
from memgpt_loader.notes import NoteKind, Notes

ARCHIVE = "application/zip"
TAR = "application/x-tar"
GZIP, BZIP2, XZ = "application/gzip", "application/x-bzip2", "application/x-xz"

_WHAT = "the archive"
_PACKED: dict[str, tuple[bytes, Callable[[BinaryIO], IO[bytes]]]] = {
    GZIP: (b"\x1f\x8b\x08", lambda stream: cast("IO[bytes]", gzip.GzipFile(fileobj=stream))),
    BZIP2: (b"BZh", bz2.open),
    XZ: (b"\xfd7zXZ\x00", lzma.open),
}
# A block, or the end of an empty file: text may begin with "BZh".
_BZIP2_START = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
_TAR_AT, _TAR = 257, b"ustar"
_PIECE = 1024 * 1024
_UTF8_NAME = 0x800
_UNIX = 3
_UNREADABLE = "the archive is damaged or cut off; check that it was saved completely"
_DAMAGED = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)
_DEBRIS = (".DS_Store", "Thumbs.db", "desktop.ini")


def _parse(file: File, limits: FileLimits) -> Parsed:
    if file.depth >= MOST_DEPTH:
        raise FileFailure(FailureReason.TOO_LARGE, "it is nested in too many other files; load it by itself")
    notes = Notes()
    members = list(_members(file, limits))
    if not members:
        raise FileFailure(FailureReason.EMPTY, "the archive contains no files; check that it was saved completely")
    if len(members) > limits.max_pages:
        raise too_many_pages(len(members), "files", limits)
    return Parsed(len(members), _pages(file, members, limits, notes), notes)


def _pages(file: File, members: list[str], limits: FileLimits, notes: Notes) -> Iterator[PageText]:
    chars = 0
    # A name may occur twice, so members are identified by position.
    for number, (name, read) in enumerate(_contents(file, limits, notes), start=1):
        if number > len(members):
            raise broken(_WHAT)
        heading = f"# {one_line(name)}"
        try:
            words = embedded_text(name, read(), file, limits, notes)
        except FileFailure as failure:
            notes.add(NoteKind.ATTACHMENT, one_line(name), reason=failure.message)
            words = ""
        chars += len(words)
        if chars > limits.max_chars:
            raise FileFailure(
                FailureReason.TOO_LARGE, "the archive contains too much text; unpack it and load its files"
            )
        yield PageText(number, f"{heading}\n\n{words}".strip())


def _members(file: File, limits: FileLimits) -> Iterator[str]:
    return (name for name, _ in _contents(file, limits, Notes()))


def _contents(file: File, limits: FileLimits, notes: Notes) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the name of each member file and a function that reads it, or raises FileFailure if it is damaged."""
    if file.media_type == ARCHIVE:
        with open_package(file, _WHAT, limits, allow_encrypted=True) as package:
            names = _zip_names(package.entries)
            for entry, name in zip(package.entries, names, strict=True):
                if _counts(name) and not _is_link(entry):
                    yield name, lambda entry=entry: package.read(entry)  # type: ignore[misc]
        return
    with _unpacked(file, limits) as stream:
        if (archive := _tar(stream)) is None:
            yield _inner_name(file), stream.read
            return
        with archive:
            yield from _tar_contents(archive, stream, notes)


def _tar_contents(
    archive: tarfile.TarFile, stream: BinaryIO, notes: Notes
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    try:
        for member in archive:
            if member.isreg() and _counts(member.name):
                yield member.name, lambda member=member: _tar_member(archive, member)  # type: ignore[misc]
        stream.seek(archive.offset)
        end = stream.read(tarfile.BLOCKSIZE)
        is_complete = len(end) == tarfile.BLOCKSIZE and not end.strip(b"\x00")
        more = any(piece.strip(b"\x00") for piece in iter(lambda: stream.read(_PIECE), b""))
    except _DAMAGED:
        is_complete = more = False
    if not is_complete:
        notes.add(NoteKind.MISSING_PART, "the end of the archive, or a part of it", reason=_UNREADABLE)
    if more:  # archives joined to one, or the part after the damage
        stream.seek(archive.offset + tarfile.BLOCKSIZE)
        with tarfile.open(fileobj=stream, mode="r:", ignore_zeros=True) as rest:
            yield from _tar_contents(rest, stream, Notes())


def _tar_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    try:
        opened = archive.extractfile(member)
        return b"" if opened is None else opened.read()
    except _DAMAGED as error:
        raise broken("the file in the archive", error) from error


def _zip_names(entries: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Return the names of members; many programs write them in UTF-8, or the system's encoding, without saying so."""
    raw = [b"" if each.flag_bits & _UTF8_NAME else each.filename.encode("cp437", "replace") for each in entries]
    beyond = b"\n".join(name for name in raw if not name.isascii())
    encoding = "cp437"
    if beyond:
        with suppress(FileFailure):
            encoding = decoding.find_encoding(io.BytesIO(beyond))
    names = []
    for entry, name in zip(entries, raw, strict=True):
        try:
            names.append(decoding.writable(name.decode(encoding)) if not name.isascii() else entry.filename)
        except (UnicodeError, LookupError):
            names.append(entry.filename)
    return names


def _is_link(entry: zipfile.ZipInfo) -> bool:
    return entry.create_system == _UNIX and stat.S_ISLNK(entry.external_attr >> 16)


def _counts(name: str) -> bool:
    """Whether a member is a file that the archive's author added, rather than one the system created."""
    path = PurePosixPath(name)
    return not (name.endswith("/") or "__MACOSX" in path.parts or path.name in _DEBRIS or path.name.startswith("._"))


@contextmanager
def _unpacked(file: File, limits: FileLimits) -> Iterator[BinaryIO]:
    """Unpack a tar archive or a single compressed file in memory, within the size limits."""
    with file.open() as stream:
        if file.media_type == TAR:
            yield stream
            return
        unpacked = io.BytesIO()
        try:
            with _PACKED[file.media_type][1](stream) as source:
                while piece := source.read(_PIECE):
                    unpacked.write(piece)
                    if unpacked.tell() > limits.max_unpacked_bytes:
                        raise FileFailure(
                            FailureReason.TOO_LARGE,
                            f"the archive expands to more than {limits.max_unpacked_bytes:,} bytes; "
                            "split it, or raise loader.max_unpacked_bytes",
                        )
        except _DAMAGED as error:
            raise broken(_WHAT, error) from error
        unpacked.seek(0)
        yield unpacked


def _tar(stream: BinaryIO) -> tarfile.TarFile | None:
    stream.seek(_TAR_AT)
    is_tar = stream.read(len(_TAR)) == _TAR
    stream.seek(0)
    if not is_tar:
        return None
    with _tar_errors():
        return tarfile.open(fileobj=stream, mode="r:")


@contextmanager
def _tar_errors() -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise broken(_WHAT, error) from error


def _inner_name(file: File) -> str:
    name = PurePosixPath(file.name.replace("\\", "/")).name
    return PurePosixPath(name).stem or "file"


def _signature(inspected: InspectedFile) -> str:
    # Programs and unsupported document formats are ZIP archives, too.
    if inspected.parts is not None and (
        not inspected.suffix or inspected.named == ARCHIVE or inspected.named.startswith("text/")
    ):
        return ARCHIVE
    if inspected.head.startswith(_TAR, _TAR_AT):
        return TAR
    found = next((kind for kind, (magic, _) in _PACKED.items() if inspected.head.startswith(magic)), "")
    return "" if found == BZIP2 and not _BZIP2_START.match(inspected.head) else found


FORMAT = Format(
    name="archive",
    media_types={
        ARCHIVE: (".kmz", ".zip"),
        TAR: (".tar",),
        GZIP: (".gz", ".tgz"),
        BZIP2: (".bz2", ".tbz2"),
        XZ: (".xz", ".txz"),
    },
    parse=_parse,
    reads="each contained file of any supported format, as a document under its name",
    omits="contained files that cannot be read, or need a password",
    pages="files",
    signature=_signature,
)
