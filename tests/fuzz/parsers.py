"""Fuzzing of real parser processes with randomly damaged files."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from random import Random

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.parsing.extract import MAX_PASSAGE_CHARS
from memgpt_loader.parsing.parser_limits import ParserLimits
from memgpt_loader.parsing.pool import ParserPool
from memgpt_loader.parsing.results import PageRead
from memgpt_runtime.tokens import count_tokens

from tests.fuzz.mutations import mutated, mutated_part
from tests.support import corpus

LIMITS = ParserLimits(
    processes=2,
    memory_bytes=1 << 30,
    seconds=90,  # many times what any of them takes on an idle machine
    max_pages=1000,
    max_chars=5_000_000,
    max_unpacked_bytes=64 << 20,
    max_tokens=300,
    overlap_tokens=20,
)
_MOST_BYTES = 300_000
"""Maximum size of a seed; larger files of the corpus are mostly repetitive."""

_KINDS = Path(__file__).parents[1] / "data" / "kinds"

_BOMBS = "expands to "
"""Prefix of the names of files that unpack to more than the memory limit, which ends the parser."""


async def fuzz(random: Random, until: Callable[[], bool], folder: Path) -> AsyncIterator[tuple[str, str, Path]]:
    """Parse damaged files until it is time to stop.

    Args:
        random: Source of randomness.
        until: Whether it is time to stop.
        folder: Folder for the files; yielded files stay there.

    Yields:
        Of every file how it ended (``loaded`` or the reason), what is wrong with that, or nothing, and the file.
    """
    originals = [(sample.name, data) for sample in corpus.samples() if len(data := sample.data()) <= _MOST_BYTES]
    originals += [(each.name, each.read_bytes()) for each in sorted(_KINDS.iterdir())]
    pool = ParserPool(LIMITS)
    try:
        number = 0
        while not until():
            batch = []
            for _ in range(LIMITS.processes):
                name, data, bomb = _damaged(random, originals)
                path = folder / f"{number:06}"
                path.write_bytes(data)
                batch.append(_read(pool, path, name, bomb=bomb))
                number += 1
            for path, (ended, wrong) in zip(
                [folder / f"{number - len(batch) + at:06}" for at in range(len(batch))],
                await asyncio.gather(*batch),
                strict=True,
            ):
                yield ended, wrong, path
                if not wrong:
                    path.unlink()
    finally:
        await pool.close()


def _damaged(random: Random, originals: Sequence[tuple[str, bytes]]) -> tuple[str, bytes, bool]:
    """A name, a file, and whether it may be one that takes more memory than there is."""
    name, data = random.choice(originals)
    bomb = name.startswith(_BOMBS)
    if random.random() < 0.1:
        name = random.choice(originals)[0]  # a name that does not fit
    if data.startswith(b"PK") and random.random() < 0.8:
        try:
            return name, mutated_part(random, data), bomb
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError, OSError, EOFError):
            pass  # damaged, or encrypted, as it is
    return name, mutated(random, data), bomb


async def _read(pool: ParserPool, path: Path, name: str, *, bomb: bool) -> tuple[str, str]:
    try:
        async with aclosing(pool.parse(path, name)) as items:
            async for item in items:
                if isinstance(item, PageRead):
                    for passage in item.passages:
                        passage.text.encode()
                        assert passage.text.strip() == passage.text != ""
                        assert len(passage.text) == passage.end - passage.start <= MAX_PASSAGE_CHARS
                        assert count_tokens(passage.text) <= LIMITS.max_tokens
    except FileFailure as failure:
        crashed = "parser ended" in failure.detail and not bomb
        odd = crashed or failure.reason in (FailureReason.INTERNAL, FailureReason.TIMEOUT)
        return failure.reason.value, f"{name}: {failure.reason}: {failure.message} {failure.detail}" if odd else ""
    except Exception as error:  # noqa: BLE001 - whatever it is, it is found
        return "BROKE", f"{name}: {error!r}"
    return "loaded", ""
