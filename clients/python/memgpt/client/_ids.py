"""Ids that a client chooses."""

from __future__ import annotations

import uuid


def new_request_id() -> str:
    """Return an id of 122 random bits, which names a turn or makes a call repeatable."""
    return uuid.uuid4().hex
