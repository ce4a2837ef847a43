"""The profiles that ship with the suite: presets (instructions), personas and humans, as text files in this folder.

``brief`` holds the presets once more, in short, under the same names.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from importlib.resources import files

DEFAULT_PRESET = "memgpt_chat"
DEFAULT_PERSONA = "sam_pov"
DEFAULT_HUMAN = "basic"


class ProfileKind(StrEnum):
    """What a profile is for; the value names its folder."""

    PRESET = "presets"
    PERSONA = "personas"
    HUMAN = "humans"


@cache
def built_in(kind: ProfileKind) -> dict[str, str]:
    """The texts of a kind by name, in order of names."""
    return _texts(kind.value)


def in_short(instructions: str) -> str:
    """The short form of instructions; what somebody wrote themselves stays as it is."""
    return _short_forms().get(instructions.strip(), instructions)


@cache
def _short_forms() -> dict[str, str]:
    short = _texts("brief")
    return {text: short[name] for name, text in built_in(ProfileKind.PRESET).items()}


def _texts(name: str) -> dict[str, str]:
    folder = files(__package__) / name
    texts = {
        entry.name.removesuffix(".txt"): entry.read_text(encoding="utf-8").strip()
        for entry in folder.iterdir()
        if entry.name.endswith(".txt")
    }
    return dict(sorted(texts.items()))
