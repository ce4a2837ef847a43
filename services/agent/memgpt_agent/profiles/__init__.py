"""The profiles that ship with the suite: presets (instructions), personas and humans, as text files in this folder."""

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
    folder = files(__package__) / kind.value
    texts = {
        entry.name.removesuffix(".txt"): entry.read_text(encoding="utf-8").strip()
        for entry in folder.iterdir()
        if entry.name.endswith(".txt")
    }
    return dict(sorted(texts.items()))
