"""What the command line says when something fails: one line, with what to do about it."""

from __future__ import annotations

from memgpt.client import Reason, ServiceError, Unimplemented

FAILURE = 1
"""Exit code of a command that failed."""

MISUSE = 2
"""Exit code of wrong usage or configuration, as the shell's own tools have it."""


class CliError(Exception):
    """Ends the command with a message.

    Attributes:
        message: One line: what is wrong and what to do.
        code: The exit code.
    """

    def __init__(self, message: str, code: int = FAILURE) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def explain(error: ServiceError) -> str:
    """Return the error of a service in one line for the person at the terminal."""
    if error.request_id is None and error.reason == Reason.SERVICE_UNAVAILABLE:
        return (
            "the services cannot be reached; start them with `memgpt server`, or correct the addresses and tls in"
            " [client] of the configuration"
        )
    if isinstance(error, Unimplemented):
        return "the services are older than this command; update them, or use the command of their version"
    message = _readable(" ".join(error.message.split()))
    details = [_readable(each.description) for each in error.violations]
    return "; ".join(dict.fromkeys([message, *(each for each in details if each and each not in message)]))


def _readable(text: str) -> str:
    """A message without the pattern that a value must match, which says nothing to people."""
    head, pattern, _ = text.partition("regex pattern")
    if not pattern:
        return text
    field = head.partition(":")[0].strip().replace("_", " ")
    return (
        f"the {field} has characters that are not allowed" if field and " " not in field else "not a valid name or id"
    )
