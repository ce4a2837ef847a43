"""The scripted dialogues: what the user says, and what should come of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from benchmarks.common import DATA

FOLDER = DATA / "dialogues"
SPLITS = ("tune", "final")

_PADDING = {
    "en": "Item {}: the committee talked about shelf {} and decided nothing.",
    "zh": "第{}项：委员会讨论了{}号书架，没有作出决定。",
}


@dataclass(frozen=True, slots=True)
class ScriptedTurn:
    """One message of the user. Patterns are regular expressions, case-insensitive; all of a field must match.

    Attributes:
        user: The message.
        tells: Patterns of facts that a block of core memory should hold when the dialogue is over.
        recalls: Patterns of facts told earlier that the answer should contain.
        stale: Patterns of corrected facts that the answer should not contain.
        pages: Pages of the paper that hold the answer; empty if the message does not ask about it.
        answers: Patterns that a right answer from the paper contains.
        unknown: Whether nothing answers the question, so that the agent should say so.
        about: ``paper`` if such a question is about the paper.
    """

    user: str
    tells: tuple[str, ...] = ()
    recalls: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    pages: frozenset[int] = frozenset()
    answers: tuple[str, ...] = ()
    unknown: bool = False
    about: str = ""

    @property
    def asks_paper(self) -> bool:
        """Whether it asks about the paper."""
        return bool(self.pages) or self.about == "paper"


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A scripted dialogue.

    Attributes:
        name: Kind and number.
        language: ``en`` or ``zh``.
        split: ``tune`` or ``final``.
        document: Whether the paper is attached.
        window: Tokens of the context window; 0 for the default.
        turns: What the user says.
    """

    name: str
    language: str
    split: str
    document: bool
    window: int
    turns: tuple[ScriptedTurn, ...]

    @property
    def kind(self) -> str:
        """What it is about."""
        return self.name.rpartition("-")[0]


def read(folder: Path = FOLDER) -> list[Dialogue]:
    """Read every dialogue of a folder.

    Raises:
        ValueError: A dialogue has an unknown field or an invalid value.
    """
    return [_dialogue(path, raw) for path in sorted(folder.glob("*.json")) for raw in json.loads(path.read_text())]


def sample(dialogues: Sequence[Dialogue], split: str, count: int) -> list[Dialogue]:
    """Return ``count`` dialogues of a split (0 for all), by turns from every kind, always the same ones."""
    chosen = [dialogue for dialogue in dialogues if dialogue.split == split]
    kinds = {dialogue.kind: [one for one in chosen if one.kind == dialogue.kind] for dialogue in chosen}
    mixed = [one for one in chain.from_iterable(zip_longest(*kinds.values())) if one is not None]
    return mixed[: count or None]


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern of a script occurs in a text."""
    return re.search(pattern, text, re.IGNORECASE) is not None


def _dialogue(path: Path, raw: Mapping[str, Any]) -> Dialogue:
    known = {"name", "language", "split", "document", "window", "turns"}
    if extra := set(raw) - known:
        raise ValueError(f"{path.name}: {raw.get('name')}: unknown field {min(extra)!r}")
    if raw["split"] not in SPLITS or raw["language"] not in _PADDING:
        raise ValueError(f"{path.name}: {raw['name']}: unknown split or language")
    turns = tuple(_turn(turn, raw["language"]) for turn in raw["turns"])
    document, window = raw.get("document", False), raw.get("window", 0)
    return Dialogue(raw["name"], raw["language"], raw["split"], document, window, turns)


def _turn(raw: Mapping[str, Any], language: str) -> ScriptedTurn:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    padding = range(int(fields.pop("padding", 0)))
    fields["user"] = " ".join([raw["user"], *(_PADDING[language].format(number, number) for number in padding)])
    fields["pages"] = frozenset(fields.get("pages", ()))
    return ScriptedTurn(**fields)
