"""`memgpt usage` and `memgpt quotas`: what tenants use, and what they may use."""

from __future__ import annotations

from collections.abc import Sequence

from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.resources import DEFAULT, Columns, OutputFormat, write
from memgpt.cli.terminal.table import Column
from memgpt.cli.terminal.ui import Ui
from memgpt.client import MemGPT
from memgpt.memory.v1.quota_service_pb2 import GetUsageResponse, Quota, TenantUsage

NAMES = tuple(field.name for field in Quota.DESCRIPTOR.fields)
"""Names of the limits."""

_LEFT = {
    "turns_per_minute": "turns_left",
    "searches_per_minute": "searches_left",
    "loaded_bytes_per_minute": "loaded_bytes_left",
}
_USED = {"model_tokens_per_day": "model_tokens_today"}


def show_usage(ui: Ui, memgpt: MemGPT, shape: OutputFormat = DEFAULT) -> None:
    """Show what the caller's tenant uses, and its limits."""
    page = next(iter(memgpt.quotas.usage().pages()))
    response: GetUsageResponse = page.response
    if shape.json:
        ui.json(GetUsageResponse(usage=response.usage, quota=response.quota, total_size=response.total_size))
        return
    rows = [[name.replace("_", " "), _used(response, name), _limit(response.quota, name)] for name in NAMES]
    ui.table(["What", Column("Used", number=True), Column("Limit", number=True)], rows)


def show_agents(ui: Ui, memgpt: MemGPT, shape: OutputFormat = DEFAULT) -> None:
    """List what each agent of the caller's tenant uses."""
    names = {} if shape.json else {agent.agent_id: agent.name for agent in memgpt.agents.list()}
    items = (
        (
            agent,
            [
                names.get(agent.agent_id, agent.agent_id),
                agent.agent_id,
                f"{agent.message_count:,}",
                f"{agent.passage_count:,}",
                f"{agent.bytes:,}",
                f"{agent.model_tokens:,}",
                f"{agent.model_tokens_today:,}",
            ],
        )
        for agent in memgpt.quotas.usage()
    )
    columns: Columns = [
        "Agent",
        Column("Id", wide=True),
        Column("Messages", number=True, priority=4),
        Column("Notes", number=True, priority=3),
        Column("Bytes", number=True, priority=5),
        Column("Tokens", number=True, priority=2),
        Column("Tokens today", number=True, priority=1),
    ]
    write(ui, shape, columns, items, "No agents yet.")


def show(ui: Ui, memgpt: MemGPT, tenant: str, shape: OutputFormat = DEFAULT) -> None:
    """Show the limits of a tenant."""
    response = memgpt.quotas.get(tenant)
    if shape.json:
        ui.json(response)
        return
    changed = {field.name for field, _ in response.quota.ListFields()}
    rows = [[name, _limit(response.effective, name), "set" if name in changed else "default"] for name in NAMES]
    ui.table(["Quota", Column("Limit", number=True), "From"], rows)


def change(ui: Ui, memgpt: MemGPT, tenant: str, changes: Sequence[str], shape: OutputFormat = DEFAULT) -> None:
    """Change some limits of a tenant, and leave the others as they are.

    Args:
        ui: The terminal.
        memgpt: The services.
        tenant: The tenant.
        changes: Each as ``NAME=NUMBER``, ``NAME=none`` for no limit, or ``NAME=default``.
        shape: The output format.

    Raises:
        CliError: A change is not valid.
    """
    parsed = [_parse(each) for each in changes]
    quota = memgpt.quotas.get(tenant).quota
    for name, value in parsed:
        if value is None:
            quota.ClearField(name)  # type: ignore[arg-type]
        else:
            setattr(quota, name, value)
    memgpt.quotas.set(tenant, quota)
    show(ui, memgpt, tenant, shape)


def _parse(change: str) -> tuple[str, int | None]:
    name, _, text = change.partition("=")
    name = name.replace("-", "_")
    if name not in NAMES:
        raise CliError(f'unknown quota "{name}"; choose from: {", ".join(NAMES)}', MISUSE)
    if text == "default":
        return name, None
    if text == "none":
        return name, 0
    digits = text.replace(",", "").replace("_", "")
    if not (digits.isascii() and digits.isdigit()) or not 0 < int(digits) < 2**63:
        raise CliError(f'"{change}": write {name}=NUMBER, {name}=none for no limit, or {name}=default', MISUSE)
    return name, int(digits)


def _used(response: GetUsageResponse, name: str) -> str:
    usage: TenantUsage = response.usage
    if name in _LEFT:
        if not usage.HasField(_LEFT[name]):  # type: ignore[arg-type]
            return ""
        return f"{getattr(response.quota, name) - getattr(usage, _LEFT[name]):,}"
    return f"{getattr(usage, _USED.get(name, name)):,}"


def _limit(quota: Quota, name: str) -> str:
    return f"{getattr(quota, name):,}" if getattr(quota, name) else "none"
