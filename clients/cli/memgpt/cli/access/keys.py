"""`memgpt keys`: API keys of a tenant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.cli.access.times import parse_duration, parse_expiry
from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.resources import DEFAULT, Columns, OutputFormat, confirmed, write
from memgpt.cli.terminal.table import Column
from memgpt.cli.terminal.ui import Ui
from memgpt.client import MemGPT
from memgpt.common.v1.permission_pb2 import Role
from memgpt.memory.v1.api_key_pb2 import ApiKey

ROLES = ("reader", "user", "admin", "operator")
"""Roles that a key can have."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to create.

    Attributes:
        name: Its name.
        role: One of `ROLES`.
        expires: When it expires, see `parse_expiry`; empty for never.
        agents: Names or ids of the only agents that it permits; empty for all.
        sources: Names or ids of the only sources that it permits; empty for all.
        tenant: Its tenant; empty for the caller's own.
    """

    name: str
    role: str
    expires: str = ""
    agents: Sequence[str] = ()
    sources: Sequence[str] = ()
    tenant: str = ""


def create(ui: Ui, memgpt: MemGPT, key: NewKey, shape: OutputFormat = DEFAULT) -> None:
    """Create a key, and show its token, which cannot be read again.

    Raises:
        CliError: A field is not valid.
    """
    if key.role not in ROLES:
        raise CliError(f'unknown role "{key.role}"; choose one of: {", ".join(ROLES)}', MISUSE)
    expires = _timestamp(key.expires) if key.expires else None
    agent_ids = [_agent_id(memgpt, each, key.tenant) for each in key.agents]
    source_ids = [_source_id(memgpt, each, key.tenant) for each in key.sources]
    role = Role.Value(f"ROLE_{key.role.upper()}")
    created = memgpt.keys.create(
        key.name, role, expires=expires, agent_ids=agent_ids, source_ids=source_ids, tenant=key.tenant
    )
    ui.progress(f"Created key {created.api_key.name} of tenant {created.api_key.tenant} with the role {key.role}.")
    _show_token(ui, created, created.token, shape)


def rotate(ui: Ui, memgpt: MemGPT, name: str, overlap: str, tenant: str = "", shape: OutputFormat = DEFAULT) -> None:
    """Give a key a new secret, and show the new token, which cannot be read again."""
    kept = Duration()
    if overlap:
        kept.FromTimedelta(parse_duration(overlap))
    key = memgpt.keys.find(name, tenant=tenant)
    rotated = memgpt.keys.rotate(key.api_key_id, overlap=kept if overlap else None, tenant=tenant)
    former = [secret for secret in rotated.api_key.secrets if secret.HasField("expire_time")]
    until = f"; the former token is valid until {_time(former[0].expire_time)} UTC" if former else ""
    ui.progress(f"Rotated key {key.name}{until}.")
    _show_token(ui, rotated, rotated.token, shape)


def list_all(ui: Ui, memgpt: MemGPT, tenant: str = "", shape: OutputFormat = DEFAULT) -> None:
    """List the keys of a tenant."""
    items = (
        (
            key,
            [
                key.name,
                key.api_key_id,
                _role(key),
                _state(key),
                _time(key.last_use_time) if key.HasField("last_use_time") else "never",
                _time(key.expire_time) if key.HasField("expire_time") else "never",
                _time(key.create_time),
            ],
        )
        for key in memgpt.keys.list(tenant=tenant)
    )
    columns: Columns = [
        "Name",
        Column("Id", wide=True),
        "Role",
        Column("State", priority=4),
        Column("Last used (UTC)", priority=3),
        Column("Expires (UTC)", priority=2),
        Column("Created (UTC)", priority=1),
    ]
    write(ui, shape, columns, items, "No keys yet; `memgpt keys create` creates one.")


def show(ui: Ui, memgpt: MemGPT, name: str, tenant: str = "", shape: OutputFormat = DEFAULT) -> None:
    """Show a key, without its secrets."""
    key = memgpt.keys.find(name, tenant=tenant)
    if shape.json:
        ui.json(key)
        return
    facts = {
        "Id": key.api_key_id,
        "Tenant": key.tenant,
        "Role": _role(key),
        "State": _state(key),
        "Agents": ", ".join(key.agent_ids) or "all",
        "Sources": ", ".join(key.source_ids) or "all",
        "Created": f"{_time(key.create_time)} UTC",
        "Expires": f"{_time(key.expire_time)} UTC" if key.HasField("expire_time") else "never",
        "Last used": f"{_time(key.last_use_time)} UTC" if key.HasField("last_use_time") else "never",
    }
    ui.line(key.name, "bold")
    for title, text in facts.items():
        ui.line(f"  {title + ':':<12}{text}", indent=14)
    for secret in key.secrets:
        until = f", valid until {_time(secret.expire_time)} UTC" if secret.HasField("expire_time") else ""
        ui.line(f"  Token …{secret.hint}, created {_time(secret.create_time)} UTC{until}", indent=4)


def revoke(ui: Ui, memgpt: MemGPT, name: str, tenant: str = "", *, yes: bool) -> None:
    """Revoke a key; ask for confirmation on a terminal."""
    key = memgpt.keys.find(name, tenant=tenant)
    if confirmed(ui, f"Revoke key {key.name}? Calls with it will be refused.", yes=yes):
        memgpt.keys.revoke(key.api_key_id, tenant=tenant)
        ui.line(f"Revoked key {key.name}; every server refuses it within 5 seconds", "green")


def delete(ui: Ui, memgpt: MemGPT, name: str, tenant: str = "", *, yes: bool) -> None:
    """Delete a key; ask for confirmation on a terminal."""
    key = memgpt.keys.find(name, tenant=tenant)
    if confirmed(ui, f"Delete key {key.name}? Calls with it will be refused.", yes=yes):
        memgpt.keys.delete(key.api_key_id, tenant=tenant)
        ui.line(f"Deleted key {key.name}.", "green")


def _show_token(ui: Ui, response: Message, token: str, shape: OutputFormat) -> None:
    """Write a token to standard output, where it is alone so that a script can take it."""
    if shape.json:
        ui.json(response)
        return
    ui.progress("This is its token. It is not shown again:")
    ui.piece(f"{token}\n")


def _agent_id(memgpt: MemGPT, agent: str, tenant: str) -> str:
    if agent.startswith("agent_"):
        return agent
    _check_own(agent, tenant)
    return memgpt.agents.find(agent).agent_id


def _source_id(memgpt: MemGPT, source: str, tenant: str) -> str:
    if source.startswith("source_"):
        return source
    _check_own(source, tenant)
    return memgpt.sources.find(source).source_id


def _check_own(name: str, tenant: str) -> None:
    if tenant:
        raise CliError(f'"{name}": name agents and sources of another tenant by their ids', MISUSE)


def _timestamp(text: str) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(parse_expiry(text, datetime.now(UTC)))
    return time


def _state(key: ApiKey) -> str:
    if key.HasField("revoke_time"):
        return "revoked"
    if key.HasField("expire_time") and key.expire_time.ToDatetime(UTC) <= datetime.now(UTC):
        return "expired"
    return "rotated" if len(key.secrets) > 1 else "valid"


def _role(key: ApiKey) -> str:
    return Role.Name(key.role).removeprefix("ROLE_").lower()


def _time(time: Timestamp) -> str:
    return f"{time.ToDatetime():%Y-%m-%d %H:%M}"
