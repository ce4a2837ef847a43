"""``python -m benchmarks [NAME ...]``: runs benchmarks and prints a table for each.

``python -m benchmarks dialogues`` needs a real model, and has options of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.milvus_server import why_unavailable

NAMES = (
    "search",
    "deep",
    "attach",
    "concurrency",
    "load",
    "loading",
    "commits",
    "turn",
    "credentials",
    "footprint",
    "streams",
    "scale",
    "retrieval",
    "nested_kv",
)


def main() -> None:
    """Run the requested benchmarks."""
    if sys.argv[1:2] == ["dialogues"]:  # needs a real model, and has options of its own
        from benchmarks.dialogues.command import main as hold_dialogues

        hold_dialogues(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--backend", choices=["lite", "server", "all"], default="all", help="default: what there is")
    parser.add_argument("--passages", type=int, help="how many, instead of each benchmark's own number")
    parser.add_argument("--quick", action="store_true", help="little data, few repetitions: no figures to rely on")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw what nested_kv found, such as into a .png")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}: choose from {', '.join(NAMES)}")
    backends = ["lite", "server"] if arguments.backend == "all" else [arguments.backend]
    if "server" in backends and (reason := why_unavailable()):
        if arguments.backend == "server":
            parser.error(reason)
        backends.remove("server")

    # These imports take seconds.
    from benchmarks.common import Options, Table, milvus_server, quiet

    quiet()

    results: list[dict[str, Any]] = []
    if not arguments.json:
        print(_machine())
    for backend in backends:
        with ExitStack() as stack:
            uri = stack.enter_context(milvus_server()) if backend == "server" else ""
            plot = arguments.plot
            if plot and len(backends) > 1:
                plot = plot.with_stem(f"{plot.stem}-{backend}")
            options = Options(backend, arguments.quick, arguments.passages, uri, plot)
            for name in arguments.names or NAMES:
                run: Callable[[Options], Awaitable[Table]] = import_module(f"benchmarks.{name}").run
                table = asyncio.run(_awaited(run(options)))
                table.title = f"{table.title} [{backend}]"
                results.append({"benchmark": name, "backend": backend, "quick": arguments.quick, **table.json()})
                if not arguments.json:
                    print(f"\n{table.text()}", flush=True)
    if arguments.json:
        print(json.dumps({"machine": _machine(), "results": results}, indent=2))


async def _awaited(running: Awaitable[Any]) -> Any:
    return await running


def _machine() -> str:
    cpus = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    load = Path("/proc/loadavg").read_text().split()[0]
    return f"{len(cpus)} CPUs ({next(iter(cpus), platform.machine())}), load {load}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
