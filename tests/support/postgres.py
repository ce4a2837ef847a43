"""A PostgreSQL server of its own, reached through a socket in its folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

_DEBIAN = "/usr/lib/postgresql/*/bin"


class Postgres:
    """A running server.

    Attributes:
        folder: Folder of its socket.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, database: str) -> None:
        """Create a database."""
        self.psql("postgres", "-c", f'CREATE DATABASE "{database}"')

    def psql(self, database: str, *arguments: str, stdin: str = "", folder: Path | None = None) -> str:
        """Run psql in a folder and return its output."""
        command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-U", "letta", "-d", database]
        run = subprocess.run(
            [*command, *arguments], input=stdin, cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert run.returncode == 0, run.stderr
        return run.stdout


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Yield a server; skip the test where PostgreSQL is not installed, and fail it in CI."""
    programs = _programs()
    if programs is None:
        reason = "PostgreSQL is not installed (apt-get install postgresql)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # A path of a socket has at most 107 bytes, so no folder of pytest.
    with TemporaryDirectory(prefix="memgpt-pg-") as name:
        folder, data = Path(name), Path(name, "data")
        owner: dict[str, str] = {}
        if os.getuid() == 0:  # PostgreSQL does not run as root
            shutil.chown(folder, "postgres")
            owner = {"user": "postgres"}
        _run([programs / "initdb", "-D", data, "-U", "letta", "-A", "trust", "-E", "UTF8", "--no-sync"], folder, owner)
        control: list[str | Path] = [programs / "pg_ctl", "-D", data, "-w"]
        options = f"-k {folder} -h '' -c fsync=off"
        _run([*control, "-o", options, "-l", folder / "log", "start"], folder, owner)
        try:
            yield Postgres(folder)
        finally:
            _run([*control, "-m", "immediate", "stop"], folder, owner)


def _programs() -> Path | None:
    """Return the folder of the server's programs, which Debian keeps off the search path."""
    if shutil.which("psql") is None:
        return None
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(Path("/").glob(_DEBIAN.lstrip("/")), default=None)


def _run(command: list[str | Path], folder: Path, owner: dict[str, str]) -> None:
    run = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        capture_output=True,
        timeout=120,
        check=False,
        **owner,  # type: ignore[call-overload]
    )
    assert run.returncode == 0, run.stderr.decode()
