"""Pages of sorted lists, and how much text a page may have."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from memgpt_runtime.pagination import PAGE_BYTES

Item = TypeVar("Item")

ITEM_BYTES = 512
"""Room in a page for the fields of an item that are always short: ids, numbers, times."""


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A page of a list; `next_token` is empty at the end."""

    items: Sequence[Item]
    next_token: str
    total: int = 0


def size_of(*texts: str) -> int:
    """Return the room in bytes that an item with these texts takes in a page."""
    return ITEM_BYTES + sum(len(text.encode()) for text in texts)


def fitting(sizes: Iterable[int], room: int = PAGE_BYTES) -> int:
    """Return how many items of these sizes in bytes fit into the room: at least one, if there is one."""
    count = 0
    for size in sizes:
        room -= size
        if room < 0 and count:
            break
        count += 1
    return count


def list_page(keys: Sequence[str], size: int, after: str) -> Page[str]:
    """Return at most `size` of the sorted `keys`, after the key `after`; the next token is the last key returned."""
    start = bisect_right(keys, after) if after else 0
    items = list(keys[start : start + size])
    more = start + size < len(keys)
    return Page(items, items[-1] if more and items else "", len(keys))
