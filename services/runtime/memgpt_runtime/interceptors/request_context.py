"""The stage that sets the current call for the stages and the handler inside it."""

from __future__ import annotations

from typing import Any

from memgpt_runtime import context, status
from memgpt_runtime.interceptors.rpc import Call, Rpc


class ContextStage:
    """Sets the context variable of the call, and sends its request id back."""

    name = "context"

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Run the call within its context."""
        rpc.metadata = {key: value for key, value in rpc.wire.invocation_metadata() or () if isinstance(value, str)}
        rpc.request = context.make_request(
            rpc.method, rpc.metadata, peer=rpc.wire.peer(), timeout=rpc.wire.time_remaining()
        )
        context.set_current(rpc.request)
        rpc.wire.set_trailing_metadata(((status.REQUEST_ID_KEY, rpc.request.request_id),))
        return await call()
