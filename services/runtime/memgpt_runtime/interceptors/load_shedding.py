"""Refuses calls beyond a limit, so that those in progress can finish, and new calls while the server drains.

Tenants have fair shares of the limit: one that floods the server is refused, the others are served.
"""

from __future__ import annotations

from typing import Any

from memgpt_runtime import reasons
from memgpt_runtime.fair_shares import FairShares
from memgpt_runtime.interceptors.in_flight import InFlight
from memgpt_runtime.interceptors.rpc import Call, Rpc


class LoadShedding:
    """Counts calls, and refuses those beyond the limits.

    gRPC's own `maximum_concurrent_rpcs` would refuse health checks too, and the orchestrator would restart a server
    that is merely busy. Streams have a limit of their own: they are long, and mostly wait.
    """

    name = "shed"

    def __init__(self, max_calls: int, max_streams: int, unlimited: frozenset[str], in_flight: InFlight) -> None:
        """Set the limits.

        Args:
            max_calls: Unary calls in progress.
            max_streams: Streaming calls in progress.
            unlimited: Full names of methods that are not counted.
            in_flight: The calls in progress, and whether new ones are refused.
        """
        self._calls = FairShares(max_calls)
        self._streams = FairShares(max_streams)
        self._unlimited = unlimited
        self._in_flight = in_flight

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Run the call, or refuse it."""
        if rpc.infrastructure:
            return await call()
        if self._in_flight.refusing:
            self._in_flight.refused += 1
            raise reasons.shutting_down("the server is shutting down; retry")
        if rpc.method in self._unlimited:
            return await call()
        shares = self._calls if rpc.kind == "unary" else self._streams
        tenant = rpc.request.principal.tenant
        if not shares.take(tenant):
            raise reasons.overloaded("too many concurrent calls; retry later", limit=shares.limit)
        try:
            return await call()
        finally:
            shares.give_back(tenant)
