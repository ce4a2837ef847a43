"""Pages of a sorted listing, by the last key that was answered."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from memgpt_memory.model import Page


def list_page(keys: Sequence[str], size: int, after: str) -> Page[str]:
    """The keys after `after`, at most `size`; `keys` are sorted. The next token is the last key answered."""
    start = bisect_right(keys, after) if after else 0
    items = list(keys[start : start + size])
    more = start + size < len(keys)
    return Page(items, items[-1] if more and items else "", len(keys))
