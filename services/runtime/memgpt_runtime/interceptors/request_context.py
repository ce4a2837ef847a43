"""The stage that sets the current call for the stages and the handler inside it."""

from __future__ import annotations

from typing import Any

from memgpt_runtime import context, reasons, status
from memgpt_runtime.interceptors.rpc import Call, Rpc
from memgpt_runtime.principal import Principal


class ContextStage:
    """Sets the context variable of the call, and sends its request id back."""

    name = "context"

    def __init__(self, *, trust_principal: bool) -> None:
        """Set the stage up.

        Args:
            trust_principal: Whether callers may set the principal of a call: true for Memory, whose only callers are
                the other services. Elsewhere the metadata key is ignored.
        """
        self._trust_principal = trust_principal

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Run the call within its context."""
        entries = {key: value for key, value in rpc.wire.invocation_metadata() or () if isinstance(value, str)}
        rpc.request = context.make_request(rpc.method, entries, peer=rpc.wire.peer(), timeout=rpc.wire.time_remaining())
        context.set_current(rpc.request)
        rpc.wire.set_trailing_metadata(((status.REQUEST_ID_KEY, rpc.request.request_id),))
        claim = entries.get(context.PRINCIPAL_KEY) if self._trust_principal else None
        if claim is not None:
            try:
                principal = Principal.decode(claim)
            except ValueError:
                error = reasons.credential_invalid(f"malformed {context.PRINCIPAL_KEY} metadata")
                await status.abort(rpc.wire, error, rpc.request.request_id)
            rpc.request = context.with_principal(rpc.request, principal)
            context.set_current(rpc.request)
        return await call()
