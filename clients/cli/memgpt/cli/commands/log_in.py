"""Commands that log in to servers, and show who the caller is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from memgpt.cli.app import ACCESS, AsJson, Wide, app, connected, group, open_ui, shape_of

profiles_app = group("Manage profiles of servers; `local` stands for the services of this machine.")


@app.command(rich_help_panel=ACCESS)
def login(
    server: Annotated[
        str, typer.Argument(metavar="[HOST]", help="Host of the services at their usual ports.", show_default=False)
    ] = "",
    agent_address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Address of the Agent.")] = "",
    loader_address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Address of the Loader.")] = "",
    memory_address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Address of Memory.")] = "",
    tls: Annotated[
        bool | None, typer.Option("--tls/--plaintext", help="Whether to use TLS. [default: except on loopback]")
    ] = None,
    tls_ca: Annotated[Path | None, typer.Option(metavar="FILE", help="CA of the services, as PEM.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Your certificate chain, as PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Your private key, as PEM.")] = None,
    key_file: Annotated[
        str, typer.Option(metavar="FILE", help="File with the API key; - for standard input. [default: ask]")
    ] = "",
    no_key: Annotated[bool, typer.Option("--no-key", help="Log in without a key.")] = False,
) -> None:
    """Check an API key with a server, and use both from now on; --profile NAME keeps several servers apart."""
    from memgpt.cli.access import login as access

    options = access.LoginOptions(
        server=server,
        agent=agent_address,
        loader=loader_address,
        memory=memory_address,
        tls=tls,
        ca=tls_ca,
        cert=tls_cert,
        key=tls_key,
        key_file=key_file,
        no_key=no_key,
    )
    ui = open_ui()
    try:
        access.login(ui, options)
    except (KeyboardInterrupt, EOFError):
        ui.line()
        ui.note("Nothing was changed.")
        raise typer.Exit(130) from None


@app.command(rich_help_panel=ACCESS)
def logout(
    everything: Annotated[bool, typer.Option("--all", help="Remove all profiles.")] = False,
) -> None:
    """Remove the profile in use, or the one of --profile NAME, with its key from this machine."""
    from memgpt.cli.access import login as access

    access.logout(open_ui(), everything=everything)


@app.command(rich_help_panel=ACCESS)
def whoami(as_json: AsJson = False) -> None:
    """Show the tenant, role and credential of your calls."""
    from memgpt.cli.access import login as access

    ui = open_ui()
    with connected(ui) as memgpt:
        access.whoami(ui, memgpt, shape_of(as_json=as_json))


app.add_typer(profiles_app, name="profiles", rich_help_panel=ACCESS)


@profiles_app.command("list")
def profiles_list(wide: Wide = False, as_json: AsJson = False) -> None:
    """List the profiles."""
    from memgpt.cli.access import login as access

    access.show_profiles(open_ui(), shape_of(wide, as_json))


@profiles_app.command("use")
def profiles_use(name: Annotated[str, typer.Argument(help="Its name, or local.")]) -> None:
    """Use a profile from now on, unless --profile or MEMGPT_PROFILE names another one."""
    from memgpt.cli.access import login as access

    access.use_profile(open_ui(), name)
