"""The Python client beside other people's pins: the lowest and the newest protobuf and grpcio, and what is between."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import service_environment
from tests.support.suite import Suite

ROOT = Path(__file__).parents[2]

TUTORIAL = """
import asyncio, hashlib, sys, tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import google.protobuf, grpc
from memgpt.client import AsyncMemGPT, MemGPT, NotFound, Reason
from memgpt.loader.v1.load_pb2 import FileManifest
from memgpt.tool.v1 import tool_service_pb2_grpc as tool

agent_address, loader, memory, name = sys.argv[1:]
text = b"The harbor of Brest has tides of seven meters."
with MemGPT(agent_address, loader, memory=memory) as memgpt:
    manifest = FileManifest(name="tides.txt", size=len(text), sha256=hashlib.sha256(text).hexdigest())
    load = memgpt.loads.create(name, [manifest])
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        memgpt.loads.upload(load.load_id, "tides.txt", Path(file.name))
    *_, last = memgpt.loads.watch(load.load_id)
    assert last.HasField("ended"), last
    agent = memgpt.agents.create(name)
    agent.attach(name)
    events = list(agent.send("How high are the tides of Brest?", stream_deltas=True))
    assert events[-1].HasField("done"), events
    assert "seven meters" in "".join(event.message.text for event in events), events
    source = memgpt.sources.find(name)
    assert [hit.passage.citation.file_name for hit in source.search("tides")] == ["tides.txt"]
    try:
        memgpt.agents.get("agent_x")
    except NotFound as error:
        assert (error.reason, error.metadata) == (Reason.AGENT_NOT_FOUND, {"agent_id": "agent_x"})

async def main():
    async with AsyncMemGPT(agent_address, loader, memory=memory) as memgpt:
        agent = await memgpt.agents.find(name)
        return await agent.ask("Hello!")

assert asyncio.run(main())
# What an author of tools needs: the server's side of the stubs.
tool.add_ToolServiceServicer_to_server(tool.ToolServiceServicer(), grpc.server(ThreadPoolExecutor()))
print(google.protobuf.__version__, grpc.__version__)
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with Suite(tmp_path_factory.mktemp("home")) as started:
        yield started


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("lowest", ("--resolution", "lowest"), "5.26.1 1.64.0"),
        ("protobuf 6", ("protobuf<7",), "6."),
        ("newest", (), ""),
    ],
)
def test_the_tutorial(suite: Suite, tmp_path: Path, name: str, options: tuple[str, ...], expected: str) -> None:
    python = tmp_path / "environment" / "bin" / "python"

    def uv(*arguments: str | Path) -> None:
        done = subprocess.run([ROOT / "scripts" / "uv", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    uv("venv", "--quiet", "--python", sys.executable, python.parents[1])
    uv("pip", "install", "--quiet", "--python", python, *options, ROOT / "gen" / "python", ROOT / "clients" / "python")
    done = subprocess.run(
        [python, "-W", "error", "-c", TUTORIAL, suite.agent_address, suite.loader_address, suite.memory_address, name],
        cwd=tmp_path,
        env=service_environment(tmp_path, {"PYTHONPATH": ""}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(expected), done.stdout
