"""Logs a line for every RPC when it has ended."""

from __future__ import annotations

import time
from typing import Any

from memgpt_runtime.interceptors.rpc import Call, Rpc
from memgpt_runtime.logs import get_logger

_log = get_logger(__name__)


class AccessLog:
    """Logs status and duration of every RPC."""

    name = "log"

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Run the call, then log it."""
        began = time.perf_counter()
        try:
            return await call()
        finally:
            write = _log.debug if rpc.infrastructure else _log.info
            write(
                "rpc",
                code=rpc.code.name,
                duration_ms=round((time.perf_counter() - began) * 1000, 2),
                kind=rpc.kind,
                peer=rpc.request.peer,
            )
