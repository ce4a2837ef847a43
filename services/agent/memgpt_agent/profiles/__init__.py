"""Profiles that ship with the suite: presets (instructions), personas and humans, as text files in this folder.

``brief`` holds a short form of each preset, under the same name.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from functools import cache
from importlib.resources import files

DEFAULT_PRESET = "memgpt_chat"
DEFAULT_PERSONA = "sam_pov"
DEFAULT_HUMAN = "basic"

_FORMER_PRESETS = {
    "3762f11efdd2ed116b8478d5ccea51e3cb52b60f25554167e1decedacd63edc9": "memgpt_chat",
    "a8bc1912ae647e17a84def09c8be7c233f2deb476c009a615616f48b9e13214b": "memgpt_docs",
    "3c97f46b941cceb717bc2aa663fc2a5787668435a0e0d4787caa45fa235de43d": "memgpt_extras",
}
"""SHA-256 of former presets that agents may still have, with the names of their replacements."""


class ProfileKind(StrEnum):
    """What a profile is for; the value names its folder."""

    PRESET = "presets"
    PERSONA = "personas"
    HUMAN = "humans"


@cache
def built_in(kind: ProfileKind) -> dict[str, str]:
    """Return the texts of a kind by name, sorted by name."""
    return _texts(kind.value)


def current(instructions: str) -> str:
    """Return the current text of a preset that has been reworded; any other text as it is."""
    name = _FORMER_PRESETS.get(_digest(instructions.strip()))
    return instructions if name is None else built_in(ProfileKind.PRESET)[name]


def in_short(instructions: str) -> str:
    """Return the short form of a preset; any other text as it is."""
    return _short_forms().get(current(instructions).strip(), instructions)


@cache
def _short_forms() -> dict[str, str]:
    short = _texts("brief")
    return {text: short[name] for name, text in built_in(ProfileKind.PRESET).items()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _texts(name: str) -> dict[str, str]:
    folder = files(__package__) / name
    texts = {
        entry.name.removesuffix(".txt"): entry.read_text(encoding="utf-8").strip()
        for entry in folder.iterdir()
        if entry.name.endswith(".txt")
    }
    return dict(sorted(texts.items()))
