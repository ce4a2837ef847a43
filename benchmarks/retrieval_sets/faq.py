"""Questions that people ask about Python, and passages of the pages that answer them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.retrieval import DataSet

_HEADING = re.compile(r"^(?P<title>\S.*)\n(?P<line>[-~=^])(?P=line){3,}\n", re.M)
_MARKUP = re.compile(r":\w+:`([^`]*)`|``?|\*\*?|^\.\. .*$|^   :.*$", re.M)
_PASSAGE = 1_000
"""Maximum number of characters of a passage."""


def faq(folder: Path) -> DataSet:
    """Passages of the answers; every passage of an answer is relevant to its question."""
    documents: dict[str, str] = {}
    questions: list[tuple[str, frozenset[str]]] = []
    paths = sorted(folder.glob("*.rst*"))
    if not paths:
        raise ValueError(f"{folder} has no files *.rst: name the folder faq of the sources of Python's documentation")
    for path in paths:
        pieces = _HEADING.split(path.read_text(encoding="utf-8"))
        for title, text in zip(pieces[1::3], pieces[3::3], strict=True):
            passages = list(_passages(_plain(text)))
            ids = [f"{path.name.partition('.')[0]}-{title}-{number}" for number in range(len(passages))]
            documents.update(zip(ids, passages, strict=True))
            if title.endswith("?") and ids:
                questions.append((_plain(title), frozenset(ids)))
    return DataSet(documents, questions)


def _plain(text: str) -> str:
    return _MARKUP.sub(r"\1", text).strip()


def _passages(text: str) -> Iterator[str]:
    passage = ""
    for paragraph in filter(None, map(str.strip, re.split(r"\n\s*\n", text))):
        if passage and len(passage) + len(paragraph) > _PASSAGE:
            yield passage
            passage = ""
        passage = f"{passage}\n\n{paragraph}".strip()
    if passage:
        yield passage
