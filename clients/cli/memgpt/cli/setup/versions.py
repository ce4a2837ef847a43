"""Versions of installed distributions."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

SERVICES = ("memory", "loader", "agent")


def version_of(distribution: str) -> str:
    """Return the version of a distribution; empty if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def version_of_suite() -> str:
    """Return the version of the command line."""
    return version_of("memgpt-milvus-cli")
