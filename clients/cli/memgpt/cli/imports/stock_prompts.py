"""Recognition of the instructions that Letta and MemGPT gave to new agents, so that ours can replace them.

They name tools that do not exist here. Only digests are kept, of every version of those texts since 2023.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files


def is_stock_prompt(text: str) -> bool:
    """Return whether instructions are the other system's own; line ends and trailing white space do not matter."""
    lines = text.replace("\r\n", "\n").strip().split("\n")
    normal = "\n".join(line.rstrip() for line in lines)
    return hashlib.sha256(normal.encode(errors="replace")).hexdigest() in _digests()


@cache
def _digests() -> frozenset[str]:
    return frozenset((files(__package__) / "stock_prompts.txt").read_text(encoding="ascii").split())
