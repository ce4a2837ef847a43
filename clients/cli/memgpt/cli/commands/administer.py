"""Commands that administer API keys, tenants and quotas."""

from __future__ import annotations

from typing import Annotated

import typer
from memgpt.cli.app import ACCESS, AsJson, Name, Wide, Yes, app, connected, group, open_ui, shape_of

keys_app = group("Manage API keys, as an administrator.")
tenants_app = group("Manage tenants, as an operator.")
quotas_app = group("Manage limits of tenants, as an operator.")

Tenant = Annotated[
    str, typer.Option("--tenant", metavar="NAME", help="Another tenant, for operators. [default: your own]")
]
TenantName = Annotated[str, typer.Argument(metavar="TENANT", help="Name of the tenant.", show_default=False)]
OneJson = Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")]

app.add_typer(keys_app, name="keys", rich_help_panel=ACCESS)


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Option(metavar="NAME", help="Its name.")],
    role: Annotated[str, typer.Option(metavar="ROLE", help="What it permits: reader, user, admin or operator.")],
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="When it expires, such as 30d or 2027-01-31. [default: never]")
    ] = "",
    agent: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this agent; may be given several times.")
    ] = None,
    data_source: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this data source; may be given several times.")
    ] = None,
    tenant: Tenant = "",
    as_json: OneJson = False,
) -> None:
    """Create a key and write its token, once."""
    from memgpt.cli.access import keys

    ui = open_ui()
    with connected(ui) as memgpt:
        new = keys.NewKey(name, role, expires, agent or (), data_source or (), tenant)
        keys.create(ui, memgpt, new, shape_of(as_json=as_json))


@keys_app.command("list")
def keys_list(tenant: Tenant = "", wide: Wide = False, as_json: AsJson = False) -> None:
    """List the keys."""
    from memgpt.cli.access import keys

    ui = open_ui()
    with connected(ui) as memgpt:
        keys.list_all(ui, memgpt, tenant, shape_of(wide, as_json))


@keys_app.command("show")
def keys_show(name: Name, tenant: Tenant = "", as_json: OneJson = False) -> None:
    """Show a key, without its secrets."""
    from memgpt.cli.access import keys

    ui = open_ui()
    with connected(ui) as memgpt:
        keys.show(ui, memgpt, name, tenant, shape_of(as_json=as_json))


@keys_app.command("rotate")
def keys_rotate(
    name: Name,
    overlap: Annotated[
        str, typer.Option(metavar="TIME", help="How long the former token stays valid, such as 0s. [default: 24h]")
    ] = "",
    tenant: Tenant = "",
    as_json: OneJson = False,
) -> None:
    """Give a key a new secret and write the new token, once."""
    from memgpt.cli.access import keys

    ui = open_ui()
    with connected(ui) as memgpt:
        keys.rotate(ui, memgpt, name, overlap, tenant, shape_of(as_json=as_json))


@keys_app.command("revoke")
def keys_revoke(name: Name, tenant: Tenant = "", yes: Yes = False) -> None:
    """Revoke a key for good; it stays in the list."""
    from memgpt.cli.access import keys

    ui = open_ui()
    with connected(ui) as memgpt:
        keys.revoke(ui, memgpt, name, tenant, yes=yes)


@keys_app.command("delete")
def keys_delete(name: Name, tenant: Tenant = "", yes: Yes = False) -> None:
    """Delete a key for good."""
    from memgpt.cli.access import keys

    ui = open_ui()
    with connected(ui) as memgpt:
        keys.delete(ui, memgpt, name, tenant, yes=yes)


app.add_typer(tenants_app, name="tenants", rich_help_panel=ACCESS)


@tenants_app.command("create")
def tenants_create(name: TenantName) -> None:
    """Create a tenant."""
    from memgpt.cli.access import tenants

    ui = open_ui()
    with connected(ui) as memgpt:
        tenants.create(ui, memgpt, name)


@tenants_app.command("list")
def tenants_list(wide: Wide = False, as_json: AsJson = False) -> None:
    """List the tenants."""
    from memgpt.cli.access import tenants

    ui = open_ui()
    with connected(ui) as memgpt:
        tenants.list_all(ui, memgpt, shape_of(wide, as_json))


@tenants_app.command("show")
def tenants_show(name: TenantName, as_json: OneJson = False) -> None:
    """Show a tenant, or the receipt of a deleted one."""
    from memgpt.cli.access import tenants

    ui = open_ui()
    with connected(ui) as memgpt:
        tenants.show(ui, memgpt, name, shape_of(as_json=as_json))


@tenants_app.command("delete")
def tenants_delete(name: TenantName, yes: Yes = False, as_json: OneJson = False) -> None:
    """Delete a tenant with everything in it for good, and write a receipt."""
    from memgpt.cli.access import tenants

    ui = open_ui()
    with connected(ui) as memgpt:
        tenants.delete(ui, memgpt, name, yes=yes, shape=shape_of(as_json=as_json))


@app.command(rich_help_panel=ACCESS)
def usage(
    agents: Annotated[bool, typer.Option("--agents", help="List what each agent uses.")] = False,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """Show what your tenant uses, and its limits."""
    from memgpt.cli.access import quotas

    ui = open_ui()
    with connected(ui) as memgpt:
        (quotas.show_agents if agents else quotas.show_usage)(ui, memgpt, shape_of(wide, as_json))


app.add_typer(quotas_app, name="quotas", rich_help_panel=ACCESS)


@quotas_app.command("show")
def quotas_show(tenant: TenantName, as_json: OneJson = False) -> None:
    """Show the limits of a tenant."""
    from memgpt.cli.access import quotas

    ui = open_ui()
    with connected(ui) as memgpt:
        quotas.show(ui, memgpt, tenant, shape_of(as_json=as_json))


@quotas_app.command("set")
def quotas_set(
    tenant: TenantName,
    changes: Annotated[
        list[str],
        typer.Argument(metavar="NAME=NUMBER...", help="Limits, such as agents=50; none for no limit, or default."),
    ],
    as_json: OneJson = False,
) -> None:
    """Change limits of a tenant; the others stay as they are."""
    from memgpt.cli.access import quotas

    ui = open_ui()
    with connected(ui) as memgpt:
        quotas.change(ui, memgpt, tenant, changes, shape_of(as_json=as_json))
