"""Why a file cannot be loaded: a stable reason for programs and a message for people."""

from __future__ import annotations

from enum import StrEnum


class FailureReason(StrEnum):
    """Reasons of failures: `memgpt.loader.v1.FileFailureReason` without its prefix. Their meaning is stable."""

    EMPTY = "EMPTY"
    """No bytes, no page, or nothing but white space."""
    ENCRYPTED = "ENCRYPTED"
    """A PDF that needs a password (the empty one has been tried)."""
    BROKEN = "BROKEN"
    """Damaged, or the content does not match the extension."""
    UNSUPPORTED = "UNSUPPORTED"
    """Neither text nor a kind of document that the Loader reads."""
    NO_TEXT = "NO_TEXT"
    """Pages without text: a scan that needs OCR."""
    TOO_LARGE = "TOO_LARGE"
    """More bytes, pages or text than the Loader accepts, packed or unpacked: a decompression bomb, say."""
    TIMEOUT = "TIMEOUT"
    """The parser exceeded its time limit."""
    UNAVAILABLE = "UNAVAILABLE"
    """Memory did not take the passages, or no parser could be started; loading the file again may work."""
    INTERNAL = "INTERNAL"
    """A bug in the Loader."""
    NOT_SENT = "NOT_SENT"
    """The client could not send it: the file changed after the load was created, was deleted, or cannot be read."""


class FileFailure(Exception):  # noqa: N818 - named like the state of a file
    """A file cannot be loaded.

    Attributes:
        reason: For programs.
        message: For people: what is wrong and what to do about it. Contains no text from a library.
        detail: For the log only: the underlying error; empty when there is none.
    """

    def __init__(self, reason: FailureReason, message: str, *, detail: str = "") -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.detail = detail
