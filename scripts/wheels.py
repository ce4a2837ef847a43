"""Check that every locked package has a wheel for each platform that is supported, and that the list of them is true.

    scripts/wheels.py                       all platforms
    scripts/wheels.py "Windows x86-64"      some of them

Only metadata is fetched. It fails if a wheel is missing, if a platform that set-up refuses has all of them by now, or
if the package index cannot be reached.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SUITE = "pyproject.toml"
CLI = "clients/cli/pyproject.toml"

_OLDEST, _NEWEST = "3.11", "3.14"


@dataclass(frozen=True)
class Platform:
    """A platform, and what runs on it.

    Attributes:
        name: For people.
        tag: uv's name of it.
        project: What is to be installed there; it is the suite or the command line.
        missing: Packages without a wheel, for whose sake set-up refuses the platform; empty if it is supported.
        environment: Environment variables for uv.
    """

    name: str
    tag: str
    project: str = SUITE
    missing: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


PLATFORMS = (
    Platform("Linux x86-64", "x86_64-manylinux_2_28"),
    Platform("Linux ARM64", "aarch64-manylinux_2_28"),
    Platform("Alpine x86-64", "x86_64-unknown-linux-musl"),
    Platform("Alpine ARM64", "aarch64-unknown-linux-musl"),
    Platform("macOS 14, Apple silicon", "aarch64-apple-darwin", environment={"MACOSX_DEPLOYMENT_TARGET": "14.0"}),
    Platform("Windows x86-64", "x86_64-pc-windows-msvc", CLI),
    Platform(
        "macOS 14, Intel",
        "x86_64-apple-darwin",
        missing=("cryptography", "faiss-cpu"),
        environment={"MACOSX_DEPLOYMENT_TARGET": "14.0"},
    ),
    Platform("Windows ARM64", "aarch64-pc-windows-msvc", CLI, missing=("grpcio",)),
)


def resolve(platform: Platform, python: str, overrides: Path) -> str:
    """Resolve the lock for a platform by wheels only; return uv's problem, or ""."""
    command = ["scripts/uv", "pip", "compile", platform.project, "--quiet", "--constraints", "constraints.txt"]
    command += ["--overrides", str(overrides), "--only-binary", ":all:"]
    command += ["--python-platform", platform.tag, "--python-version", python]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **platform.environment}, capture_output=True, text=True, check=False
    )
    return done.stderr.strip() or f"uv ended with {done.returncode}" if done.returncode else ""


def problems(platform: Platform, overrides: Path) -> Iterator[str]:
    """Yield what is not as `PLATFORMS` says."""
    for python in (_OLDEST, _NEWEST):
        found = resolve(platform, python, overrides)
        where = f"{platform.name}, Python {python}"
        if found and "No solution found" not in found:
            yield f"{where}: cannot be checked; is the package index reachable?\n{found}"
        elif found and not platform.missing:
            yield f"{where}: a wheel is missing\n{found}"
        elif found and not any(f"{name}==" in found for name in platform.missing):
            yield f"{where}: another wheel is missing than {' and '.join(platform.missing)}\n{found}"
        elif not found and platform.missing:
            yield f"{where}: no wheel is missing any more; support it, or list what stands in the way"


def main() -> None:
    """Check the platforms named on the command line, or all."""
    chosen = [each for each in PLATFORMS if each.name in sys.argv[1:] or not sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        # Set-up takes the weights in wordllama from the wheel of another platform.
        overrides = Path(folder, "overrides.txt")
        overrides.write_text("wordllama; sys_platform == 'none'\n")
        with ThreadPoolExecutor(4) as threads:  # they wait for the index most of the time
            found = [each for some in threads.map(lambda one: list(problems(one, overrides)), chosen) for each in some]
    if found:
        sys.exit("\n".join(f"wheels: {problem}" for problem in found))
    refused = sum(bool(each.missing) for each in chosen)
    print(f"{len(chosen) - refused} platforms have every wheel, {refused} are refused")


if __name__ == "__main__":
    main()
