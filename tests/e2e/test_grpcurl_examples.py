"""The grpcurl commands of the contract reference, run as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import pytest
from memgpt.memory.v1.source_service_pb2 import CreateSourceRequest
from memgpt.memory.v1.source_service_pb2_grpc import SourceServiceStub

from scripts.grpcurl_examples import IDS, PORTS
from tests.support.ports import free_port
from tests.support.processes import service_environment
from tests.support.suite import Suite

ROOT = Path(__file__).parents[2]
_EXAMPLE = re.compile(r"^#### (\w+\.\w+)\n(?:(?!^#).*\n)*?^```sh\n((?:.*\n)*?)```$", re.MULTILINE)
_REASONS = set(re.findall(r"^## (\w+)$", (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8"), re.MULTILINE))
_LAST = ("Delete", "Erase", "Forget", "Revoke", "Reembed")
"""Beginnings of the names of methods that take away what others need."""


def examples() -> dict[str, str]:
    """Return the printed commands by method, those last that delete something."""
    found = dict(_EXAMPLE.findall((ROOT / "docs/reference/contracts.md").read_text(encoding="utf-8")))
    return dict(sorted(found.items(), key=lambda item: item[0].split(".")[1].startswith(_LAST)))


@pytest.fixture(scope="module")
def replacements(tmp_path_factory: pytest.TempPathFactory, grpcurl: Path) -> Iterator[Mapping[str, str]]:
    """A running suite with an agent and a source, as what takes the place of addresses and sample ids."""
    home = tmp_path_factory.mktemp("examples")
    tools = f"127.0.0.1:{free_port()}"
    server = [sys.executable, str(ROOT / "examples/tools/python/server.py"), tools]
    with subprocess.Popen(server, stdout=subprocess.DEVNULL, env=service_environment(home, {})) as process:
        try:
            with Suite(home / "suite", MEMGPT_AGENT_TOOL_ADDRESSES=tools) as suite, suite.client() as client:
                agent = client.agents.create("Reader").agent_id
                block = client.blocks.create("plans").block_id
                with grpc.insecure_channel(suite.memory_address) as channel:
                    created = SourceServiceStub(channel).CreateSource(CreateSourceRequest(name="papers"))
                yield {
                    IDS["agent_id"]: agent,
                    IDS["block_id"]: block,
                    IDS["source_id"]: created.source.source_id,
                    f"localhost:{PORTS['agent']}": suite.agent_address,
                    f"localhost:{PORTS['memory']}": suite.memory_address,
                    f"localhost:{PORTS['loader']}": suite.loader_address,
                    f"localhost:{PORTS['tool']}": tools,
                    "127.0.0.1:6000": tools,
                }
        finally:
            process.terminate()


def test_every_method_has_an_example() -> None:
    page = (ROOT / "docs/reference/contracts.md").read_text(encoding="utf-8")
    assert examples().keys() == set(re.findall(r"^#### (\w+\.\w+)$", page, re.MULTILINE))


@pytest.mark.parametrize("method", examples())
def test_it_runs_as_printed(replacements: Mapping[str, str], grpcurl: Path, method: str) -> None:
    command = examples()[method]
    for printed, real in replacements.items():
        command = command.replace(printed, real)
    environment = {**os.environ, "PATH": f"{grpcurl.parent}{os.pathsep}{os.environ['PATH']}"}
    run = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    if run.returncode:
        assert "Code: InvalidArgument" not in run.stderr, run.stderr
        reasons = set(re.findall(r'"reason": "(\w+)"', run.stderr))
        assert '"domain": "memgpt"' in run.stderr, run.stderr
        assert reasons <= _REASONS - {"INTERNAL", "NOT_IMPLEMENTED"}, run.stderr
