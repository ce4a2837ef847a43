"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

# Terminals are forked off (pexpect): with gRPC's support for forks its poller starts anew in the child, finds its
# descriptors closed, and aborts before the program begins.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import pytest
import structlog
from hypothesis import HealthCheck, settings
from pymilvus import MilvusClient

from tests.support import milvus_server as milvus
from tests.support.milvus_server import MilvusServer
from tests.support.missing import missing_tool
from tests.support.scripted_llm import ScriptedLLM

# On a busy machine, any example may take seconds.
settings.register_profile("any speed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")

# As set by default, structlog prints a traceback with all local variables, which can take many seconds.
_renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _renderer])

_ROOT = Path(__file__).parents[1]
_SERVER = pytest.StashKey[MilvusServer]()


def _shared_server(config: pytest.Config) -> MilvusServer:
    if _SERVER not in config.stash:
        config.stash[_SERVER] = MilvusServer(Path(tempfile.mkdtemp(prefix="memgpt-milvus-")))
        config.stash[_SERVER].start()
    return config.stash[_SERVER]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for the length of randomized tests."""
    parser.addoption("--kills", type=int, default=0, help="kills of each test of crashes (default: few)")
    parser.addoption("--faults", type=int, default=0, help="faults of the test behind Envoy (default: few)")
    parser.addoption("--on-server", action="store_true", help="the test behind Envoy on the Milvus server")
    parser.addoption("--examples", type=int, default=0, help="runs of each test of random changes (default: few)")
    parser.addoption("--requests", type=int, default=0, help="hostile requests for each RPC (default: few)")
    parser.addoption("--seed", type=int, default=0, help="first seed of tests of random changes (default: 0)")
    parser.addoption("--clients", type=int, default=6, help="clients at work meanwhile (default: 6)")
    parser.addoption("--large", action="store_true", help="files of 5,000 pages and 200 MB as well")
    parser.addoption("--vendors", action="store_true", help="every vendor from configure to run (default: a few)")
    parser.addoption("--model-endpoint", default="", help="base URL of a real chat model, ending in /v1")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests of Linux elsewhere."""
    if sys.platform != "linux" and (marker := item.get_closest_marker("linux")):
        pytest.skip(f"needs Linux: {marker.args[0]}")


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """Number of kills from the command line; 0 for the test's own number."""
    return int(request.config.getoption("--kills"))


@pytest.fixture
def examples(request: pytest.FixtureRequest) -> int:
    """Number of random runs from the command line; 0 for the test's own number."""
    return int(request.config.getoption("--examples"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The first seed of random runs."""
    return int(request.config.getoption("--seed"))


@pytest.fixture
def clients(request: pytest.FixtureRequest) -> int:
    """Number of concurrent clients in kill tests."""
    return int(request.config.getoption("--clients"))


@pytest.fixture
def large(request: pytest.FixtureRequest) -> bool:
    """Whether to include files that take minutes."""
    return bool(request.config.getoption("--large"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the Milvus server in the background if a test needs it, so that it gets ready while others run.

    With several test processes, only those with such a test start one.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    needed = any(item.get_closest_marker("milvus_server") for item in session.items)
    if needed and not session.config.option.collectonly and milvus.why_unavailable() is None:
        _shared_server(session.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the Milvus server, even after an interrupt."""
    if server := config.stash.get(_SERVER, None):
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def milvus_server(request: pytest.FixtureRequest) -> MilvusServer:
    """The ready Milvus server shared by the whole session.

    Tests must not change its state; a test that kills the server uses `own_milvus_server`. Its tests carry the marker
    `milvus_server`, so that the server is started early.
    """
    if reason := milvus.why_unavailable():
        missing_tool(reason)
    server = _shared_server(request.config)
    server.wait_ready()
    return server


@pytest.fixture
def stopped_milvus_server(tmp_path: Path) -> Iterator[MilvusServer]:
    """A Milvus server for one test, not yet started."""
    if reason := milvus.why_unavailable():
        missing_tool(reason)
    server = MilvusServer(tmp_path / "milvus-server")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_milvus_server(stopped_milvus_server: MilvusServer) -> MilvusServer:
    """A ready Milvus server for one test, to kill, suspend and restart."""
    stopped_milvus_server.start()
    stopped_milvus_server.wait_ready()
    return stopped_milvus_server


@pytest.fixture
def milvus_server_uri(milvus_server: MilvusServer) -> Iterator[str]:
    """The URI of an empty database on the shared server; it ends in the database's name."""
    name = f"test_{uuid4().hex}"
    with closing(MilvusClient(milvus_server.uri, timeout=60)) as client:
        client.create_database(name)
    uri = f"{milvus_server.uri}/{name}"
    yield uri
    with closing(MilvusClient(uri, timeout=60)) as client:
        for collection in client.list_collections():
            client.drop_collection(collection)
    with closing(MilvusClient(milvus_server.uri, timeout=60)) as client:
        client.drop_database(name)


@pytest.fixture
def milvus_lite_uri(tmp_path: Path) -> str:
    """The path of a Milvus Lite file that does not exist yet."""
    return str(tmp_path / "milvus.db")


@pytest.fixture(params=["lite", pytest.param("server", marks=pytest.mark.milvus_server)])
def milvus_uri(request: pytest.FixtureRequest) -> str:
    """The URI of an empty store; the test runs on Milvus Lite and on the Milvus server."""
    uri: str = request.getfixturevalue("milvus_lite_uri" if request.param == "lite" else "milvus_server_uri")
    return uri


@pytest.fixture
def scripted_llm() -> Iterator[Callable[..., ScriptedLLM]]:
    """A function that starts scripted models, which stop after the test."""
    started: list[ScriptedLLM] = []

    def start(*args: object, **settings: object) -> ScriptedLLM:
        started.append(ScriptedLLM(*args, **settings))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for llm in started:
        llm.close()


@pytest.fixture(scope="session")
def grpcurl() -> Path:
    """The program `grpcurl`."""
    return _tool("grpcurl")


@pytest.fixture(scope="session")
def helm() -> Path:
    """The program `helm`."""
    return _tool("helm")


@pytest.fixture(scope="session")
def kustomize() -> Path:
    """The program `kustomize`."""
    return _tool("kustomize")


@pytest.fixture(scope="session")
def kube_score() -> Path:
    """The program `kube-score`."""
    return _tool("kube-score")


def _tool(name: str) -> Path:
    found = _ROOT / ".tools" / "bin" / name
    if not found.exists():
        missing_tool(f"{name} is not installed; run `make tools`, which also says why if it cannot be had")
    return found
