"""What kind of document a file is: by its content first, by its name second."""

from __future__ import annotations

import codecs
from pathlib import PurePosixPath

from memgpt_loader.failures import FailureReason, FileFailure

PDF = "application/pdf"
PLAIN = "text/plain"
MARKDOWN = "text/markdown"

EXTENSIONS = {".pdf": PDF, ".txt": PLAIN, ".text": PLAIN, ".md": MARKDOWN, ".markdown": MARKDOWN}
"""File name extensions, lower case, that the Loader reads."""

SNIFF_BYTES = 4096
"""Bytes at the start of a file that suffice to tell its kind."""

# A PDF may have junk ahead of its header; readers look for it in the first KiB (ISO 32000-1, appendix H.3).
_PDF_HEADER_WITHIN = 1024

_FOREIGN = (
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\xd0\xcf\x11\xe0", "an old office document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x7fELF", "a program"),
    (b"{\\rtf", "an RTF document"),
)


def media_type_of(name: str, head: bytes) -> str:
    """Decides the kind of a file.

    A PDF is known by its header, whatever its name. Text has no header, so its name must say that it is text, and
    `text.decode` then checks that it is.

    Args:
        name: The file's name; only its extension counts.
        head: Its first bytes, `SNIFF_BYTES` or all of them.

    Returns:
        One of the media types of this module.

    Raises:
        FileFailure: EMPTY, BROKEN (named PDF, but is none) or UNSUPPORTED.
    """
    if not head:
        raise FileFailure(FailureReason.EMPTY, "The file is empty. Check that it was saved or downloaded completely.")
    suffix = PurePosixPath(name.replace("\\", "/")).suffix.lower()
    media_type = EXTENSIONS.get(suffix)
    header = head[:_PDF_HEADER_WITHIN].find(b"%PDF-")
    if header == 0 or (header > 0 and media_type == PDF):  # other files may well speak of the header
        return PDF
    foreign = next((what for magic, what in _FOREIGN if head.startswith(magic)), None)
    if media_type is None:
        known = ", ".join(sorted(EXTENSIONS))
        what = f"Its extension is {suffix!r}" if suffix else "It has no extension"
        what = f"It looks like {foreign}" if foreign else what
        raise FileFailure(
            FailureReason.UNSUPPORTED,
            f"{what}, and the Loader reads only {known}. Convert it to PDF or text, or rename it if it is text.",
        )
    if media_type == PDF:
        what = f" but {foreign}" if foreign else ""
        raise FileFailure(
            FailureReason.BROKEN,
            f"The file is named .pdf but is no PDF{what}: it has no PDF header. Export or download it again.",
        )
    if foreign:
        raise FileFailure(
            FailureReason.UNSUPPORTED,
            f"The file is no text but {foreign}. Convert it to PDF or UTF-8 text.",
        )
    if b"\x00" in head and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        raise FileFailure(
            FailureReason.UNSUPPORTED,
            "The file is no text: it holds binary data. Convert it to PDF or UTF-8 text.",
        )
    return media_type
