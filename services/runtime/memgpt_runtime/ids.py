"""Ids that are ASCII and sortable by time.

The layout is that of a ULID (https://github.com/ulid/spec): 48 bits of Unix milliseconds and 80 random bits in
Crockford's base 32, here in lower case.
"""

from __future__ import annotations

import re
import secrets
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PREFIX = re.compile(r"[a-z][a-z0-9]{0,12}")
_RANDOM_BITS = 80

_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """Return a new id such as ``agent_01jd2z6y3x8q4m7k9s5t0v1w2b``.

    Ids of one process ascend strictly, also within a millisecond and when the clock steps back.

    Args:
        prefix: The kind of thing: a lower-case letter, then at most 12 more letters or digits.

    Returns:
        The prefix, ``_``, and 26 characters: at most 40 in all.

    Raises:
        ValueError: Invalid prefix.
    """
    global _last
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"not an id prefix: {prefix!r}")
    with _lock:
        made = (time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        if made >> _RANDOM_BITS <= _last >> _RANDOM_BITS:
            # A random step, so that the next id cannot be guessed.
            made = _last + 1 + secrets.randbits(40)
        _last = made
    return f"{prefix}_{encode_base32(made, 26)}"


def encode_base32(number: int, length: int) -> str:
    """Encode in Crockford's base 32, lower case, `length` digits, most significant first."""
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * (length - 1), -1, -5))
