"""Write the corpus into a folder, and print the expected outcome of each file as JSON lines."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.support import corpus


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.corpus", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--large", action="store_true", help="also a PDF of 5,000 pages and a text of 200 MB")
    options = parser.parse_args()
    chosen = corpus.samples(large=options.large)
    corpus.write(options.folder, chosen)
    for each in chosen:
        told = {"name": each.name, "state": each.state, "says": each.says, "needle": each.needle, "page": each.page}
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
