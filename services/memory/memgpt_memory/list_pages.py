"""Pages of sorted lists, and how much text a page may have."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")

PAGE_BYTES = 3 << 20
"""Maximum text of one page in bytes of UTF-8, unless a single item has more: clients refuse messages over 4 MiB."""


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A page of a list; `next_token` is empty at the end."""

    items: Sequence[Item]
    next_token: str
    total: int = 0


def fitting(texts: Iterable[str]) -> int:
    """Return how many of the texts fit into one page: at least one, if there is one."""
    room = PAGE_BYTES
    count = 0
    for text in texts:
        room -= len(text.encode())
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
