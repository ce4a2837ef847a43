"""The entry point: runs a command, and reports a failure in one line."""

from __future__ import annotations

import os
import sys

from memgpt.cli.access.choice import move_to_front
from memgpt.cli.app import app, open_ui
from memgpt.cli.commands import administer, documents, forget, imports, log_in, manage, operate, share, talk, wake

__all__ = [
    "administer",
    "app",
    "documents",
    "forget",
    "imports",
    "log_in",
    "main",
    "manage",
    "operate",
    "share",
    "talk",
    "wake",
]


def main() -> None:
    """Run the command given by this process's arguments, and exit."""
    # gRPC's own lines about failed connections do not help a person.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # The suite's folder, with the history of chats in it, is private.
    os.umask(0o077)
    _open_closed_streams()
    sys.exit(_guarded())


def _open_closed_streams() -> None:
    """Open /dev/null in place of closed standard streams (``<&-``), which are None in Python."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - lives as long as the process


def _guarded() -> int:
    try:
        app(move_to_front(sys.argv[1:]))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BrokenPipeError:  # `memgpt list agents | head -1`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the interpreter's flush at exit
        return 1
    except Exception as error:  # noqa: BLE001 - people see one line for any failure
        return _tell(error)
    return 0


def _tell(error: Exception) -> int:
    from memgpt.cli.errors import FAILURE, MISUSE, CliError, explain, explain_system
    from memgpt.client import CredentialsError, ServiceError
    from memgpt.config import ConfigError

    if os.environ.get("MEMGPT_DEBUG"):
        raise error
    match error:
        case CliError():
            message, code = error.message, error.code
        case ConfigError() | CredentialsError():
            message, code = str(error), MISUSE
        case ServiceError():
            message, code = explain(error), FAILURE
        case UnicodeEncodeError():  # Python represents invalid bytes in arguments as lone surrogates
            message, code = f"{error.object[:100]!a} is not UTF-8 text", MISUSE
        case OSError():
            message, code = explain_system(error), FAILURE
        case _:
            message = f"this is a bug of memgpt ({type(error).__name__}: {error}); MEMGPT_DEBUG=1 shows where"
            code = FAILURE
    open_ui().error(message)
    return code
