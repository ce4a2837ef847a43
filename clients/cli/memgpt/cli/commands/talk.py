"""`memgpt run` and `memgpt ask`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from memgpt.cli.app import TALK, MessageTtl, NoteTtl, Tokens, Yes, app, connected, open_ui

AgentOption = Annotated[str, typer.Option("--agent", help="Name of the agent; it is created if there is none.")]


@app.command(rich_help_panel=TALK)
def run(
    persona: Annotated[str, typer.Option(help="Persona of a new agent. [default: sam_pov]")] = "",
    human: Annotated[str, typer.Option(help="Human profile of a new agent. [default: basic]")] = "",
    agent: AgentOption = "",
    preset: Annotated[str, typer.Option(help="Preset of a new agent. [default: memgpt_chat]")] = "",
    system: Annotated[str, typer.Option(help="Instructions instead of the preset's.")] = "",
    system_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File with the instructions.")] = None,
    model: Annotated[str, typer.Option(help="Chat model that the agent asks.")] = "",
    model_endpoint: Annotated[str, typer.Option(help="Base URL of the endpoint, for services started here.")] = "",
    context_window: Tokens = 0,
    core_memory_limit: Annotated[
        int,
        typer.Option(
            metavar="CHARACTERS", help="Size of a new agent's blocks. [default: 2000]", min=0, show_default=False
        ),
    ] = 0,
    block: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=TEXT", help="Block of core memory, or LABEL=@FILE; may be given several times."),
    ] = None,
    read_only_block: Annotated[
        list[str] | None, typer.Option(metavar="LABEL=TEXT", help="The same, for a block that the agent cannot change.")
    ] = None,
    message_ttl: MessageTtl = "",
    note_ttl: NoteTtl = "",
    first: Annotated[bool, typer.Option("--first", help="You speak first.")] = False,
    strip_ui: Annotated[bool, typer.Option("--strip-ui", help="Only the agent's messages, bare.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show every event of a turn.")] = False,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Do not check the agent's first answer.")] = False,
    yes: Yes = False,
    stream: Annotated[
        bool | None,
        typer.Option("--stream/--no-stream", help="Show text while the model writes it. [default: on a terminal]"),
    ] = None,
) -> None:
    """Talk to an agent. Without a terminal, each line of standard input is a message."""
    from memgpt.cli.access.times import parse_ttl
    from memgpt.cli.chat.choose_agent import RunOptions, choose_agent, read_blocks, read_system
    from memgpt.cli.chat.session import Chat
    from memgpt.cli.services.dependencies import model_warning
    from memgpt.cli.setup.configure import endpoint_overrides
    from memgpt.config import home_dir

    wishes = RunOptions(
        agent=agent,
        preset=preset,
        persona=persona,
        human=human,
        system=read_system(system, system_file),
        model=model,
        context_window=context_window,
        core_memory_limit=core_memory_limit,
        message_ttl=parse_ttl(message_ttl),
        note_ttl=parse_ttl(note_ttl),
        blocks=(*read_blocks(block or (), read_only=False), *read_blocks(read_only_block or (), read_only=True)),
        first=first,
        strip_ui=strip_ui,
        debug=debug,
        no_verify=no_verify,
        yes=yes,
        stream=stream,
    )
    ui = open_ui(plain=strip_ui)
    overrides = endpoint_overrides(model_endpoint, model)
    warning = "" if overrides else model_warning()
    if warning:
        ui.warning(warning)
    with connected(ui, overrides) as memgpt:
        chosen = choose_agent(ui, memgpt, wishes)
        well = Chat(ui, memgpt, chosen, wishes, home_dir() / "history").run()
    if not well and not ui.interactive:
        raise typer.Exit(1)


@app.command(rich_help_panel=TALK)
def ask(
    question: Annotated[str, typer.Argument(help="Your message; - reads it from standard input.")],
    agent: AgentOption = "",
    source: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Let the agent search this data source.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every event as a JSON object a line.")] = False,
) -> None:
    """Ask an agent one thing and print its answer. Without --agent, the most recently used agent answers."""
    from memgpt.cli.chat.one_shot import ask_once, read_question

    ui = open_ui()
    text = read_question(question)
    with connected(ui) as memgpt:
        well = ask_once(ui, memgpt, text, agent, source or [], as_json=as_json)
    if not well:
        raise typer.Exit(1)
