"""The option ``--profile``, which may stand before or after a command."""

from __future__ import annotations

import os
from collections.abc import Sequence

OPTION = "--profile"

PROFILE_VARIABLE = "MEMGPT_PROFILE"
"""Environment variable with the name of the profile to use."""


def choose(name: str) -> None:
    """Use a profile in this process and its children."""
    os.environ[PROFILE_VARIABLE] = name


def move_to_front(arguments: Sequence[str]) -> list[str]:
    """Return arguments with ``--profile NAME`` in front of the command, where the parser knows it.

    Arguments after ``--`` are left alone.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments[:end])
    for word in words:
        if word == OPTION:
            value = next(words, None)
            if value is None:  # the parser complains
                rest.append(word)
            else:
                front += [word, value]
        elif word.startswith(f"{OPTION}="):
            front.append(word)
        else:
            rest.append(word)
    return [*front, *rest, *arguments[end:]]
