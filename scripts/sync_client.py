"""Generate the synchronous Python client from the asynchronous one.

    python scripts/sync_client.py            # write clients/python/memgpt/client/_sync
    python scripts/sync_client.py --check    # fail if it is not up to date

The two differ only in a few words: calls are awaited in one and plain in the other.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLIENT = ROOT / "clients/python/memgpt/client"

HEADER = "# Generated from memgpt/client/_async by scripts/sync_client.py. Do not edit.\n"

# The order matters: a longer word comes before one that it contains.
WORDS = (
    (r"import asyncio\n", "import time\n"),
    (r"await asyncio\.sleep\(", "time.sleep("),
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAwaitable\[([^\[\]]+(?:\[\w+\])?)\]", r"\1"),
    (r"\bAwaitable, ", ""),
    (r"\b__a(iter|next|enter|exit)__\b", r"__\1__"),
    (r"\baclose\b", "close"),
    (r"\banext\(", "next("),
    (r"grpc\.aio\.", "grpc."),
    (r"\bopen_async_channel\b", "open_channel"),
    (r"\b_async\b", "_sync"),
    (r"\b(\w+)AsyncStub\b", r"\1Stub"),
    (r"\bAsync([A-Z]\w*)", r"\1"),
    (r"The asynchronous client\. .*\"\"\"", 'The synchronous client."""'),
)


def synchronous(text: str) -> str:
    """Return the synchronous form of a module of the asynchronous client."""
    for pattern, replacement in WORDS:
        text = re.sub(pattern, replacement, text)
    # A name that the module imports for types and for use is imported once.
    checked = re.search(r"^if TYPE_CHECKING:\n((?:    .*\n)+)", text, re.MULTILINE)
    if checked:
        before = text[: checked.start()].splitlines()
        kept = [line for line in checked[1].splitlines() if line.strip() not in before]
        block = "if TYPE_CHECKING:\n" + "".join(f"{line}\n" for line in kept) if kept else ""
        text = text[: checked.start()] + block + text[checked.end() :]
    return HEADER + text


def generate(target: Path) -> None:
    """Write the synchronous client to a folder."""
    for source in sorted((CLIENT / "_async").glob("*.py")):
        (target / source.name).write_text(synchronous(source.read_text()))
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--exit-zero", "--fix", "--select=F401,I"], ["format"]):
        # Ruff's settings exclude generated code.
        subprocess.run([*ruff, *command, "--no-force-exclude", "--quiet", str(target)], check=True, cwd=ROOT)


def main() -> None:
    """Generate the client, or compare the committed one with what would be generated."""
    folder = CLIENT / "_sync"
    if sys.argv[1:] != ["--check"]:
        folder.mkdir(exist_ok=True)
        generate(folder)
        return
    # Next to the real one, since the order of imports depends on the location.
    with tempfile.TemporaryDirectory(dir=CLIENT, prefix="_check_") as fresh:
        generate(Path(fresh))
        for path in Path(fresh).glob("*.py"):
            there = folder / path.name
            if not there.is_file() or there.read_text() != path.read_text():
                sys.exit(f"{there.relative_to(ROOT)} is out of date; run `make generate`")


if __name__ == "__main__":
    main()
