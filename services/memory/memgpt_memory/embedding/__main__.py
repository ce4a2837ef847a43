"""Embeds a test text with the local transformer in a folder: `python -m memgpt_memory.embedding FOLDER`.

Prints the dimensions of the vector and the seconds that it took as JSON. An unusable folder is an error of one line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from memgpt_memory.embedding import UnusableFolderError, load_transformer

_TEXT = "The quick brown fox jumps over the lazy dog."


def main() -> int:
    """Run the test, and return the exit code."""
    try:
        model = load_transformer(Path(sys.argv[1]), threads=1)
    except UnusableFolderError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    begin = time.perf_counter()
    vectors = asyncio.run(model.embed([_TEXT]))
    seconds = time.perf_counter() - begin
    sys.stdout.write(json.dumps({"dimensions": vectors.shape[1], "seconds": seconds}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
