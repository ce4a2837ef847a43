"""Safe access to the objects of a PDF, which may be of any type or missing."""

from __future__ import annotations

from typing import Any

from pypdf.errors import LimitReachedError
from pypdf.generic import ArrayObject, DictionaryObject


def dictionary_of(value: Any) -> DictionaryObject | None:
    """Return a value that is a dictionary; None if it is anything else."""
    value = None if value is None else value.get_object()
    return value if isinstance(value, DictionaryObject) else None


def items_of(value: Any) -> list[Any]:
    """Return the items of an array without dangling references; empty for anything else."""
    value = None if value is None else value.get_object()
    if not isinstance(value, ArrayObject):
        return []
    found = []
    for each in value:
        try:
            found.append(each.get_object())
        except (LimitReachedError, MemoryError):
            raise
        except Exception:  # noqa: BLE001, S112 - a dangling reference
            continue
    return found
