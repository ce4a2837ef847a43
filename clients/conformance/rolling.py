"""Restart two Agents in turn behind the Envoy of ``deploy/envoy`` while clients of every language talk.

    python -m clients.conformance.rolling

Each client is a runner of the conformance suite with a scenario of turns. At the end every message must have been
answered once: no turn lost, none run twice, no error shown.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from clients.conformance.__main__ import RUNNERS, Language, set_up, start
from clients.conformance.harness import last_user_message
from tests.support.credentials import GuardedSuite
from tests.support.edge import Edge
from tests.support.ports import free_ports
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import Reply, Request, ScriptedLLM, call, say
from tests.support.suite import Suite

_TURNS = 15
"""Turns of one client in one round."""

_ANSWER_SECONDS = 0.3
"""Time that the model takes, so that restarts fall into turns."""

_RUN_SECONDS = 900
_START_SECONDS = 300
"""Time for an Agent to start beside the clients of a slow machine."""

CLIENTS = tuple(runner for runner in RUNNERS if runner.language in ("python", "go", "typescript", "java"))
"""The clients, which resume turns; grpcurl does not."""


def scenario(count: int) -> dict[str, Sequence[object]]:
    """Return the steps of one client: its turns, then a count of what recall memory holds."""
    create = {
        "name": "create",
        "call": "memgpt.agent.v1.AgentService/CreateAgent",
        "request": {"name": "Ada ${run}", "requestId": "create-${run}"},
        "expect": {},
        "save": {"agent": "agent.agentId"},
    }
    turns = [
        {
            "name": f"turn {number}",
            "turn": {"agentId": "${agent}", "text": f"greeting {number}", "requestId": f"{number}-${{run}}"},
            "expect": {"messages": ["Hello."], "sequencesAscend": True, "state": "TURN_STATE_COMPLETED"},
        }
        for number in range(count)
    ]
    recall = {
        "name": "count",
        "pages": {
            "call": "memgpt.memory.v1.RecallMemoryService/SearchMessages",
            "request": {"agentId": "${agent}", "query": "greeting", "roles": ["ROLE_USER"]},
            "items": "messages",
            "id": "messageId",
        },
        "expect": {"total": count, "distinct": count},
    }
    return {"steps": [create, *turns, recall]}


def reply(request: Request) -> Reply:
    """Search first, then answer."""
    time.sleep(_ANSWER_SECONDS)
    if not request.functions:
        return say("A summary.")
    _, calls = last_user_message(request)
    if calls:
        return call("send_message", message="Hello.")
    return call("archival_memory_search", query="greeting", page=0, request_heartbeat=True)


class AgentReplicas:
    """Two Agents, one of which is always being replaced."""

    def __init__(self, suite: Suite, llm: ScriptedLLM, stack: ExitStack) -> None:
        """Start both."""
        self._suite, self._llm, self._stack = suite, llm, stack
        self.ports = free_ports(2)
        self._agents = [self._start(port) for port in self.ports]
        self.restarts = 0

    def _start(self, port: int) -> ServiceProcess:
        settings = {
            **self._suite.settings,
            "MEMGPT_AGENT_MEMORY_ADDRESS": self._suite.memory_address,
            "MEMGPT_AGENT_PORT": str(port),
            "MEMGPT_AGENT_MODEL": self._llm.model,
            "MEMGPT_AGENT_BASE_URL": self._llm.base_url,
            "MEMGPT_AGENT_MODE": "tools",
            "MEMGPT_SERVER_DRAIN_PAUSE": "0.2",
            "MEMGPT_SERVER_DRAIN_GRACE": "0.5",
        }
        agent = self._stack.enter_context(ServiceProcess("memgpt_agent", self._suite.home, **settings))
        agent.wait_ready(_START_SECONDS)
        return agent

    @contextmanager
    def restarting(self, interval: float) -> Iterator[None]:
        """Replace one Agent after the other, one each interval in seconds, or as soon as the last one is back.

        Raises:
            RuntimeError: An Agent did not start again.
        """
        stop = threading.Event()

        def restart() -> None:
            due = time.monotonic() + interval
            while not stop.wait(max(0.0, due - time.monotonic())):
                due = time.monotonic() + interval
                place = self.restarts % 2
                self._agents[place].send(signal.SIGTERM)
                self._agents[place].wait()
                self._agents[place] = self._start(self.ports[place])
                self.restarts += 1

        with ThreadPoolExecutor(1) as pool:
            restarting = pool.submit(restart)
            try:
                yield
            finally:
                stop.set()
            restarting.result()


class Rolling:
    """Two Agents behind Envoy that can be restarted in turn, as a context manager.

    Attributes:
        agents: The Agents.
    """

    agents: AgentReplicas

    def __init__(self, folder: Path, turns: int) -> None:
        """Prepare the services with their data in a folder.

        Args:
            folder: Folder for all files.
            turns: Turns of each client.
        """
        self._folder = folder
        self._steps = scenario(turns)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        llm = self._stack.enter_context(ScriptedLLM(reply))
        suite = self._stack.enter_context(GuardedSuite(self._folder / "home", MEMGPT_MEMORY_LEASE_SECONDS="3"))
        self.agents = AgentReplicas(suite, llm, self._stack)
        agents = [f"127.0.0.1:{port}" for port in self.agents.ports]
        edge = self._stack.enter_context(Edge(self._folder, agents=agents, loaders=[suite.loader_address]))
        edge.wait_until("agent", len(agents))
        steps = self._folder / "rolling.json"
        steps.write_text(json.dumps(self._steps), encoding="utf-8")
        self._config = {
            "agent": edge.address,
            "loader": suite.loader_address,
            "memory": suite.memory_address,
            "control": "",
            "key": suite.operator,
            "scenario": str(steps),
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def run_clients(self, runners: Sequence[Language]) -> list[str]:
        """Run one client for each runner, all at once, and return their problems."""
        for each in {runner.language: runner for runner in runners}.values():
            set_up(each)
        running = [
            (runner, *start(runner, self._config, self._folder, f"{runner.language}-{number}"))
            for number, runner in enumerate(runners)
        ]
        problems = []
        for runner, process, results in running:
            output, _ = process.communicate(timeout=_RUN_SECONDS)
            lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
            steps = [json.loads(line) for line in lines]
            problems += [f"{runner.language}: {step['name']}: {step['problem']}" for step in steps if step["problem"]]
            if len(steps) != len(self._steps["steps"]):
                problems.append(f"{runner.language}: ended after {len(steps)} steps: {output[-500:]}")
        return problems


def main() -> None:
    """Run rounds until the time is over, and print what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m clients.conformance.rolling", description=__doc__)
    languages = [runner.language for runner in CLIENTS]
    parser.add_argument("languages", nargs="*", help=f"any of {', '.join(languages)}; all by default")
    parser.add_argument("--clients", type=int, default=8, help="clients of a language at a time (default: 8)")
    parser.add_argument("--seconds", type=float, default=180, help="seconds for each language (default: 180)")
    parser.add_argument("--interval", type=float, default=5, help="seconds between restarts (default: 5)")
    options = parser.parse_args()
    if unknown := set(options.languages) - set(languages):
        parser.error(f"unknown language {', '.join(sorted(unknown))}; choose from {', '.join(languages)}")
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder, Rolling(Path(folder), _TURNS) as rolling:
        for runner in CLIENTS:
            if options.languages and runner.language not in options.languages:
                continue
            set_up(runner)
            rounds, end, restarts, found = 0, time.monotonic() + options.seconds, rolling.agents.restarts, len(problems)
            with rolling.agents.restarting(options.interval):
                while time.monotonic() < end:
                    problems += rolling.run_clients([runner] * options.clients)
                    rounds += 1
            print(
                f"{runner.language}: {rounds * options.clients * _TURNS} turns, "
                f"{rolling.agents.restarts - restarts} restarts, {len(problems) - found} problems",
                flush=True,
            )
    print("\n".join(problems))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
