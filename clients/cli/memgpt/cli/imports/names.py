"""Mapping of names, labels, tags and ids to the patterns of the contracts."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from zoneinfo import ZoneInfo

MAX_NAME = 128
MAX_LABEL = 64
MAX_TAG = 64
MAX_TAGS = 32
MAX_CALL_ID = 29

_NOT_IN_LABEL = re.compile(r"[^A-Za-z0-9_]+")
_NOT_IN_FILE = re.compile(r"[^A-Za-z0-9_-]+")
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BREAKS = frozenset({"Cc", "Zl", "Zp"})


def visible(text: str) -> str:
    """Return text on one line, without control, invisible and unassigned characters."""
    kept = "".join(" " if char.isspace() else char for char in text)
    kept = "".join(char for char in kept if unicodedata.category(char) not in _INVISIBLE)
    return " ".join(kept.split())


def display_name(text: str, default: str) -> str:
    """Return a name that agents and sources can have."""
    return visible(text)[:MAX_NAME].strip() or default


def numbered(name: str, taken: Iterable[str], limit: int, separator: str = "_") -> str:
    """Return a name that is not taken: the given one, or with a number from 2."""
    used = set(taken)
    if name not in used:
        return name
    number = 2
    while True:
        suffix = f"{separator}{number}"
        candidate = name[: limit - len(suffix)] + suffix
        if candidate not in used:
            return candidate
        number += 1


def label(text: str) -> str:
    """Return a block's label of letters, digits and underscores: ``system/human`` becomes ``system_human``."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    mapped = _NOT_IN_LABEL.sub("_", plain).strip("_")[:MAX_LABEL].rstrip("_")
    if not mapped:
        return "block"
    return mapped if mapped[0].isalpha() else f"block_{mapped}"[:MAX_LABEL]


def call_id(text: str) -> str:
    """Return an id of a call that fits, the same for the call and its result."""
    return text if 0 < len(text) <= MAX_CALL_ID and text.isprintable() else made_call_id(text)


def made_call_id(seed: str) -> str:
    """Return an id derived from a seed."""
    return "c_" + hashlib.sha256(seed.encode()).hexdigest()[: MAX_CALL_ID - 2]


def tag(text: str) -> str:
    """Return a tag that fits; empty if nothing is left of it. Joiners stay, which emoji and some scripts need."""
    kept = "".join(" " if unicodedata.category(char) in _BREAKS else char for char in text)
    return kept[:MAX_TAG].strip() if visible(kept) else ""


def file_name(text: str, extension: str, taken: Iterable[str] = ()) -> str:
    """Return a safe name of a file: no separators, no dots but before the extension, never empty, never taken.

    Names that differ only in case are distinct nowhere, for file systems that ignore it.
    """
    stem = _NOT_IN_FILE.sub("_", text).strip("_-")[:80] or "unnamed"
    used = {name.lower() for name in taken}
    number, candidate = 1, f"{stem}{extension}"
    while candidate.lower() in used:
        number += 1
        candidate = f"{stem}_{number}{extension}"
    return candidate


def is_time_zone(name: str) -> bool:
    """Return whether a name is an IANA name of a time zone."""
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        return False
    return True
