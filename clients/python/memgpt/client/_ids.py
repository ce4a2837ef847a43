"""Ids that clients generate."""

from __future__ import annotations

import uuid


def new_request_id() -> str:
    """Return an id of 122 random bits, which identifies a turn or makes a call idempotent."""
    return uuid.uuid4().hex
