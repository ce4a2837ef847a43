"""Fuzzes the readers of other systems' files: damaged files must be refused with a reason, or give valid pieces.

python -m tests.fuzz.imports --minutes 10
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import protovalidate
from memgpt.cli.errors import CliError
from memgpt.cli.imports.documents import plan_sources
from memgpt.cli.imports.letta.agent_file import read_agent_files
from memgpt.cli.imports.pieces import Contents
from memgpt.cli.imports.plan import Options, plan_agents
from memgpt.cli.imports.report import Report
from memgpt.memory.v1.agent_state_service_pb2 import CreateAgentRequest
from memgpt.memory.v1.block_pb2 import BlockEdit

from tests.fuzz import import_seeds
from tests.fuzz.mutations import mutated
from tests.support import letta_files

Reader = Callable[[Path, Report], AbstractContextManager[Contents]]

_ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1 << 70, 1.5, 1e308, "", "\x00", "\ud800", "../../etc/passwd", "[]", "{}", "x" * 300),
    *([], {}, [None], [[]], {"type": "text"}, [{"type": "text", "text": None}], {"text": "x"}, "9999-12-31T23:59:59Z"),
    *("0001-01-01T00:00:00+14:00", "message-0", "block-0", "agent-0", "assistant", "tool", "approval", "summary"),
)


@contextmanager
def of_letta(path: Path, report: Report) -> Iterator[Contents]:
    """Read an Agent File."""
    yield read_agent_files([path], report, all_agents=True)


def letta_seeds() -> list[bytes]:
    """Agent Files of every shape, without those that are large."""
    files = (json.dumps(shape()).encode() for shape in letta_files.SHAPES.values())
    return [data for data in files if len(data) < 200_000]


READERS: dict[str, tuple[Reader, Callable[[], list[bytes]]]] = {
    "letta": (of_letta, letta_seeds),
    "letta-dump": (import_seeds.read_rows, import_seeds.rows_of_databases),
    "letta-sqlite": (import_seeds.read_database, import_seeds.databases),
    "memgpt-0.3": (import_seeds.read_home_of_0_3, import_seeds.homes_of_0_3),
    "memgpt-0.2-state": (import_seeds.read_state_of_0_2, import_seeds.states_of_0_2),
    "memgpt-0.2-pickle": (import_seeds.read_pickle_of_0_2, import_seeds.pickles_of_0_2),
    "chatgpt": (import_seeds.read_chats_of_chatgpt, import_seeds.chatgpt),
    "claude": (import_seeds.read_chats_of_claude, import_seeds.claude),
    "mem0": (import_seeds.read_memories, import_seeds.mem0),
}
"""Readers by name, each with valid files to damage."""


def damaged(random: Random, data: bytes) -> bytes:
    """Return a file with random changes: of its values, its structure, or its bytes."""
    if random.random() < 0.3 or not data.startswith((b"{", b"[")):
        return mutated(random, data)
    value = json.loads(data)
    for _ in range(random.randint(1, 4)):
        value = _changed(random, value)
    return json.dumps(value).encode()


def _changed(random: Random, value: Any) -> Any:
    """Return a value with one change somewhere in it."""
    places = list(_places(value))
    if not places or random.random() < 0.02:
        return copy.deepcopy(random.choice(_ODD))
    holder, key = random.choice(places)
    match random.randrange(4):
        case 0:
            holder[key] = copy.deepcopy(random.choice(_ODD))
        case 1:
            del holder[key]
        case 2:
            other, name = random.choice(places)
            holder[key] = copy.deepcopy(other[name])
        case _ if isinstance(holder, list):
            holder.insert(random.randint(0, len(holder)), copy.deepcopy(holder[key]))
        case _:
            holder[str(random.choice(_ODD))] = holder[key]
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    stack = [value]
    while stack:
        holder = stack.pop()
        keys = holder if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            yield holder, key
            stack.append(holder[key])


def attempt(reader: Reader, path: Path) -> tuple[str, str]:
    """Read a file and check what comes of it.

    Returns:
        How it ended, and what is wrong with that, or nothing.
    """
    with Report() as report, ExitStack() as stack:
        try:
            contents = stack.enter_context(reader(path, report))
            plans = plan_agents(contents, "fuzz", Options(), report)
            plan_sources(contents.sources, report)
        except CliError as error:
            return "refused", "" if 0 < len(error.message) < 2_000 else f"a reason of {len(error.message)} characters"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is found
            return "BROKE", repr(error)
        try:
            for plan in plans:
                pieces = list(plan.pieces("The preset."))
                for piece in pieces:
                    protovalidate.validate(piece)
                    piece.SerializeToString()
                settings = pieces[1].agent
                protovalidate.validate(CreateAgentRequest(name=settings.name, tags=settings.tags))
                for piece in pieces:
                    if piece.HasField("block"):
                        block = piece.block
                        assert len(block.value) <= block.limit
                        protovalidate.validate(BlockEdit(label=block.label, value=block.value, limit=block.limit))
                messages = [piece.message for piece in pieces if piece.HasField("message")]
                assert [message.sequence for message in messages] == list(range(len(messages)))
                assert 0 <= plan.window_start <= len(messages) == plan.message_count
                open_call = ""
                for message in messages:
                    assert message.call_id == open_call
                    open_call = message.function_call.call_id
                assert not open_call
        except Exception as error:  # noqa: BLE001 - whatever it is, it is found
            return "BROKE", repr(error)
    return "read", ""


def fuzz(random: Random, until: Callable[[], bool], name: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield of every damaged file how it ended, what is wrong with that, or nothing, and the file."""
    reader, seeds = READERS[name]
    originals = seeds()
    with TemporaryDirectory(prefix="memgpt-fuzz-") as folder:
        path = Path(folder, "file")
        while not until():
            data = damaged(random, random.choice(originals))
            path.write_bytes(data)
            ended, wrong = attempt(reader, path)
            yield ended, wrong, data


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.imports", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for each reader (default: 10)")
    parser.add_argument("--seed", type=int, default=None, help="to repeat a run (default: the time)")
    parser.add_argument("--only", choices=sorted(READERS), help="one of the readers")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    sys.stdout.write(f"seed {seed}\n")
    found = 0
    for name in READERS:
        if options.only in (None, name):
            deadline = time.monotonic() + 60 * options.minutes
            counts: Counter[str] = Counter()
            for ended, wrong, data in fuzz(Random(seed), lambda end=deadline: time.monotonic() > end, name):  # type: ignore[misc]
                counts[ended] += 1
                if wrong:
                    found += 1
                    sys.stdout.write(f"{name}: {wrong}\n  {data[:2_000]!r}\n")
            ended = ", ".join(f"{number:,} {how}" for how, number in counts.most_common())
            sys.stdout.write(f"{name}: {counts.total():,} files: {ended}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
