"""`memgpt tenants`: tenants of the store."""

from __future__ import annotations

from collections.abc import Iterator

from memgpt.cli.errors import CliError
from memgpt.cli.resources import DEFAULT, Columns, OutputFormat, write
from memgpt.cli.terminal.table import Column
from memgpt.cli.terminal.ui import Ui
from memgpt.client import MemGPT
from memgpt.memory.v1.tenant_pb2 import Tenant, TenantState


def create(ui: Ui, memgpt: MemGPT, name: str) -> None:
    """Create a tenant."""
    tenant = memgpt.tenants.create(name)
    ui.line(f"Created tenant {tenant.name}; `memgpt keys create --tenant {tenant.name}` gives it a key", "green")


def list_all(ui: Ui, memgpt: MemGPT, shape: OutputFormat = DEFAULT) -> None:
    """List the tenants."""
    items = ((tenant, [tenant.name, _state(tenant), _created(tenant)]) for tenant in memgpt.tenants.list())
    columns: Columns = ["Name", Column("State", priority=2), Column("Created (UTC)", priority=1)]
    write(ui, shape, columns, items, "There are no tenants.")


def show(ui: Ui, memgpt: MemGPT, name: str, shape: OutputFormat = DEFAULT) -> None:
    """Show a tenant, with the receipt of its deletion if it was deleted."""
    tenant = memgpt.tenants.get(name)
    if shape.json:
        ui.json(tenant)
        return
    ui.line(f"{tenant.name}: {_state(tenant)}", "bold")
    if created := _created(tenant):
        ui.line(f"  Created {created} UTC")
    for line in _receipt(tenant):
        ui.line(f"  {line}")


def delete(ui: Ui, memgpt: MemGPT, name: str, *, yes: bool, shape: OutputFormat = DEFAULT) -> None:
    """Delete a tenant with everything in it; the name must be typed again on a terminal.

    Raises:
        CliError: Another name was typed.
    """
    memgpt.tenants.get(name)
    if ui.interactive and not yes:
        ui.warning(f"this deletes all agents, sources, profiles and keys of tenant {name} for good")
        if ui.ask("Type its name to go on:") != name:
            raise CliError("another name was typed; nothing was deleted")
    with ui.busy("Deleting..."):
        tenant = memgpt.tenants.delete(name)
    if shape.json:
        ui.json(tenant)
        return
    ui.line(f"Deleted tenant {tenant.name}.", "green")
    for line in _receipt(tenant):
        ui.line(f"  {line}")


def _receipt(tenant: Tenant) -> Iterator[str]:
    if not tenant.HasField("receipt"):
        return
    receipt = tenant.receipt
    counts = {
        "agents": receipt.agent_count,
        "messages": receipt.message_count,
        "passages": receipt.passage_count,
        "sources": receipt.source_count,
        "profiles": receipt.profile_count,
        "API keys": receipt.api_key_count,
        "other rows": receipt.other_row_count,
    }
    for what, count in counts.items():
        yield f"{what + ':':<12}{count:>9,}"


def _state(tenant: Tenant) -> str:
    return TenantState.Name(tenant.state).removeprefix("TENANT_STATE_").lower()


def _created(tenant: Tenant) -> str:
    return f"{tenant.create_time.ToDatetime():%Y-%m-%d %H:%M}" if tenant.HasField("create_time") else ""
