"""Detection of file formats, by content first and by name second."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import BinaryIO

from memgpt_loader import decoding
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.inspected_file import OLE, InspectedFile, suffix_of
from memgpt_loader.formats.registry import FORMATS, format_of, media_type_named
from memgpt_loader.formats.spec import PLAIN, Format, encrypted

_BINARY = [each for each in FORMATS if each.first_bytes or each.needs_recognition]
_TEXT = [each for each in FORMATS if each not in _BINARY]
_ENCRYPTED_OFFICE = "EncryptedPackage"
_CONVERT = "convert it to PDF or text"
_UNPACK = "unpack it and load what is in it"

# Unsupported formats by their first bytes, and what to do about them. Where the first bytes are letters, the pattern
# includes bytes that text does not contain: "BM25 ranks passages" is a sentence.
_FOREIGN = (
    (b"PK\x03\x04", "a ZIP archive", _UNPACK),
    (rb"RIFF.{4}(?:WAVE|AVI )", "a sound or a film", _CONVERT),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (rb"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x7fELF", "a program", _CONVERT),
    (b"MZ\x90", "a program", _CONVERT),
    (rb"SQLite format 3\x00", "a database", _CONVERT),
)


def media_type_of(name: str, source: BinaryIO | bytes) -> str:
    """Return the media type of a file.

    A file with a signature (PDF, office documents, EPUB, HTML, e-mail) is identified by it, whatever its name. Text has
    no signature, so its extension decides which kind of text it is; with an unknown extension it is plain text.

    Args:
        name: The file's name; only its extension counts.
        source: The file; the position of a stream is undefined afterwards.

    Returns:
        One of the media types of `registry.FORMATS`.

    Raises:
        FileFailure: It is empty, encrypted or of an unsupported kind, or its content does not match its extension.
    """
    named = media_type_named(suffix_of(name))
    inspected = InspectedFile(name, source, named)
    if not inspected.head:
        raise FileFailure(FailureReason.EMPTY, "the file is empty; check that it was saved or downloaded completely")
    if found := _signed(inspected, _BINARY):
        return found
    if inspected.holds_stream(_ENCRYPTED_OFFICE):
        raise encrypted()
    if named and (first := format_of(named).first_bytes):
        if inspected.head.startswith(first) and inspected.parts is None:
            return named  # the parser reports what is damaged
        named = format_of(named).also_text if _is_text(inspected) else ""
        if not named:
            raise _misnamed(inspected, media_type_named(inspected.suffix))
    if found := _signed(inspected, _TEXT):
        return found
    if foreign := _foreign(inspected):
        what, advice = foreign
        raise FileFailure(FailureReason.UNSUPPORTED, f"the file is {what}, which the Loader does not read; {advice}")
    return named or _unnamed(inspected)


def _is_text(inspected: InspectedFile) -> bool:
    return b"\x00" not in inspected.head and _foreign(inspected) is None


def _signed(inspected: InspectedFile, formats: Sequence[Format]) -> str:
    return next((found for each in formats if each.signature is not None and (found := each.signature(inspected))), "")


def _misnamed(inspected: InspectedFile, named: str) -> FileFailure:
    what, advice = _foreign(inspected) or ("", "export or download it again")
    return FileFailure(
        FailureReason.BROKEN,
        f"the file has a {inspected.suffix} extension, but its content is not a {format_of(named).name}"
        f"{f' but {what}' if what else ''}; {advice}",
    )


def _foreign(inspected: InspectedFile) -> tuple[str, str] | None:
    """Return the name of an unsupported format and what to do about it; None if it is not recognized."""
    if inspected.parts is not None and any(name.endswith(".iwa") for name in inspected.parts):
        return "a Pages, Numbers or Keynote document", "export it as PDF or as an office document"
    if inspected.head.startswith(OLE):
        return "a legacy office document", _CONVERT
    return next(
        ((what, advice) for magic, what, advice in _FOREIGN if re.match(magic, inspected.head, re.DOTALL)), None
    )


def _unnamed(inspected: InspectedFile) -> str:
    inspected.stream.seek(0)
    if decoding.is_utf8(inspected.stream):
        return PLAIN
    raise FileFailure(
        FailureReason.UNSUPPORTED,
        f"the file is neither UTF-8 text nor in a format that the Loader knows by its content or extension; {_CONVERT}",
    )
