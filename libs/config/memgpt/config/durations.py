"""Durations for people."""

from __future__ import annotations

import math

_UNITS = ((1, "s"), (60, "min"), (3600, "h"))


def duration_text(seconds: float) -> str:
    """Return a duration in the largest unit of which it has at least two: ``45 s``, ``3 min``, ``14 h``.

    It is rounded up, unless it is longer by less than a tenth of a unit.
    """
    size, unit = next((each for each in reversed(_UNITS) if seconds >= 2 * each[0]), _UNITS[0])
    return f"{max(1, math.ceil(seconds / size - 0.1)):,} {unit}"
