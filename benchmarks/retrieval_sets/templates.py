"""Chat messages and short facts, in English and Chinese, from templates written for this project.

A question is worded unlike the text that answers it, and other texts share its name or its subject.
"""

from __future__ import annotations

import json
import random
from typing import Any

from benchmarks.common import DATA
from benchmarks.retrieval import DataSet

_FOLDER = DATA / "retrieval"
_QUESTIONS = 200
_SPEAKERS_OF_A_SUBJECT = 3


def facts(seed: int) -> DataSet:
    """Facts about people, one sentence each."""
    return _relations(_read("facts"), seed)


def chinese(seed: int) -> DataSet:
    """Facts about people in Chinese, one sentence each."""
    return _relations(_read("chinese"), seed)


def chats(seed: int) -> DataSet:
    """Messages of several people, which begin and end with small talk; some have the same subject."""
    random_ = random.Random(seed)
    templates = _read("chats")
    documents: dict[str, str] = {}
    questions: list[tuple[str, frozenset[str]]] = []
    for number, topic in enumerate(templates["topics"]):
        for slot in topic["slots"]:
            for speaker in random_.sample(templates["speakers"], _SPEAKERS_OF_A_SUBJECT):
                id_ = f"{number}-{slot}-{speaker}"
                opener, closer = random_.choice(templates["openers"]), random_.choice(templates["closers"])
                documents[id_] = f"{speaker}: {opener} {topic['says'].format(slot=slot)} {closer}"
                questions += [(f"{speaker}: {ask.format(slot=slot)}", frozenset([id_])) for ask in topic["asks"]]
    return DataSet(documents, random_.sample(questions, _QUESTIONS))


def _relations(templates: Any, seed: int) -> DataSet:
    random_ = random.Random(seed)
    documents: dict[str, str] = {}
    questions: list[tuple[str, frozenset[str]]] = []
    for name in templates["names"]:
        for number, relation in enumerate(templates["relations"]):
            id_, value = f"{name}-{number}", random_.choice(relation["values"])
            documents[id_] = random_.choice(relation["says"]).format(name=name, value=value)
            questions += [(ask.format(name=name), frozenset([id_])) for ask in relation["asks"]]
    return DataSet(documents, random_.sample(questions, _QUESTIONS))


def _read(name: str) -> Any:
    return json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
