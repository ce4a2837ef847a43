"""Values of untrusted columns and fields, which can be of any type: a value of another type counts as missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def string(value: Any) -> str:
    """Return a value if it is text, else the empty text."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> int:
    """Return a value if it is an integer, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def objects(values: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects in a list; any other value has none."""
    yield from (value for value in values if isinstance(value, dict)) if isinstance(values, list) else ()
