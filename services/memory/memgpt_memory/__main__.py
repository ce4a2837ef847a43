"""``python -m memgpt_memory`` and ``memgpt-memory``: the Memory service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from memgpt_runtime.server import App, ServiceSpec, run

from memgpt_memory.config import MemorySettings


@asynccontextmanager
async def _setup(app: App[MemorySettings]) -> AsyncIterator[None]:
    # Milvus's client takes seconds to import. Here the port is bound already, and whoever waits for it can go on.
    from memgpt_memory.service import setup

    async with setup(app):
        yield


def main() -> None:
    """Runs the service."""
    run(ServiceSpec("memory", MemorySettings, _setup, trust_principal=True))


if __name__ == "__main__":
    main()
