"""Ids that are ASCII and sortable by time, and random bytes.

The layout of ids is that of a ULID (https://github.com/ulid/spec): 48 bits of Unix milliseconds and 80 random bits in
Crockford's base 32, here in lower case.

In a server for tests, whose clock stands still, both are numbered instead: each caller's first id of a kind is the same
in every run, and so are the following ones.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections import Counter
from collections.abc import Callable

from memgpt_runtime import clock

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PREFIX = re.compile(r"[a-z][a-z0-9]{0,12}")
_RANDOM_BITS = 80
_NUMBER_BITS = 40

_lock = threading.Lock()
_last = 0
_numbering: _Numbering | None = None


class _Numbering:
    """Numbers by scope and kind."""

    def __init__(self, process: str, scope: Callable[[], str]) -> None:
        self.scope = scope
        self._process = process
        self._counts: Counter[tuple[str, str]] = Counter()

    def next(self, kind: str, scope: str, length: int) -> tuple[int, bytes]:
        """Return the next number of a kind in a scope, and a digest that differs between processes and scopes."""
        self._counts[scope, kind] += 1
        number = self._counts[scope, kind]
        what = "\0".join((self._process, scope, kind, str(number)))
        return number, hashlib.shake_256(what.encode()).digest(length)


def number_from_now_on(process: str, scope: Callable[[], str]) -> None:
    """Number ids and bytes instead of drawing them at random. For servers whose clock is stopped.

    Args:
        process: Name of the service: two services never create the same id.
        scope: Returns the tenant of the current call. Each tenant has numbers of its own.
    """
    global _numbering
    _numbering = _Numbering(process, scope)


def new_id(prefix: str, scope: str | None = None) -> str:
    """Return a new id such as ``agent_01jd2z6y3x8q4m7k9s5t0v1w2b``.

    Ids of one process ascend strictly, also within a millisecond and when the clock steps back. Numbered ones ascend
    within their scope and prefix.

    Args:
        prefix: The kind of thing: a lower-case letter, then at most 12 more letters or digits.
        scope: What is numbered apart, if ids are numbered; by default the tenant of the current call.

    Returns:
        The prefix, ``_``, and 26 characters: at most 40 in all.

    Raises:
        ValueError: Invalid prefix.
    """
    global _last
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f'not an id prefix: "{prefix}"')
    with _lock:
        made = (clock.microseconds() // 1_000) << _RANDOM_BITS
        if _numbering is not None:
            place = _numbering.scope() if scope is None else scope
            number, digest = _numbering.next(prefix, place, _NUMBER_BITS // 8)
            made |= number << _NUMBER_BITS | int.from_bytes(digest, "big")
        else:
            made |= secrets.randbits(_RANDOM_BITS)
            if made >> _RANDOM_BITS <= _last >> _RANDOM_BITS:
                # A random step, so that the next id cannot be guessed.
                made = _last + 1 + secrets.randbits(40)
            _last = made
    return f"{prefix}_{encode_base32(made, 26)}"


def random_bytes(kind: str, length: int) -> bytes:
    """Return unpredictable random bytes; in a server for tests, numbered ones.

    Args:
        kind: What they are for, such as ``call``.
        length: How many.
    """
    if _numbering is None:
        return secrets.token_bytes(length)
    with _lock:
        return _numbering.next(kind, _numbering.scope(), length)[1]


def encode_base32(number: int, length: int) -> str:
    """Encode in Crockford's base 32, lower case, `length` digits, most significant first."""
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * (length - 1), -1, -5))
