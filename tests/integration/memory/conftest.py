"""The Memory service for tests: one real process for each backend that all share, and servers of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from memgpt.config import Config, ServerSettings
from memgpt_memory.config import MemorySettings
from memgpt_memory.service import StoreStartup, setup
from memgpt_runtime.server import ServiceSpec, serving
from pymilvus import MilvusClient

from tests.integration.memory.client import Memory, connected
from tests.support.milvus_server import MilvusServer
from tests.support.processes import ServiceProcess

BACKENDS = ["lite", pytest.param("server", marks=pytest.mark.milvus_server)]

Serve = Callable[..., AbstractAsyncContextManager[Memory]]


@pytest.fixture(scope="session")
def lite_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("memory-lite")
    with ServiceProcess("memgpt_memory", home) as process:
        yield process.wait_ready()


@pytest.fixture(scope="session")
def server_database(milvus_server: MilvusServer) -> str:
    """The database of the shared Memory process."""
    name = f"test_{uuid4().hex}"
    with closing(MilvusClient(milvus_server.uri, timeout=60)) as client:
        client.create_database(name)
    return f"{milvus_server.uri}/{name}"


@pytest.fixture(scope="session")
def server_process(tmp_path_factory: pytest.TempPathFactory, server_database: str) -> Iterator[str]:
    home = tmp_path_factory.mktemp("memory-server")
    settings = {"MEMGPT_MEMORY_URI": server_database, "MEMGPT_MEMORY_TIMEOUT": "30"}
    with ServiceProcess("memgpt_memory", home, **settings) as process:
        yield process.wait_ready(120)


@pytest.fixture(params=BACKENDS)
async def memory(request: pytest.FixtureRequest) -> AsyncIterator[Memory]:
    """A separate tenant in the shared Memory process."""
    address = request.getfixturevalue(f"{request.param}_process")
    async with connected(address, f"t{uuid4().hex}") as client:
        yield client


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Start Memory within the test's process, over a real socket: `serve(uri, **settings)`.

    Leases hold for a second unless said otherwise. The client's attribute `core` answers the service's inner parts, for
    tests that make the store fail.
    """

    @asynccontextmanager
    async def start(uri: str, **settings: Any) -> AsyncIterator[Memory]:
        config = Config(
            name="memory",
            service=MemorySettings(**{"port": 0, "uri": uri, "timeout": 30.0, "lease_seconds": 1.0, **settings}),
            server=ServerSettings(drain_grace=5.0),
            home=tmp_path,
            path=None,
        )
        openings: list[StoreStartup] = []
        original = StoreStartup.open

        async def remember(self: StoreStartup) -> None:
            openings.append(self)
            await original(self)

        spec = ServiceSpec("memory", MemorySettings, setup, trust_principal=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(StoreStartup, "open", remember)
            async with serving(spec, config) as server, connected(f"127.0.0.1:{server.port}") as client:
                client.core = openings[0].core
                yield client

    return start
