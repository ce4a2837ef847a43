"""Files within files: attachments of e-mails and PDFs, members of archives."""

from __future__ import annotations

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.spec import File, FileLimits
from memgpt_loader.notes import Notes

MOST_DEPTH = 3
"""Maximum nesting depth of embedded files, not counting the outermost file."""


def embedded_text(name: str, data: bytes, outer: File, limits: FileLimits, notes: Notes) -> str:
    """Return the text of a file embedded in another file.

    Args:
        name: Name of the embedded file.
        data: Its content.
        outer: The file that contains it.
        limits: Limits of parsing.
        notes: Receives the notes on the embedded file.

    Raises:
        FileFailure: It cannot be read.
    """
    from memgpt_loader.formats import registry, sniffing  # a cycle: the registry imports formats

    if outer.depth >= MOST_DEPTH:
        raise FileFailure(FailureReason.TOO_LARGE, "it is nested in too many other files; load it by itself")
    parsed = registry.parse(File(data, name, sniffing.media_type_of(name, data), outer.depth + 1), limits)
    pieces: list[str] = []
    chars = 0
    for page in parsed.pages:
        pieces.append(page.text)
        chars += len(page.text)
        if chars > limits.max_chars:
            raise FileFailure(FailureReason.TOO_LARGE, "it contains too much text; load it separately")
    notes.extend(parsed.notes, name)
    return "\n\n".join(filter(None, pieces))
