"""Every command of the command line, each run in a forked process: imports, which take longest, are done once.

python -m tests.support.every_command '{"list agents": []}'
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import typer
import typer.core
from memgpt.cli import main


def commands() -> Iterator[str]:
    """Yield the name of every command, such as ``list agents``."""
    stack: list[tuple[str, Any]] = [("", typer.main.get_command(main.app))]
    while stack:
        name, command = stack.pop()
        if isinstance(command, typer.core.TyperGroup):
            stack += [(f"{name} {each}".strip(), found) for each, found in command.commands.items()]
        else:
            yield name


def run(name: str, arguments: list[str]) -> tuple[int, str]:
    """Return the exit code of a command and what it wrote; it reads nothing."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            os.setsid()  # no terminal to ask at
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            sys.argv = ["memgpt", *name.split(), *arguments]
            try:
                main.main()
            except SystemExit as end:
                sys.stdout.flush()
                os._exit(end.code if isinstance(end.code, int) else 1)
            os._exit(99)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        return code, output.read().decode()


if __name__ == "__main__":
    json.dump({name: run(name, arguments) for name, arguments in json.loads(sys.argv[1]).items()}, sys.stdout)
