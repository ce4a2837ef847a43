"""A line of the audit log."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Event = Literal["change", "refusal"]


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One call, as the audit log describes it.

    Attributes:
        service: The service that wrote the line, such as ``memory``.
        event: ``refusal`` if the call was not allowed or exceeded a quota, else ``change``.
        rpc: Full name of the method, ``package.Service/Method``.
        tenant: The tenant on whose behalf the call ran.
        key: Name of the credential; empty for an anonymous call.
        role: Role of the credential; empty for an anonymous call.
        peer: The caller's address, as gRPC writes it.
        resource: Ids in the request and the response by field name; a list for a field of several ids.
        status: Name of the gRPC status code.
        reason: Reason of the error, as in ``ErrorInfo``; empty without one.
        request_id: Id of the call, as in ``x-request-id``.
        turn_id: The turn that the call is about; empty without one.
    """

    service: str
    event: Event
    rpc: str
    tenant: str
    key: str
    role: str
    peer: str
    resource: Mapping[str, str | Sequence[str]]
    status: str
    reason: str
    request_id: str
    turn_id: str

    def encode(self) -> bytes:
        """Return the line as JSON with the current time first, ASCII only, ending with a newline."""
        fields = {"time": _time(time.time()), **{name: getattr(self, name) for name in self.__slots__}}
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
