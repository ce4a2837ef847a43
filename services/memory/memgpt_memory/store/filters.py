"""Filter expressions, built from values and never from text that came from outside.

Milvus's own templates fail on both backends, so literals are escaped here. Verified to round-trip on both: escapes for
the backslash, the quote and the three line controls, everything else as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def literal(value: str | int) -> str:
    """A value as it stands in a filter."""
    return str(int(value)) if isinstance(value, int) else f'"{value.translate(_ESCAPES)}"'


def equals(field: str, value: str | int) -> str:
    """Rows whose field has this value."""
    return f"{field} == {literal(value)}"


def one_of(field: str, values: Iterable[str | int]) -> str:
    """Rows whose field has one of these values."""
    return f"{field} in [{', '.join(literal(value) for value in values)}]"


def at_least(field: str, value: int) -> str:
    """Rows whose field is this or more."""
    return f"{field} >= {literal(value)}"


def below(field: str, value: int) -> str:
    """Rows whose field is less than this."""
    return f"{field} < {literal(value)}"


def all_of(*conditions: str) -> str:
    """Rows for which every condition holds; empty ones are left out."""
    return " and ".join(condition for condition in conditions if condition)


def any_of(*conditions: str) -> str:
    """Rows for which one of the conditions holds; empty ones are left out."""
    kept = [condition for condition in conditions if condition]
    return f"({' or '.join(f'({condition})' for condition in kept)})" if kept else ""
