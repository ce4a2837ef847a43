"""Run the conformance scenario once per language and print a table of languages and steps.

With ``--through envoy``, the Envoy of ``deploy/envoy`` is in front of Agent and Loader, and one more client speaks
gRPC-Web. A toolchain that is missing shows in the table. With ``CI`` set it is a failure, elsewhere it is not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clients.conformance.harness import Harness
from tests.support.edge import Edge
from tests.support.toolchains import alone

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = Path(__file__).with_name("scenario.json")
_RUN_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Language:
    """How to run the scenario in one language.

    Attributes:
        language: Its column in the table.
        tools: Programs that must be installed.
        command: The runner.
        folder: Where it runs.
        setup: What it needs once before, as a command.
        made: Path in the folder that the setup makes, if it need not run again; empty for a setup that is incremental.
        environment: Variables of its environment.
        needs_proxy: Whether it speaks a protocol that only a proxy understands.
    """

    language: str
    tools: Sequence[str]
    command: Sequence[str]
    folder: Path = ROOT
    setup: Sequence[str] = ()
    made: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    needs_proxy: bool = False


_NODE = ("node", "--import", "tsx", "test/conformance.ts")
_NPM = ("npm", "install", "--no-audit", "--no-fund", "--silent")
_GO_TEST = str(ROOT / "build/conformance/go.test")
_GO_COMPILE = ("go", "test", "-c", "-o", _GO_TEST, ".")
_JAVA_CLASSES = os.pathsep.join(f"target/{path}" for path in ("classes", "test-classes", "dependency/*"))
_JAVA = ("java", "-cp", _JAVA_CLASSES, "io.memgptmilvus.client.ConformanceTest")
_MAVEN = ("mvn", "-q", "-B", "test-compile", "dependency:copy-dependencies")

RUNNERS = (
    Language("python", (), (sys.executable, "-m", "clients.conformance.run_python")),
    Language("grpcurl", (str(ROOT / ".tools/bin/grpcurl"),), (sys.executable, "-m", "clients.conformance.run_grpcurl")),
    Language("go", ("go",), (_GO_TEST, "-test.run", "TestConformance"), ROOT / "clients/go", _GO_COMPILE),
    Language("typescript", ("node", "npm"), _NODE, ROOT / "clients/typescript", _NPM, "node_modules"),
    Language(
        "grpc-web",
        ("node", "npm"),
        _NODE,
        ROOT / "clients/typescript",
        _NPM,
        "node_modules",
        {"MEMGPT_CONFORMANCE_PROTOCOL": "grpc-web"},
        needs_proxy=True,
    ),
    Language("java", ("mvn", "java"), _JAVA, ROOT / "clients/java", _MAVEN),
)


def set_up(runner: Language) -> None:
    """Install or compile what a runner needs."""
    if runner.setup and not (runner.made and (runner.folder / runner.made).exists()):
        with alone(runner.folder):
            subprocess.run(runner.setup, cwd=runner.folder, check=True, timeout=_RUN_SECONDS)


def start(runner: Language, config: Mapping[str, str], scratch: Path, name: str) -> tuple[subprocess.Popen[str], Path]:
    """Start a runner that is set up, and return its process and the file of its results.

    Args:
        runner: The runner.
        config: What it is told, without ``run`` and ``results``.
        scratch: Folder for its files.
        name: Name of its files.
    """
    results = scratch / f"{name}.jsonl"
    results.unlink(missing_ok=True)
    file = scratch / f"{name}.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({**config, "run": uuid.uuid4().hex[:8], "results": str(results)}), encoding="utf-8")
    environment = {**os.environ, **runner.environment, "MEMGPT_CONFORMANCE": str(file)}
    process = subprocess.Popen(
        runner.command,
        cwd=runner.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return process, results


def run(runner: Language, config: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Return the problem of each step, "" for none. A step that was not reached is absent."""
    if missing := [tool for tool in runner.tools if shutil.which(tool) is None]:
        print(f"{runner.language}: not installed: {', '.join(missing)}", file=sys.stderr)
        return {}
    set_up(runner)
    process, results = start(runner, config, scratch, runner.language)
    output, _ = process.communicate(timeout=_RUN_SECONDS)
    if process.returncode:
        print(f"{runner.language}: exit code {process.returncode}\n{output}", file=sys.stderr)
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    return {step["name"]: step["problem"] for step in map(json.loads, lines)}


@contextmanager
def serving(folder: Path, through: str | None) -> Iterator[dict[str, str]]:
    """Start the services, and a proxy in front of Agent and Loader if one is named; yield the runners' addresses."""
    with ExitStack() as stack:
        harness = stack.enter_context(Harness(folder / "home"))
        suite = harness.suite
        config = {
            "agent": suite.agent_address,
            "loader": suite.loader_address,
            "memory": suite.memory_address,
            "control": harness.control,
            "key": suite.operator,
            "scenario": str(SCENARIO),
        }
        if through:
            edge = stack.enter_context(Edge(folder, agents=[suite.agent_address], loaders=[suite.loader_address]))
            edge.wait_until("agent", 1)
            edge.wait_until("loader", 1)
            config |= {"agent": edge.address, "loader": edge.address, "descriptors": str(edge.descriptors)}
        yield config


def table(steps: Sequence[str], results: dict[str, dict[str, str]]) -> str:
    """Return the steps as rows and the languages as columns: ok, FAILED, or - for a step that was not reached."""
    width = max(map(len, steps)) + 2
    lines = ["".ljust(width) + "".join(language.ljust(12) for language in results)]
    for step in steps:
        marks = (_mark(results[language].get(step)) for language in results)
        lines.append(step.ljust(width) + "".join(mark.ljust(12) for mark in marks).rstrip())
    return "\n".join(lines)


def _mark(problem: str | None) -> str:
    return "-" if problem is None else "FAILED" if problem else "ok"


def main() -> None:
    """Run the runners that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m clients.conformance", description=__doc__)
    languages = [runner.language for runner in RUNNERS]
    parser.add_argument("languages", nargs="*", choices=[*languages, []], help="which languages; all by default")
    parser.add_argument("--through", choices=["envoy"], help="a proxy in front of Agent and Loader")
    options = parser.parse_args()
    usable = [runner for runner in RUNNERS if options.through or not runner.needs_proxy]
    chosen = [runner for runner in usable if not options.languages or runner.language in options.languages]
    if not chosen:
        parser.error("this client needs --through envoy")
    steps = [step["name"] for step in json.loads(SCENARIO.read_text(encoding="utf-8"))["steps"]]
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), options.through) as config:
        results = {runner.language: run(runner, config, Path(folder)) for runner in chosen}
    print(table(steps, results))
    for language, problems in results.items():
        for step, problem in problems.items():
            if problem:
                print(f"{language}: {step}: {problem}")
    complete = [language for language in results if results[language].keys() == set(steps)]
    passed = [language for language in complete if not any(results[language].values())]
    unavailable = [language for language in results if not results[language]]
    print(f"{len(passed)} passed, {len(results) - len(passed)} failed")
    allowed = set(passed) if os.environ.get("CI") else {*passed, *unavailable}
    sys.exit(0 if allowed == set(results) else 1)


if __name__ == "__main__":
    main()
