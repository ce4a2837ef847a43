"""Errors of the command line: one line each, with what to do about it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from memgpt.client import Reason, ServiceError, Unimplemented
from memgpt.config import home_dir

FAILURE = 1
"""Exit code of a command that failed."""

MISUSE = 2
"""Exit code for wrong usage or configuration, as in common shell tools."""


class CliError(Exception):
    """An error that ends the command with a message.

    Attributes:
        message: One line: what is wrong and what to do.
        code: The exit code.
    """

    def __init__(self, message: str, code: int = FAILURE) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def explain(error: ServiceError) -> str:
    """Return the error of a service as one line for people."""
    if error.request_id is None and error.reason == Reason.SERVICE_UNAVAILABLE:
        return (
            "the services cannot be reached; start them with `memgpt server`, or correct the addresses and tls with"
            " `memgpt login` or in [client] of the configuration"
        )
    if isinstance(error, Unimplemented):
        return "the services are older than this command; update them, or use the command of their version"
    message = _readable(" ".join(error.message.split()))
    details = [_readable(each.description) for each in error.violations]
    message = "; ".join(dict.fromkeys([message, *(each for each in details if each and each not in message)]))
    from memgpt.cli.access.credential import explain_refusal  # only for errors, so that commands start fast

    return explain_refusal(error, message)


_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})
"""Errors of a file that the user may not read or write."""


def explain_system(error: OSError) -> str:
    """Return an error of the system as one line for people, with what to do about a folder that cannot be written."""
    if error.filename is None:
        return f"the system: {error.strerror or error}"
    file, home = Path(os.fsdecode(error.filename)), home_dir()
    if error.errno in _REFUSED and (file.is_relative_to(home) or home.is_relative_to(file)):
        return f"cannot use {file} ({error.strerror}); make {home} writable, or set MEMGPT_HOME to another folder"
    return f"{file}: {error.strerror or error}"


def _readable(text: str) -> str:
    """Return a message without the pattern that a value must match, which does not help people."""
    head, pattern, _ = text.partition("regex pattern")
    if not pattern:
        return text
    field = head.partition(":")[0].strip().replace("_", " ")
    return (
        f"the {field} has characters that are not allowed" if field and " " not in field else "not a valid name or id"
    )
