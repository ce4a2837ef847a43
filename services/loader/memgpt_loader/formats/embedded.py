"""Files within files: attachments of e-mails and PDFs, members of archives."""

from __future__ import annotations

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.notes import Notes
from memgpt_loader.formats.spec import File, Limits

MOST_DEPTH = 3
"""Files within files within files, beyond the outermost."""


def embedded_text(name: str, data: bytes, outer: File, limits: Limits, notes: Notes) -> str:
    """The text of a file within another one.

    Args:
        name: What it is called.
        data: Its bytes.
        outer: The file that it is in.
        limits: What it may ask for.
        notes: Takes over what is noted of it.

    Raises:
        FileFailure: It cannot be read.
    """
    from memgpt_loader.formats import registry, sniffing  # which list the modules that use this one

    if outer.depth >= MOST_DEPTH:
        raise FileFailure(FailureReason.TOO_LARGE, "it is packed in too many others; load it by itself")
    parsed = registry.parse(File(data, name, sniffing.media_type_of(name, data), outer.depth + 1), limits)
    pieces: list[str] = []
    chars = 0
    for page in parsed.pages:
        pieces.append(page.text)
        chars += len(page.text)
        if chars > limits.max_chars:
            raise FileFailure(FailureReason.TOO_LARGE, "it holds too much text; load it by itself")
    notes.extend(parsed.notes, name)
    return "\n\n".join(filter(None, pieces))
