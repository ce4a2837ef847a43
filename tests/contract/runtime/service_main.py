"""A service process for the tests, like a real ``__main__``, with handlers that can be held."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from memgpt.common.v1.permission_pb2 import PERMISSION_USE
from memgpt.config import ServiceSection
from memgpt_runtime.errors import FailedPrecondition, Reason
from memgpt_runtime.server import App, ServiceSpec, run

from tests.contract.runtime.probe import Probe

HOME = Path(os.environ["MEMGPT_HOME"])


class Settings(ServiceSection):
    port: int = 0
    refuse: bool = False
    hang: bool = False


@asynccontextmanager
async def setup(app: App[Settings]) -> AsyncIterator[None]:
    if app.config.service.refuse:
        raise FailedPrecondition(Reason.EMBEDDING_MISMATCH, "the store was embedded by another model; choose that one")
    if app.config.service.hang:
        try:
            await asyncio.Event().wait()
        finally:
            (HOME / "closed").touch()

    async def until_stopping(_text: str) -> str:
        (HOME / "entered").touch()
        await app.stopping.wait()
        return "finished"

    async def act(text: str) -> str:
        if text == "until stopping":
            return await until_stopping(text)
        if text == "for ever":
            await asyncio.Event().wait()
        return text

    app.add_servicer(lambda _servicer, server: Probe(act).add_to(server), None)
    try:
        yield
    finally:
        # After SIGTERM as well: whoever waits for this file learns that resources are closed.
        (HOME / "closed").touch()


if __name__ == "__main__":
    run(ServiceSpec("memory", Settings, setup, permissions={"memgpt.test.v1.ProbeService": PERMISSION_USE}))
