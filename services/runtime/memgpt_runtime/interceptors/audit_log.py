"""Writes a line of the audit log for every change and every refusal."""

from __future__ import annotations

from typing import Any

import grpc

from memgpt_runtime.audit import AuditLine, AuditLog, Event, IdCollector, is_change
from memgpt_runtime.errors import Reason
from memgpt_runtime.interceptors.rpc import Call, Rpc
from memgpt_runtime.logs import redact
from memgpt_runtime.principal import CredentialKind

_REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_HIDDEN = (Reason.AGENT_NOT_FOUND, Reason.SOURCE_NOT_FOUND, Reason.LOAD_NOT_FOUND)
"""Reasons that hide from a restricted key whether what it names exists."""


class Audit:
    """Writes a line when a change or a refused call has ended, before its status is sent."""

    name = "audit"

    def __init__(self, log: AuditLog | None) -> None:
        """Write to `log`; None writes nothing."""
        self._log = log

    async def around(self, rpc: Rpc, call: Call) -> Any:
        """Run the call, then write its line."""
        if self._log is None or rpc.infrastructure:
            return await call()
        line = _PendingLine(self._log, rpc)
        rpc.watch, rpc.before_error = line.ids, line.write
        try:
            return await call()
        finally:
            line.write()


class _PendingLine:
    """The line of a call, to be written once: before its error is sent, or else when it has ended.

    Attributes:
        ids: Collects the ids in the messages of the call.
    """

    def __init__(self, log: AuditLog, rpc: Rpc) -> None:
        self.ids = IdCollector()
        self._log = log
        self._rpc = rpc
        self._written = False

    def write(self) -> None:
        """Write the line, if the call has one and it was not written."""
        event = _event(self._rpc)
        if event is not None and not self._written:
            self._written = True
            self._log.write(_line(self._log.service, event, self._rpc, self.ids))


def _event(rpc: Rpc) -> Event | None:
    if rpc.code in _REFUSALS or rpc.reason == Reason.QUOTA_EXCEEDED:
        return "refusal"
    if rpc.request.principal.restricted and rpc.reason in _HIDDEN:
        return "refusal"
    return "change" if rpc.known and is_change(rpc.method) else None


def _line(service: str, event: Event, rpc: Rpc, ids: IdCollector) -> AuditLine:
    resource, principal = dict(ids.found), rpc.request.principal
    anonymous = principal.kind is CredentialKind.NONE
    turn_id = resource.pop("turn_id", "")
    return AuditLine(
        service=service,
        event=event,
        rpc=rpc.method[1:] if rpc.known else "",
        tenant="" if anonymous and rpc.code is grpc.StatusCode.UNAUTHENTICATED else principal.tenant,
        key=principal.credential_name,
        role="" if anonymous else str(principal.role),
        peer=rpc.request.peer,
        resource=resource,
        status=rpc.code.name,
        reason=rpc.reason,
        request_id=str(redact(rpc.request.request_id)),
        turn_id=turn_id if isinstance(turn_id, str) else "",
    )
