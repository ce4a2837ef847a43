"""Questions about code: which function of numpy does what its description says."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import numpy as np

from benchmarks.retrieval import DataSet

_QUESTIONS = 250
_WORDS = 5
_LINES = (4, 60)


def code(seed: int) -> DataSet:
    """Functions without their docstrings; a question is the first sentence of one."""
    documents: dict[str, str] = {}
    questions: list[tuple[str, frozenset[str]]] = []
    root = Path(np.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if "tests" not in path.parts:
            for function in _functions(path.read_text(encoding="utf-8")):
                summary = " ".join((ast.get_docstring(function) or "").partition("\n\n")[0].split())
                function.body, function.decorator_list = function.body[1 if summary else 0 :], []
                text = ast.unparse(function) if function.body else ""
                if not _LINES[0] <= text.count("\n") + 1 <= _LINES[1] or text in documents.values():
                    continue
                id_ = f"{path.relative_to(root)}:{function.lineno}"
                documents[id_] = text
                if len(summary.split()) >= _WORDS:
                    questions.append((summary, frozenset([id_])))
    return DataSet(documents, random.Random(seed).sample(questions, min(_QUESTIONS, len(questions))))


def _functions(source: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
