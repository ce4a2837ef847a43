"""Conditions in Milvus's filter language.

Milvus's own templates fail on both backends, so literals are escaped here. Verified to round-trip on both: escapes for
the backslash, the quote and three control characters, everything else unchanged.
"""

from __future__ import annotations

from memgpt_memory.store.filters import EVERY_ROW, AllOf, AnyOf, Between, Condition, Equals, Not, OneOf, Value

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def literal(value: Value) -> str:
    """Return a value as it is written in a filter."""
    return str(int(value)) if isinstance(value, int) else f'"{value.translate(_ESCAPES)}"'


def render(condition: Condition) -> str:
    """Return the filter for a condition that every backend understands (see `filters.broad`).

    Raises:
        TypeError: Milvus cannot express the condition.
    """
    match condition:
        case Equals():
            return f"{condition.column} == {literal(condition.value)}"
        case Not():
            return f"{condition.condition.column} != {literal(condition.condition.value)}"
        case OneOf():
            return f"{condition.column} in [{', '.join(map(literal, condition.values))}]"
        case Between():
            bounds = ((">=", condition.start), ("<", condition.end))
            return " and ".join(
                f"{condition.column} {sign} {literal(bound)}" for sign, bound in bounds if bound is not None
            )
        case AllOf():
            return " and ".join(filter(None, map(render, condition.conditions)))
        case AnyOf():
            if EVERY_ROW in condition.conditions:
                return ""
            return f"({' or '.join(f'({render(one)})' for one in condition.conditions)})"
        case _:
            raise TypeError(f"Milvus cannot evaluate {type(condition).__name__}")


def after_key(key: str) -> str:
    """Return the filter for rows whose key is greater; empty for all rows."""
    return f"id > {literal(key)}" if key else ""


def joined(*filters: str) -> str:
    """Return the filter that requires all of these; empty ones are left out."""
    return " and ".join(filter(None, filters))
