"""`memgpt compact`, `backup` and `restore`: maintenance of the store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import typer
from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.services.children import require_installed
from memgpt.cli.services.windows import require_unix
from memgpt.cli.settings import ClientSettings
from memgpt.cli.terminal.ui import Ui
from memgpt.client import Store
from memgpt.config import Config

STANDARD = Path("-")
"""Argument that means standard input or output."""


def compact(ui: Ui, store: Store) -> None:
    """Remove deleted data from the store's files, and report how much space that freed."""
    with ui.busy("Compacting..."):
        done = store.compact()
    if done.bytes_before:
        ui.line(
            f"Compacted the store: {_megabytes(done.bytes_before)} before, {_megabytes(done.bytes_after)} now", "green"
        )
    else:
        ui.line("Compacted; the Milvus server removes its old files at its next garbage collection", "green")


@contextmanager
def written(file: Path, *, replace: bool) -> Iterator[IO[bytes]]:
    """Yield a file to write, under a temporary name until it is complete; ``-`` is standard output.

    Raises:
        CliError: The file exists and may not be replaced.
    """
    if file == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if file.exists() and not replace:
        raise CliError(f"{file} exists already; --force replaces it", MISUSE)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with draft.open("xb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def backup(ui: Ui, store: Store, target: IO[bytes], file: Path) -> None:
    """Write a backup to `target`, which becomes `file` when it is complete."""
    with ui.busy("Backing up..."):
        size = sum(target.write(chunk) for chunk in store.backup())
    if file != STANDARD:
        ui.line(f"Backed up the store: {_megabytes(size)} in {file}", "green")


def restore(config: Config[ClientSettings], file: Path, *, replace: bool) -> None:
    """Restore a backup with Memory's own command, which knows where its store is.

    Raises:
        CliError: The store is not on this machine.
    """
    forced = ["--force"] if replace else []
    command = memory_command(config, "restore", *forced, "--", str(file))
    raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - this interpreter and a fixed module


def repair(config: Config[ClientSettings]) -> None:
    """Drop what is damaged from the store with Memory's own command, which keeps the damaged store.

    Raises:
        CliError: The store is not on this machine.
    """
    command = memory_command(config, "repair")
    raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - this interpreter and a fixed module


def find_losses(config: Config[ClientSettings]) -> list[str]:
    """Return what the store has lost; nothing if that cannot be found out."""
    try:
        command = memory_command(config, "repair", "--check")
    except CliError:
        return []
    checked = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - as above
    return [line.removeprefix("lost: ") for line in checked.stdout.splitlines() if line.startswith("lost: ")]


def memory_command(config: Config[ClientSettings], name: str, *arguments: str) -> list[str]:
    """Return the command line of a command of Memory.

    Raises:
        CliError: The store is not on this machine, or Memory is not installed.
    """
    require_unix()
    if config.service.agent_address:
        raise CliError(f"the services run elsewhere; run `memgpt-memory {name}` on the machine of Memory", MISUSE)
    require_installed("memory")
    return [sys.executable, "-P", "-m", "memgpt_memory", name, *arguments]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
