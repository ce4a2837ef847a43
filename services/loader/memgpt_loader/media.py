"""What kind of document a file is: by its content first, by its name second."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import PurePosixPath
from typing import BinaryIO

from memgpt_loader import text
from memgpt_loader.failures import FailureReason, FileFailure

PDF = "application/pdf"
PLAIN = "text/plain"
MARKDOWN = "text/markdown"
HTML = "text/html"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
CSV = "text/csv"
TSV = "text/tab-separated-values"
JSON = "application/json"
JSONL = "application/jsonl"
EPUB = "application/epub+zip"
MAIL = "message/rfc822"
MBOX = "application/mbox"

EXTENSIONS = {
    ".pdf": PDF,
    ".txt": PLAIN,
    ".text": PLAIN,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".docx": DOCX,
    ".docm": DOCX,
    ".pptx": PPTX,
    ".pptm": PPTX,
    ".ppsx": PPTX,
    ".xlsx": XLSX,
    ".xlsm": XLSX,
    ".csv": CSV,
    ".tsv": TSV,
    ".json": JSON,
    ".jsonl": JSONL,
    ".ndjson": JSONL,
    ".epub": EPUB,
    ".eml": MAIL,
    ".mbox": MBOX,
}
"""File name extensions, lower case, and what they say. Text in UTF-8 is read under any other name, too."""

SNIFF_BYTES = 4096
"""Bytes at the start of a file that suffice to tell its kind, but for packages."""

# A PDF may have junk ahead of its header; readers look for it in the first KiB (ISO 32000-1, appendix H.3).
_PDF_HEADER_WITHIN = 1024

_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_BYTES = 64 * 1024 * 1024
"""Of a compound file, whose directory may lie anywhere, no more than this is looked through."""
_MIMETYPE_WITHIN = 200
_ENCRYPTED_OFFICE = "EncryptedPackage".encode("utf-16-le")

_FOREIGN = (
    (_ZIP, "a ZIP archive"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"RIFF", "a sound, a film or an image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"{\\rtf", "an RTF document"),
    (b"SQLite format 3", "a database"),
)
# What is in a compound file, by the name of a stream that only this kind has.
_OLD = (
    ("WordDocument", "a Word document of the old kind"),
    ("Workbook", "an Excel workbook of the old kind"),
    ("PowerPoint Document", "a PowerPoint presentation of the old kind"),
    ("__properties_version1.0", "an Outlook message"),
)
_OPEN_DOCUMENT = b"application/vnd.oasis.opendocument."
_TAR_AT, _TAR = 257, b"ustar"
_PACKAGES = (("word/", DOCX), ("ppt/", PPTX), ("xl/", XLSX))
_PACKAGE_NAMES = {DOCX: "Word document", PPTX: "presentation", XLSX: "workbook", EPUB: "book"}

_HTML_START = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,2000}?-->\s*)*<(?:!doctype\s+html|html)[\s>]", re.I | re.S
)
_MAIL_START = re.compile(rb"(?:From [^\r\n]*\r?\n)?(?:[A-Za-z][A-Za-z0-9-]*:[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*\r?\n){3}")
_MAIL_HEADER = re.compile(
    rb"^(?:from|to|date|subject|received|return-path|message-id|mime-version|delivered-to):", re.I | re.M
)


def media_type_of(name: str, source: BinaryIO | bytes) -> str:
    """Decides the kind of a file.

    What has a signature (PDF, office documents, EPUB, HTML, e-mail) is known by it, whatever its name. Text has none,
    so its name says which kind of text it is, and plain text it is else.

    Args:
        name: The file's name; only its extension counts.
        source: Its bytes; a stream is left anywhere.

    Returns:
        One of the media types of this module.

    Raises:
        FileFailure: EMPTY, ENCRYPTED, BROKEN (is not what its name says) or UNSUPPORTED.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    head = stream.read(SNIFF_BYTES)
    if not head:
        raise FileFailure(FailureReason.EMPTY, "The file is empty. Check that it was saved or downloaded completely.")
    path = re.split(r"[?#]", name, maxsplit=1)[0] if "://" in name else name.replace("\\", "/")  # of a web page
    suffix = PurePosixPath(path).suffix.lower()
    named = EXTENSIONS.get(suffix)
    header = head[:_PDF_HEADER_WITHIN].find(b"%PDF-")
    if header == 0 or (header > 0 and named == PDF):  # other files may well speak of the header
        return PDF
    if head.startswith(_ZIP) and (packed := _package(stream, named)) is not None:
        return packed
    foreign = _foreign(stream, head)
    if named == PDF or named in _PACKAGE_NAMES:
        what = f" but {foreign}" if foreign else ""
        kind = "PDF" if named == PDF else _PACKAGE_NAMES[named]
        raise FileFailure(
            FailureReason.BROKEN,
            f"The file is named {suffix} but is no {kind}{what}: its first bytes are other ones. "
            + (_advice(foreign) if foreign else "Export or download it again."),
        )
    if foreign:
        raise FileFailure(
            FailureReason.UNSUPPORTED, f"The file is {foreign}, which the Loader does not read. {_advice(foreign)}"
        )
    return _kind_of_text(stream, head, named)


