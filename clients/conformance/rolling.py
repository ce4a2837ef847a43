"""Restart two Agents in turn behind Envoy while clients of every language talk.

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
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clients.conformance.__main__ import RUNNERS, Language, start
from clients.conformance.harness import last_user_message
from tests.support.envoy import Envoy
from tests.support.ports import free_ports
from tests.support.processes import ServiceProcess
from tests.support.scripted_llm import Reply, Request, ScriptedLLM, call, say
from tests.support.suite import Suite

TURNS = 15
"""Turns of one client in one round."""

_ANSWER_SECONDS = 0.3
"""Time that the model takes, so that restarts fall into turns."""

_RUN_SECONDS = 900


def scenario() -> dict[str, object]:
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
        for number in range(TURNS)
    ]
    count = {
        "name": "count",
        "pages": {
            "call": "memgpt.memory.v1.RecallMemoryService/SearchMessages",
            "request": {"agentId": "${agent}", "query": "greeting", "roles": ["ROLE_USER"]},
            "items": "messages",
            "id": "messageId",
        },
        "expect": {"total": TURNS, "distinct": TURNS},
    }
    return {"steps": [create, *turns, count]}


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
            "MEMGPT_AGENT_MEMORY_ADDRESS": self._suite.memory_address,
            "MEMGPT_AGENT_PORT": str(port),
            "MEMGPT_AGENT_MODEL": self._llm.model,
            "MEMGPT_AGENT_BASE_URL": self._llm.base_url,
            "MEMGPT_AGENT_MODE": "tools",
            "MEMGPT_SERVER_DRAIN_PAUSE": "0.2",
            "MEMGPT_SERVER_DRAIN_GRACE": "0.5",
        }
        agent = self._stack.enter_context(ServiceProcess("memgpt_agent", self._suite.home, **settings))
        agent.wait_ready()
        return agent

    @contextmanager
    def restarting(self, interval: float) -> Iterator[None]:
        """Replace one Agent after the other, one each interval in seconds."""
        stop = threading.Event()

        def restart() -> None:
            while not stop.wait(interval):
                place = self.restarts % 2
                self._agents[place].send(signal.SIGTERM)
                self._agents[place].wait()
                self._agents[place] = self._start(self.ports[place])
                self.restarts += 1

        thread = threading.Thread(target=restart)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def round_of_clients(runner: Language, clients: int, config: dict[str, str], scratch: Path) -> list[str]:
    """Run clients of one language side by side, and return their problems."""
    running = [start(runner, config, scratch, f"{runner.language}-{number}") for number in range(clients)]
    problems = []
    for process, results in running:
        output, _ = process.communicate(timeout=_RUN_SECONDS)
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
        steps = [json.loads(line) for line in lines]
        problems += [f"{runner.language}: {step['name']}: {step['problem']}" for step in steps if step["problem"]]
        if len(steps) != TURNS + 2:
            problems.append(f"{runner.language}: ended after {len(steps)} steps: {output[-500:]}")
    return problems


def main() -> None:
    """Run rounds until the time is over, and print what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m clients.conformance.rolling", description=__doc__)
    languages = [runner.language for runner in RUNNERS if not runner.needs_proxy]
    parser.add_argument("languages", nargs="*", help=f"any of {', '.join(languages)}; all by default")
    parser.add_argument("--clients", type=int, default=8, help="clients of a language at a time (default: 8)")
    parser.add_argument("--seconds", type=float, default=180, help="seconds for each language (default: 180)")
    parser.add_argument("--interval", type=float, default=5, help="seconds between restarts (default: 5)")
    options = parser.parse_args()
    chosen: Sequence[Language] = [runner for runner in RUNNERS if runner.language in (options.languages or languages)]
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder, ScriptedLLM(reply) as llm, ExitStack() as stack:
        scratch = Path(folder)
        (scratch / "rolling.json").write_text(json.dumps(scenario()), encoding="utf-8")
        suite = stack.enter_context(Suite(scratch / "home", MEMGPT_MEMORY_LEASE_SECONDS="3"))
        agents = AgentReplicas(suite, llm, stack)
        envoy = stack.enter_context(Envoy(scratch, *(f"127.0.0.1:{port}" for port in agents.ports)))
        config = {
            "agent": envoy.address,
            "loader": suite.loader_address,
            "memory": suite.memory_address,
            "control": "",
            "key": "",
            "scenario": str(scratch / "rolling.json"),
        }
        for runner in chosen:
            rounds, end = 0, time.monotonic() + options.seconds
            with agents.restarting(options.interval):
                while time.monotonic() < end:
                    problems += round_of_clients(runner, options.clients, config, scratch)
                    rounds += 1
            turns = rounds * options.clients * TURNS
            print(
                f"{runner.language}: {turns} turns, {agents.restarts} restarts so far, {len(problems)} problems so far"
            )
    print("\n".join(problems))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
