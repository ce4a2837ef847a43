"""The refusal of what does not run on Windows. Imports nothing that could fail there."""

from __future__ import annotations

import sys

from memgpt.cli.errors import MISUSE, CliError


def require_unix() -> None:
    """Check that services can run on this system.

    Raises:
        CliError: It is Windows.
    """
    if sys.platform == "win32":
        raise CliError(
            "services do not run natively on Windows; use WSL or Docker, or log in to running ones with `memgpt login`",
            MISUSE,
        )