def _foreign(stream: BinaryIO, head: bytes) -> str | None:
    """What a file is that the Loader does not read; None if nothing tells."""
    if head.startswith(_OLE):
        stream.seek(0)
        data = stream.read(_OLE_BYTES)
        if _ENCRYPTED_OFFICE in data:
            message = "The file is protected by a password. Save a copy without the password and load that."
            raise FileFailure(FailureReason.ENCRYPTED, message)
        return next((what for name, what in _OLD if name.encode("utf-16-le") in data), "an old office document")
    if head.startswith(_ZIP) and _OPEN_DOCUMENT in head[:_MIMETYPE_WITHIN]:
        return "an OpenDocument file"
    if head.startswith(_TAR, _TAR_AT):
        return "a tar archive"
    return next((what for magic, what in _FOREIGN if head.startswith(magic)), None)


def _kind_of_text(stream: BinaryIO, head: bytes, named: str | None) -> str:
    if named != MARKDOWN and _HTML_START.match(head):  # Markdown may well begin with it
        return HTML
    if named in (None, PLAIN, MAIL) and _MAIL_START.match(head) and len(_MAIL_HEADER.findall(head)) > 2:
        return MBOX if head.startswith(b"From ") else MAIL
    if named is not None:
        return named
    stream.seek(0)
    if not text.is_utf8(stream):
        known = ", ".join(sorted(EXTENSIONS))
        raise FileFailure(
            FailureReason.UNSUPPORTED,
            f"The file is neither text in UTF-8 nor a kind of document that the Loader knows by its content, or by its "
            f"name: {known}. Convert it to PDF or text.",
        )
    return PLAIN


def _package(stream: BinaryIO, named: str | None) -> str | None:
    """The kind of a ZIP archive; None if it is another one."""
    try:
        with zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
            if "mimetype" in names and archive.getinfo("mimetype").file_size < SNIFF_BYTES:
                declared = archive.read("mimetype").strip().decode("ascii", "replace")
                if declared == EPUB:
                    return EPUB
    except Exception:  # noqa: BLE001 - damaged in one of many ways: told by the parser of what its name says
        return named if named in _PACKAGE_NAMES else None
    if "[Content_Types].xml" not in names:
        return None
    return next((kind for folder, kind in _PACKAGES if any(name.startswith(folder) for name in names)), None)


def _advice(foreign: str) -> str:
    if "archive" in foreign:
        return "Unpack it and load what is in it."
    if "image" in foreign:
        return "Run OCR on it, if it shows text."
    if "message" in foreign:
        return "Save it as .eml, or as text."
    for word, kind in (("Word", ".docx"), ("Excel", ".xlsx"), ("PowerPoint", ".pptx")):
        if word in foreign:
            return f"Save it as {kind}, and load that."
    return "Convert it to PDF or text."
