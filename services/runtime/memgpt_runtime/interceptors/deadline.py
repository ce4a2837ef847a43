"""Limits calls that came without a deadline. gRPC enforces a caller's own deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from memgpt_runtime import context, reasons
from memgpt_runtime.interceptors.rpc import Call, Rpc


class DefaultDeadline:
    """Sets a default deadline, and enforces it."""

    name = "deadline"

    def __init__(self, unary: float, stream: float, overrides: Mapping[str, float | None]) -> None:
        """Set the limits.

        Args:
            unary: Seconds for a unary call.
            stream: Seconds for a call with a stream on either side.
            overrides: Seconds by full method name; None for no limit.
        """
        self._unary = unary
        self._stream = stream
        self._overrides = overrides

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Run the call within its deadline."""
        limit = self._overrides.get(rpc.method, self._unary if rpc.kind == "unary" else self._stream)
        if rpc.infrastructure or rpc.request.deadline is not None or limit is None:
            return await call()
        rpc.request = context.with_timeout(rpc.request, limit)
        context.set_current(rpc.request)
        try:
            async with asyncio.timeout(limit) as scope:
                return await call()
        except TimeoutError:
            if not scope.expired():
                raise
            raise reasons.deadline_exceeded(
                f"timed out after {limit:g} s, the server's default; set a deadline to wait longer", limit_seconds=limit
            ) from None
