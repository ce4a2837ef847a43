"""What the command line says when something fails: one line, and what to do about it."""

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
    """A service's error in one line for the person at the terminal."""
    if error.request_id is None and error.reason == Reason.SERVICE_UNAVAILABLE:
        return (
            "the services cannot be reached; start them with `memgpt server`, or correct the addresses and tls in"
            " [client] of the configuration"
        )
    message = " ".join(error.message.split())
    if isinstance(error, Unimplemented):
        return f"not in this version of the service: {message}"
    details = [v.description for v in error.violations if v.description and v.description not in message]
    return "; ".join([message, *details])
