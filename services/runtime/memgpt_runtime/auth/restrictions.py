"""Refuses requests that name an agent or a source which the caller's key does not permit."""

from __future__ import annotations

from google.protobuf.message import Message

from memgpt_runtime import reasons
from memgpt_runtime.errors import NotFound
from memgpt_runtime.principal import Principal


def check_request(request: Message, principal: Principal) -> None:
    """Check every agent and source that a request names, at any depth.

    Requests may also name them by name, or name things that belong to them: Memory, which finds these, checks again.

    Raises:
        NotFound: The principal may not use one of them; the error is the same as for one that does not exist.
    """
    for field, value in request.ListFields():
        kind = field.message_type
        if kind is not None:
            if kind.GetOptions().map_entry:  # a mapping of plain values: no request has another one
                continue
            for inner in value if field.is_repeated else (value,):
                check_request(inner, principal)
        elif field.name in ("agent_id", "source_id", "source_ids"):
            for id_ in value if field.is_repeated else (value,):
                _check_id(field.name, id_, principal)


def _check_id(field: str, id_: str, principal: Principal) -> None:
    if field == "agent_id":
        if not principal.may_use_agent(id_):
            raise agent_hidden(id_)
    elif not principal.may_use_source(id_):
        raise source_hidden(id_)


def agent_hidden(agent_id: str) -> NotFound:
    """Return the error for an agent that does not exist or is hidden from the caller."""
    return reasons.agent_not_found(f'unknown agent "{agent_id}"; list agents to see their ids', agent_id=agent_id)


def source_hidden(source_id: str) -> NotFound:
    """Return the error for a source that does not exist or is hidden from the caller."""
    return reasons.source_not_found(f'unknown source "{source_id}"; list sources to see their ids', source_id=source_id)
