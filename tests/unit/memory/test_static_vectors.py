"""The bundled model's vectors are those that wordllama computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from memgpt_memory.embedding._static_vectors import StaticVectors

TEXTS = [
    "MemGPT moves text between its context window and its archival memory.",
    "一个智能体的长期记忆。",
    "Wo wohnt Ada? In Zürich 🏔️!",
    "x",
    "\x00\u200b",
    "word " * 3000,
    "a" * 5000,
]


def test_they_equal_those_of_wordllama() -> None:
    wordllama = pytest.importorskip("wordllama", exc_type=ImportError, reason="wordllama's compiled part is not here")
    original = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True, dim=256)
    vectors = StaticVectors()
    np.testing.assert_array_equal(vectors.embed(TEXTS), original.embed(TEXTS, norm=True))
    for text in TEXTS:  # whatever it is embedded beside
        np.testing.assert_array_equal(vectors.embed([text]), original.embed([text], norm=True))


def test_a_text_without_tokens_has_no_direction() -> None:
    assert np.isnan(StaticVectors().embed([""])).all()


def test_the_code_of_wordllama_is_not_imported() -> None:
    code = (
        "import sys; from memgpt_memory.embedding._static_vectors import StaticVectors; StaticVectors().embed(['x']);"
        " print('wordllama' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
