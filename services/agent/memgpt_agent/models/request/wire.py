"""The type of what goes out."""

from __future__ import annotations

Wire = dict[str, object]
"""A part of a request's body."""
