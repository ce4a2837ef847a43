"""Run a program within limits: ``python -P -m … SPACE DATA SECONDS FILE_BYTES PROGRAM ARGUMENTS``.

A program of its own, since a process that runs gRPC must not fork to set limits.
"""

from __future__ import annotations

import os
import resource
import sys


def main() -> None:
    """Set the limits, and become the program."""
    space, data, seconds, file_bytes = map(int, sys.argv[1:5])
    for limit, value in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_DATA, data),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(limit, (value, value))
        except (OSError, ValueError):  # macOS has no limit of the address space
            continue
    os.execvp(sys.argv[5], sys.argv[5:])  # noqa: S606 - the program that the caller names


if __name__ == "__main__":
    main()
