"""Check that every locked package has a wheel for each platform that is supported, and that set-up refuses the others.

    scripts/wheels.py                       all platforms
    scripts/wheels.py "Windows x86-64"      some of them

Fetches the index's lists of files, no packages. It fails if a wheel is missing for a supported platform, or if one is
there for whose lack set-up refuses the platform. If the package index does not answer within two minutes, nothing is
known: it says so and exits with 75.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging import tags
from packaging.markers import Marker
from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent

SUITE = "pyproject.toml"
CLI = "clients/cli/pyproject.toml"

_PYTHONS = ((3, 11), (3, 14))
"""The oldest and the newest."""

_SECONDS = 120.0
_NOT_CHECKED = 75
"""The exit code if the index does not answer: EX_TEMPFAIL of sysexits.h."""

_ANY_MACHINE = ("wordllama",)
"""Set-up takes the weights in it from the wheel of another platform."""


@dataclass(frozen=True)
class Platform:
    """A platform, and what runs on it.

    Attributes:
        name: For people.
        tags: Its names in wheels' file names.
        system: `platform.system()` of Python on it.
        machine: `platform.machine()`.
        project: What is to be installed there; it is the suite or the command line.
        missing: Packages without a wheel, for whose sake set-up refuses the platform; empty if it is supported.
    """

    name: str
    tags: Collection[str]
    system: str
    machine: str
    project: str = SUITE
    missing: Collection[str] = ()

    def needs(self, package: Mapping[str, Any], python: tuple[int, int]) -> bool:
        """Return whether a package of the lock is installed here."""
        version = f"{python[0]}.{python[1]}"
        return "marker" not in package or Marker(package["marker"]).evaluate(
            {
                "implementation_name": "cpython",
                "os_name": "nt" if self.system == "Windows" else "posix",
                "platform_machine": self.machine,
                "platform_python_implementation": "CPython",
                "platform_system": self.system,
                "python_full_version": f"{version}.0",
                "python_version": version,
                "sys_platform": "win32" if self.system == "Windows" else self.system.lower(),
            }
        )

    def accepts(self, python: tuple[int, int]) -> set[Tag]:
        """Return the tags of wheels that can be installed here."""
        interpreter = f"cp{python[0]}{python[1]}"
        return {
            *tags.cpython_tags(python, platforms=self.tags),
            *tags.compatible_tags(python, interpreter, self.tags),
        }


def _glibc(minor: int, machine: str) -> list[str]:
    older = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    return [f"manylinux_2_{each}_{machine}" for each in range(5, minor + 1)] + [
        f"{name}_{machine}" for each, name in older.items() if each <= minor
    ]


def _musl(minor: int, machine: str) -> list[str]:
    return [f"musllinux_1_{each}_{machine}" for each in range(minor + 1)]


def _macos(major: int, machine: str) -> list[str]:
    return list(tags.mac_platforms((major, 0), machine))


PLATFORMS = (
    Platform("Linux x86-64", _glibc(28, "x86_64"), "Linux", "x86_64"),
    Platform("Linux ARM64", _glibc(28, "aarch64"), "Linux", "aarch64"),
    Platform("Alpine x86-64", _musl(2, "x86_64"), "Linux", "x86_64"),
    Platform("Alpine ARM64", _musl(2, "aarch64"), "Linux", "aarch64"),
    Platform("macOS 14, Apple silicon", _macos(14, "arm64"), "Darwin", "arm64"),
    Platform("Windows x86-64", ["win_amd64"], "Windows", "AMD64", CLI),
    # What scripts/setup refuses.
    Platform("glibc 2.27", _glibc(27, "x86_64"), "Linux", "x86_64", missing=["pyarrow"]),
    Platform("musl 1.1", _musl(1, "x86_64"), "Linux", "x86_64", missing=["faiss-cpu"]),
    Platform("Linux RISC-V", _glibc(39, "riscv64"), "Linux", "riscv64", missing=["faiss-cpu"]),
    Platform("32-bit ARM", _glibc(39, "armv7l"), "Linux", "armv7l", missing=["faiss-cpu"]),
    Platform("macOS 13, Apple silicon", _macos(13, "arm64"), "Darwin", "arm64", missing=["faiss-cpu"]),
    Platform("macOS 14, Intel", _macos(14, "x86_64"), "Darwin", "x86_64", missing=["cryptography", "faiss-cpu"]),
    # What the documents name as not supported.
    Platform("Windows ARM64", ["win_arm64"], "Windows", "ARM64", CLI, missing=["grpcio"]),
)


class IndexUnavailable(Exception):  # noqa: N818 - a condition, not a finding
    """The package index did not answer, or not in time. The text says which address."""


def locked(project: str) -> list[dict[str, Any]]:
    """Return the packages that a project installs on some platform, with all their files in the index.

    Raises:
        IndexUnavailable: The package index cannot be reached, or is too slow.
        ValueError: The project cannot be resolved. The text is uv's.
    """
    command = ["scripts/uv", "pip", "compile", project, "--quiet", "--constraints", "constraints.txt"]
    command += ["--universal", "--python-version", "3.11", "--format", "pylock.toml"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_SECONDS / 2)
    except subprocess.TimeoutExpired:
        raise IndexUnavailable(f"no result within {_SECONDS / 2:g} s") from None
    if done.returncode and done.stderr.startswith("error: Failed to fetch: "):
        raise IndexUnavailable(done.stderr.splitlines()[0].removeprefix("error: "))
    if done.returncode:
        raise ValueError(done.stderr.strip() or f"uv ended with {done.returncode}")
    packages = tomllib.loads(done.stdout)["packages"]
    return [each for each in packages if "directory" not in each and each["name"] not in _ANY_MACHINE]


def _tags_of_wheels(package: Mapping[str, Any]) -> Iterator[Tag]:
    for wheel in package.get("wheels", ()):
        yield from parse_wheel_filename(wheel.get("name") or wheel["url"].rpartition("/")[2])[3]


def problems(platform: Platform, packages: Collection[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what is not as `PLATFORMS` says."""
    for python in _PYTHONS:
        accepted = platform.accepts(python)
        missing = [
            each["name"]
            for each in packages
            if platform.needs(each, python) and accepted.isdisjoint(_tags_of_wheels(each))
        ]
        where = f"{platform.name}, Python {python[0]}.{python[1]}"
        if missing and not platform.missing:
            yield f"{where}: no wheel of {', '.join(missing)}"
        for name in platform.missing:
            if name not in missing:
                yield f"{where}: {name} has a wheel; support the platform, or give what is missing now as the reason"


def main() -> int:
    """Check the platforms named on the command line, or all; return the exit code."""
    chosen = [each for each in PLATFORMS if each.name in sys.argv[1:] or not sys.argv[1:]]
    try:
        packages = {project: locked(project) for project in sorted({each.project for each in chosen})}
    except IndexUnavailable as error:
        print(f"the package index does not answer: {error}")
        return _NOT_CHECKED
    except ValueError as error:
        print(f"wheels: {error}", file=sys.stderr)
        return 1
    found = [problem for each in chosen for problem in problems(each, packages[each.project])]
    for problem in found:
        print(f"wheels: {problem}", file=sys.stderr)
    if found:
        return 1
    refused = sum(bool(each.missing) for each in chosen)
    print(f"{len(chosen) - refused} platforms have every wheel, {refused} are refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
