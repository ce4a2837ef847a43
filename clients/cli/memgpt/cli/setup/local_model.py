"""A test embedding by a local transformer, in a process of its own: only Memory's distribution can read the model."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from memgpt.cli.errors import CliError

_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class TestEmbedding:
    """The result of a test.

    Attributes:
        dimensions: Dimensions of the vector.
        seconds: Time for the text, after the model was loaded.
    """

    dimensions: int
    seconds: float


def embed_test_text(folder: str) -> TestEmbedding:
    """Embed a text with the model in a folder.

    Raises:
        CliError: The model cannot be used.
    """
    command = [sys.executable, "-P", "-m", "memgpt_memory.embedding", folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 - this interpreter and a fixed module
    except subprocess.TimeoutExpired as error:
        raise CliError(f"the model in {folder} did not embed a text within {_SECONDS:.0f} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise CliError(lines[-1] if lines else f"the model in {folder} cannot be used")
    return TestEmbedding(**json.loads(done.stdout))
