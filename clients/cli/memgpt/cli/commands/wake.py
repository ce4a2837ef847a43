"""Commands for timed heartbeats."""

from __future__ import annotations

from typing import Annotated

import typer
from memgpt.cli.app import THINGS, AgentName, AsJson, Wide, app, connected, group, open_ui, shape_of

heartbeats_app = group("Let an agent wake at times, without a message.")
app.add_typer(heartbeats_app, name="heartbeats", rich_help_panel=THINGS)


@heartbeats_app.command("schedule")
def heartbeats_schedule(
    agent: AgentName,
    every: Annotated[str, typer.Option(metavar="DURATION", help="How often: 90s, 15m, 24h, or 7d.")] = "",
    cron: Annotated[
        str, typer.Option(metavar="EXPRESSION", help="Five fields of cron, in the agent's time zone.")
    ] = "",
    at: Annotated[
        str, typer.Option(metavar="TIME", help="Once: 2027-01-31T12:00Z, or 2h for two hours from now.")
    ] = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="What for; the agent sees it when it wakes.")] = "",
) -> None:
    """Let an agent wake at an interval, by a cron expression, or once."""
    from memgpt.cli import heartbeats

    ui = open_ui()
    wanted = heartbeats.heartbeat(every, cron, at, reason)
    with connected(ui) as memgpt:
        heartbeats.schedule(ui, memgpt, agent, wanted)


@heartbeats_app.command("list")
def heartbeats_list(agent: AgentName, wide: Wide = False, as_json: AsJson = False) -> None:
    """List the heartbeats of an agent, and its limits."""
    from memgpt.cli import heartbeats

    ui = open_ui()
    with connected(ui) as memgpt:
        heartbeats.show(ui, memgpt, agent, shape_of(wide, as_json))


@heartbeats_app.command("cancel")
def heartbeats_cancel(
    heartbeat_id: Annotated[
        str, typer.Argument(metavar="ID", help="Its id, as `memgpt heartbeats list` lists it.", show_default=False)
    ],
    agent: AgentName,
) -> None:
    """Cancel a heartbeat of an agent."""
    from memgpt.cli import heartbeats

    ui = open_ui()
    with connected(ui) as memgpt:
        heartbeats.cancel(ui, memgpt, agent, heartbeat_id)


@heartbeats_app.command("limit")
def heartbeats_limit(
    agent: AgentName,
    turns: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Turns a day; 0 for the default of 24.", min=0, max=86400)
    ] = None,
    tokens: Annotated[int | None, typer.Option(metavar="NUMBER", help="Tokens a day; 0 for no limit.", min=0)] = None,
    self_scheduled: Annotated[
        bool | None,
        typer.Option("--self-scheduled/--not-self-scheduled", help="Whether the agent may set heartbeats itself."),
    ] = None,
) -> None:
    """Limit what an agent does on heartbeats, and let it set its own."""
    from memgpt.cli import heartbeats

    ui = open_ui()
    with connected(ui) as memgpt:
        heartbeats.limit(ui, memgpt, agent, turns, tokens, self_scheduled)
