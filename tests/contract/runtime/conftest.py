"""Fixtures: a small service on the runtime, over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from memgpt.common.v1 import permission_pb2
from memgpt.config import Config, ServerSettings, ServiceSection
from memgpt_runtime import server
from memgpt_runtime.server import App, ServiceSpec
from pydantic import SecretStr

from tests.contract.runtime.probe import Running, Start


@pytest.fixture
def start() -> Start:
    """Starts a server with some servicers, and with credentials if one is given; settings by name, those of the service
    with the prefix ``service_``."""

    @asynccontextmanager
    async def run(
        *servicers: Callable[[Any], None],
        trust_principal: bool = False,
        deadlines: Any = None,
        unlimited: frozenset[str] = frozenset(),
        keep_alive: Any = None,
        permission: Any = permission_pb2.PERMISSION_USE,
        credential: str = "",
        **settings: Any,
    ) -> AsyncIterator[Running]:
        apps: list[App[ServiceSection]] = []

        @asynccontextmanager
        async def setup(app: App[ServiceSection]) -> AsyncIterator[None]:
            apps.append(app)
            for add in servicers:
                app.add_servicer(lambda add, target: add(target), add)
            yield

        if credential:
            settings["service_key"] = SecretStr(credential)
        own = {
            key.removeprefix("service_"): settings.pop(key)
            for key in list(settings)
            if key.startswith("service_") and key != "service_key"
        }
        spec = ServiceSpec(
            "memory",
            ServiceSection,
            setup,
            trust_principal=trust_principal,
            deadlines=deadlines or {},
            unlimited=unlimited,
            keep_alive=keep_alive or {},
            permissions={} if permission is None else {"memgpt.test.v1.ProbeService": permission},
        )
        config = Config(
            name="memory",
            service=ServiceSection(**own),
            server=ServerSettings(**{"drain_grace": 5.0, **settings}),
            home=Path("/nonexistent"),
            path=None,
        )
        async with (
            server.serving(spec, config) as running,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel,
        ):
            yield Running(running, channel, apps[0])

    return run
