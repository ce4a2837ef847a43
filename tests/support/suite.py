"""The three services together, as processes, for end-to-end tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from memgpt.client import MemGPT

from tests.support.processes import ServiceProcess, service_environment

PAPER = Path(__file__).parents[2] / "clients/python/memgpt/samples/memgpt_research_paper.pdf"
"""The sample document: 13 pages."""

PAPER_PAGES = 13

QUESTION = "The paper I loaded into your archival memory is called MemGPT. Can you tell me more about it?"
"""The tutorial's question."""


class Suite:
    """Memory, Loader and Agent as processes, which stop when the context ends.

    Attributes:
        program: The command line.
        home: Folder of configuration and data; the Lite file in it outlives the processes.
        memory: The Memory process.
        loader: The Loader process.
        agent: The Agent process; `start_agent` replaces it.
    """

    program = str(Path(sys.executable).with_name("memgpt"))
    memory: ServiceProcess
    loader: ServiceProcess
    agent: ServiceProcess

    def __init__(self, home: Path, **settings: str) -> None:
        """Prepare the suite; entering the context starts the processes.

        Args:
            home: Folder of configuration and data.
            settings: `MEMGPT_*` variables for all of them.
        """
        self.home = home
        self.settings = settings
        self._started: list[ServiceProcess] = []
        self.memory_address = self.loader_address = self.agent_address = ""

    def __enter__(self) -> Self:
        try:
            self.memory = self._start("memgpt_memory")
            self.memory_address = self.memory.wait_bound()
            self.loader = self._start("memgpt_loader", MEMGPT_LOADER_MEMORY_ADDRESS=self.memory_address)
            self.start_agent()
            self.loader_address = self.loader.wait_ready()
            self.memory.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def start_agent(self, **settings: str) -> None:
        """Start an Agent with additional settings, replacing any previous one."""
        self.agent = self._start("memgpt_agent", MEMGPT_AGENT_MEMORY_ADDRESS=self.memory_address, **settings)
        self.agent_address = self.agent.wait_ready()

    def restart_loader(self) -> None:
        """Restart the Loader at the same address."""
        port = self.loader_address.rsplit(":", 1)[1]
        address = self.memory_address
        self.loader = self._start("memgpt_loader", MEMGPT_LOADER_MEMORY_ADDRESS=address, MEMGPT_LOADER_PORT=port)
        self.loader.wait_ready()

    def restart_memory(self) -> None:
        """Restart Memory at the same address, on the same store."""
        port = self.memory_address.rsplit(":", 1)[1]
        self.memory = self._start("memgpt_memory", MEMGPT_MEMORY_PORT=port)
        self.memory.wait_ready()

    def client(self, turn_seconds: float = 30.0) -> MemGPT:
        """Return a client of this suite, to be used as a context manager."""
        return MemGPT(
            self.agent_address,
            self.loader_address,
            memory=self.memory_address,
            turn_seconds=turn_seconds,
            retry_seconds=turn_seconds,
        )

    def cli(self, *arguments: str) -> str:
        """Run ``memgpt`` against this suite without a terminal; return its output.

        Raises:
            AssertionError: The command failed.
        """
        run = self.run(*arguments)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def run(self, *arguments: str, stdin: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run ``memgpt`` against this suite without a terminal."""
        return subprocess.run(
            [self.program, *arguments],
            env=self.environment(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        """Return the environment of a ``memgpt`` that uses this suite."""
        return service_environment(
            self.home,
            {
                "MEMGPT_CLIENT_AGENT_ADDRESS": self.agent_address,
                "MEMGPT_CLIENT_LOADER_ADDRESS": self.loader_address,
                "MEMGPT_CLIENT_MEMORY_ADDRESS": self.memory_address,
            },
        )

    def close(self) -> None:
        """Stop every process."""
        for process in reversed(self._started):
            process.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, module: str, **settings: str) -> ServiceProcess:
        process = ServiceProcess(module, self.home, **{**self.settings, **settings})
        self._started.append(process)
        return process
