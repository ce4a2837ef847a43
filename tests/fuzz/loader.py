"""Fuzzes the Loader: damaged files through its parsers, and nonsense through its RPCs.

What is found is printed, and the file kept. The exit code is 1 if anything is.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import mkdtemp

from tests.fuzz import parsers, rpcs
from tests.support.processes import ServiceProcess


@contextmanager
def loader(home: Path) -> Iterator[ServiceProcess]:
    """A Loader, and a Memory for it."""
    with ServiceProcess("memgpt_memory", home) as memory:
        address = memory.wait_ready()
        with ServiceProcess("memgpt_loader", home, MEMGPT_LOADER_MEMORY_ADDRESS=address) as running:
            yield running


async def of_parsers(random: Random, until: Callable[[], bool], folder: Path) -> tuple[Counter[str], list[str]]:
    """How damaged files, written into a folder, ended, by reason, and what was wrong with it."""
    counts: Counter[str] = Counter()
    found = []
    async for ended, wrong, path in parsers.fuzz(random, until, folder):
        counts[ended] += 1
        if wrong:
            found.append(f"{path}: {wrong}")
    return counts, found


async def of_rpcs(random: Random, until: Callable[[], bool], home: Path) -> tuple[Counter[str], list[str]]:
    """How calls ended, by status, and what was wrong with it; the Loader must work to the end."""
    counts: Counter[str] = Counter()
    found = []
    with loader(home) as running:
        address = running.wait_ready()
        async for ended, wrong in rpcs.fuzz(random, until, address):
            counts[ended] += 1
            if wrong:
                found.append(wrong)
        if running.popen.poll() is not None or not await rpcs.healthy(address):
            found.append("the Loader is out of order")
        found += [line for line in running.logged().splitlines() if "Traceback" in line]
    return counts, found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.loader", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for each of the two (default: 10)")
    parser.add_argument("--seed", type=int, default=None, help="to repeat a run (default: the time)")
    parser.add_argument("--only", choices=("parsers", "rpcs"), help="one of the two")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    folder = Path(mkdtemp(prefix="memgpt-fuzz-"))
    sys.stdout.write(f"seed {seed}, files in {folder}\n")
    found = []
    for name, run in (("parsers", of_parsers), ("rpcs", of_rpcs)):
        if options.only in (None, name):
            (folder / name).mkdir()
            deadline = time.monotonic() + 60 * options.minutes
            counts, wrong = asyncio.run(run(Random(seed), lambda end=deadline: time.monotonic() > end, folder / name))  # type: ignore[misc]
            found += wrong
            ended = ", ".join(f"{number:,} {how}" for how, number in counts.most_common())
            sys.stdout.write(f"{name}: {counts.total():,} tries: {ended}\n" + "".join(f"  {each}\n" for each in wrong))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
