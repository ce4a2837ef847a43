"""``python -m memgpt_memory`` and ``memgpt-memory``: run Memory, restore a backup, or repair a store."""

from __future__ import annotations

import memgpt_runtime.early_sigterm  # noqa: F401 - first of all

# isort: split

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from memgpt.memory.v1.agent_state_service_pb2 import BeginTurnResponse, KeepAlive, ReadTurnResponse
from memgpt_runtime.server import App, ServiceSpec, run

from memgpt_memory.config import MemorySettings

BEGIN_TURN = "/memgpt.memory.v1.AgentStateService/BeginTurn"
READ_TURN = "/memgpt.memory.v1.AgentStateService/ReadTurn"


@asynccontextmanager
async def _setup(app: App[MemorySettings]) -> AsyncIterator[None]:
    # Milvus's client takes seconds to import. By now the port is bound, so that waiting clients can connect.
    from memgpt_memory.service import setup

    async with setup(app):
        yield


def main() -> None:
    """Run the service, or a command on its store: ``restore FILE`` or ``repair``."""
    if sys.argv[1:2] == ["restore"]:
        from memgpt_memory.maintenance.restore import main as restore

        sys.exit(restore(sys.argv[2:]))
    if sys.argv[1:2] == ["repair"]:
        from memgpt_memory.maintenance.repair import main as repair

        sys.exit(repair(sys.argv[2:]))
    run(
        ServiceSpec(
            "memory",
            MemorySettings,
            _setup,
            trust_principal=True,
            # Every Agent holds one stream per turn; the Agents' own limits bound them.
            unlimited=frozenset({BEGIN_TURN, READ_TURN}),
            keep_alive={
                BEGIN_TURN: BeginTurnResponse(keep_alive=KeepAlive()),
                READ_TURN: ReadTurnResponse(keep_alive=KeepAlive()),
            },
        )
    )


if __name__ == "__main__":
    main()
