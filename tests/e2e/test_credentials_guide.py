"""The guide on credentials, pasted block by block on a machine with an empty home."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support import markdown, toolchains
from tests.support.issuer import Issuer
from tests.support.ports import free_ports
from tests.support.processes import service_environment
from tests.support.suite import Suite

GUIDE = toolchains.ROOT / "docs/guides/credentials.md"
PROVIDER = "https://login.example.org/realms/main"
PORTS = {"50051": "AGENT", "50052": "MEMORY", "50053": "LOADER"}

PREPARATION = "Turn credentials on"
KEYS, TOKENS, CERTIFICATES = "API keys", "Tokens of an OpenID provider", "Client certificates"

_VARYING = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d|\bkey_\w+")
"""Times and ids, which differ from those that the guide shows."""


class Machine:
    """A machine with an empty home, a terminal for commands, and another one for the services."""

    def __init__(self, home: Path, ports: dict[str, str]) -> None:
        home.mkdir()
        settings = {f"MEMGPT_{name}_PORT": port for name, port in ports.items()}
        settings["MEMGPT_SERVER_DRAIN_PAUSE"] = "0"  # nobody else calls them when they stop
        environment = service_environment(home, settings)
        del environment["MEMGPT_HOME"]
        path = f"{Path(Suite.program).parent}:{environment['PATH']}"
        self._environment = {**environment, "HOME": str(home), "PATH": path}
        self._home = home
        self._server: subprocess.Popen[str] | None = None

    def paste(self, block: str) -> tuple[int, str]:
        """Run a block in the first terminal; return its exit code and what it wrote."""
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", block],
            env=self._environment,
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout

    def serve(self, block: str) -> str:
        """Run a block in the second terminal after Ctrl-C; return the first line that it wrote."""
        self.stop()
        self._server = subprocess.Popen(
            ["bash", "-c", f"exec {block}"],
            env=self._environment,
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line.startswith("memgpt server is ready"), line
        return line

    def stop(self) -> None:
        """Press Ctrl-C in the second terminal, and wait until the services have stopped."""
        if self._server is not None:
            with self._server as server:
                server.send_signal(signal.SIGINT)
                server.wait(60)
            self._server = None


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        issuer.add("first")
        issuer.client_claims["memgpt-app"] = {
            "iss": f"{issuer.url}/realms/main",
            "sub": "memgpt-app",
            "tenant": None,
            "role": None,
            "organization": "acme",
            "realm_access": {"roles": ["offline_access", "memgpt-users"]},
        }
        yield issuer


def on_this_machine(page: str, ports: Mapping[str, str], provider: str) -> str:
    """Return the guide with other ports, by the usual ones, and another provider."""
    page = re.sub(":(" + "|".join(ports) + r")\b", lambda usual: f":{ports[usual[1]]}", page)
    login = [f"--{PORTS[usual].lower()}-address localhost:{port}" for usual, port in ports.items()]
    return page.replace("memgpt login localhost", f"memgpt login {' '.join(login)}").replace(PROVIDER, provider)


def sections(page: str) -> dict[str, str]:
    """Return the sections of a page by their titles."""
    return dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))


def steps(section: str) -> Iterator[tuple[str, str]]:
    """Yield each block to paste, with the output that the guide shows after it, if any."""
    found = [*markdown.blocks(section), ("", "")]
    for (language, block), (after, output) in pairwise(found):
        if language == "bash":
            yield block, output if after == "text" else ""


def same_for_all(output: str) -> str:
    """Return output without what differs between runs: times, ids and line breaks."""
    return " ".join(_VARYING.sub("_", output).split())


def follow(machine: Machine, section: str) -> None:
    """Paste the blocks of a section in order, and compare what they write with what the guide shows."""
    for block, shown in steps(section):
        if block == "memgpt server":
            output = machine.serve(block)
        else:
            code, output = machine.paste(block)
            assert (code != 0) == shown.startswith("Error: "), f"{block}\n{output}"
        if shown:
            assert same_for_all(output) == same_for_all(shown), block


@pytest.mark.parametrize(
    "parts", [(KEYS, TOKENS, CERTIFICATES), (TOKENS, CERTIFICATES)], ids=["all parts", "without API keys"]
)
def test_the_guide_works_as_printed(parts: Sequence[str], issuer: Issuer, tmp_path: Path) -> None:
    toolchains.require("openssl", "curl", "jq")
    ports = dict(zip(PORTS, map(str, free_ports(3)), strict=True))
    found = sections(on_this_machine(GUIDE.read_text(encoding="utf-8"), ports, f"{issuer.url}/realms/main"))
    machine = Machine(tmp_path / "home", {PORTS[usual]: port for usual, port in ports.items()})
    try:
        for title in (PREPARATION, *parts):
            follow(machine, found[title])
    finally:
        machine.stop()


def test_each_part_ends_with_who_calls_and_a_refused_call() -> None:
    found = sections(GUIDE.read_text(encoding="utf-8"))
    for title in (KEYS, TOKENS, CERTIFICATES):
        *_, (block, shown), (_, refused) = steps(found[title])
        assert "memgpt whoami" in block.splitlines()
        assert "Role:" in shown
        assert refused.startswith("Error: ")


def test_every_block_of_bash_is_followed() -> None:
    page = GUIDE.read_text(encoding="utf-8")
    followed = [step for title in (PREPARATION, KEYS, TOKENS, CERTIFICATES) for step in steps(sections(page)[title])]
    assert followed == list(steps(page))
