"""Go, Node and Java for tests that compile code with the clients in those languages."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.missing import missing_tool

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "clients"


def require(*programs: str) -> None:
    """Skip the test if a program is missing; in CI, fail."""
    if missing := [program for program in programs if shutil.which(program) is None]:
        missing_tool(f"not installed: {', '.join(missing)}")


def run(*command: str | Path, cwd: Path, path: Sequence[Path] = ()) -> str:
    """Run a command and return its standard output.

    Args:
        command: Program and arguments.
        cwd: Folder to run it in.
        path: Folders to search for programs first.

    Raises:
        AssertionError: It failed.
    """
    folders = os.pathsep.join([*map(str, path), os.environ["PATH"]])
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, "PATH": folders},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def go_module(folder: Path, module: str) -> None:
    """Make a folder a Go module with the dependencies of the Go client."""
    go_mod = (CLIENTS / "go/go.mod").read_text(encoding="utf-8")
    _, dependencies = go_mod.split("\n", 1)
    (folder / "go.mod").write_text(f"module {module}\n{dependencies}", encoding="utf-8")
    shutil.copy(CLIENTS / "go/go.sum", folder)


def node_modules() -> Path:
    """Return the folder of the TypeScript client's dependencies, installed if it is missing."""
    folder = CLIENTS / "typescript/node_modules"
    with alone(folder.parent):
        if not (folder / "@connectrpc/connect-web").exists():
            run("npm", "install", "--no-audit", "--no-fund", "--silent", cwd=folder.parent)
    return folder


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other test processes from building in the same folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def java_class_path(*, client: bool) -> str:
    """Return the class path of what the Java client depends on.

    Args:
        client: Compile the client, unless it is up to date, and include it.
    """
    folder = CLIENTS / "java"
    goals = ["compile"] if client else []
    with alone(folder):
        run("mvn", "-q", "-B", *goals, "dependency:copy-dependencies", cwd=folder)
    dependencies = str(folder / "target/dependency/*")
    return os.pathsep.join([str(folder / "target/classes"), dependencies] if client else [dependencies])
