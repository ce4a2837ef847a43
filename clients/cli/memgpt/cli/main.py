"""The commands and their flags. What a command needs is imported when it runs: `--help` and `version` are quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from io import BufferedReader

    from memgpt.cli.ui import Ui
    from memgpt.client import MemGPT

app = typer.Typer(
    name="memgpt",
    help="MemGPT on Milvus: agents with a long-term memory.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
load_app = typer.Typer(no_args_is_help=True, help="Load documents into a data source.", rich_markup_mode=None)
list_app = typer.Typer(no_args_is_help=True, help="List what there is.", rich_markup_mode=None)
add_app = typer.Typer(no_args_is_help=True, help="Add a persona, human or preset.", rich_markup_mode=None)
export_app = typer.Typer(no_args_is_help=True, help="Write an agent to a file.", rich_markup_mode=None)
import_app = typer.Typer(no_args_is_help=True, help="Make an agent from such a file.", rich_markup_mode=None)
delete_app = typer.Typer(no_args_is_help=True, help="Delete something for good.", rich_markup_mode=None)
app.add_typer(load_app, name="load")
app.add_typer(list_app, name="list")
app.add_typer(add_app, name="add")
app.add_typer(delete_app, name="delete")
tools_app = typer.Typer(no_args_is_help=True, help="Functions that run elsewhere.", rich_markup_mode=None)
app.add_typer(tools_app, name="tools")
app.add_typer(export_app, name="export")
app.add_typer(import_app, name="import")

Name = Annotated[str, typer.Argument(help="Its name, or its id.", show_default=False)]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]

Tokens = Annotated[
    int,
    typer.Option(metavar="TOKENS", help="Size of the model's context window.", min=0, show_default=False),
]
EmbeddingDimension = Annotated[
    int,
    typer.Option(metavar="NUMBER", help="Dimensions of its vectors. [default: ask it]", min=0, show_default=False),
]
ApiKey = Annotated[str, typer.Option(help="The endpoint's key; a flag can be seen by others.", envvar="MEMGPT_API_KEY")]


@contextmanager
def connected(ui: Ui, overrides: Mapping[str, str] | None = None) -> Iterator[MemGPT]:
    """The client, with services behind it for as long as the command takes."""
    from contextlib import ExitStack

    from memgpt.cli.services import services
    from memgpt.cli.settings import load_settings

    config = load_settings()
    with ExitStack() as stack:
        with ui.busy("Starting...") as busy:

            def tell(message: str) -> None:
                busy.pause()
                ui.warning(message)
                busy.resume()

            addresses = stack.enter_context(services(config, tell, overrides))
        from memgpt.client import MemGPT  # By now it costs nothing: see `services.start`.

        yield stack.enter_context(
            MemGPT(addresses.agent, addresses.loader, config.service.credentials(), memory=addresses.memory)
        )


def _ui(*, plain: bool = False) -> Ui:
    from memgpt.cli.ui import Ui

    return Ui(plain=plain)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as installed

        typer.echo(installed("memgpt-milvus-cli"))
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """MemGPT on Milvus: agents with a long-term memory."""


@app.command()
def version() -> None:
    """Show the version."""
    _show_version(True)


@app.command()
def configure(
    offline: Annotated[bool, typer.Option("--offline", help="The built-in model: no key, no network.")] = False,
    model: Annotated[str, typer.Option(help="Chat model at the endpoint.")] = "",
    model_endpoint: Annotated[str, typer.Option(help="Base URL of the endpoint. [default: OpenAI's own]")] = "",
    api_key: ApiKey = "",
    mode: Annotated[str, typer.Option(help="How functions are called: auto (ask now), tools, json_schema.")] = "auto",
    context_window: Tokens = 0,
    embedding_model: Annotated[str, typer.Option(help="A model at an endpoint. [default: the bundled one]")] = "",
    embedding_endpoint: Annotated[str, typer.Option(help="Its base URL. [default: the chat model's]")] = "",
    embedding_dimension: EmbeddingDimension = 0,
    milvus_uri: Annotated[str, typer.Option(help="A file ending in .db for Milvus Lite, or a server's URI.")] = "",
) -> None:
    """Write the configuration: asks at a terminal, or takes flags when there are some."""
    from memgpt.cli import configure as config
    from memgpt.cli.errors import MISUSE, CliError

    ui = _ui()
    if offline or model or model_endpoint or embedding_model or milvus_uri:
        if offline == bool(model):
            raise CliError("say either --offline or --model", MISUSE)
        answers = config.from_flags(model, model_endpoint, api_key, mode, context_window, milvus_uri)
        if embedding_model:
            answers = config.with_embedding(answers, embedding_model, embedding_endpoint, api_key, embedding_dimension)
    elif ui.interactive:
        answers = config.ask(ui)
    else:
        raise CliError("no terminal to ask at; say --offline, or --model and --model-endpoint", MISUSE)
    config.save(ui, answers)


@app.command()
def quickstart(
    openai_compatible: Annotated[str, typer.Option(help="Base URL of an endpoint to use instead.")] = "",
    model: Annotated[str, typer.Option(help="Model at the endpoint. [default: the first that it serves]")] = "",
    api_key: ApiKey = "",
) -> None:
    """Write a configuration that works at once: the built-in offline model, embeddings and Milvus Lite."""
    from memgpt.cli import configure as config

    ui = _ui()
    config.save(ui, config.quick(ui, openai_compatible, model, api_key))


@app.command()
def reembed(
    embedding_model: Annotated[
        str, typer.Option(help="A model at an endpoint, or wordllama. [default: as memory.reembed is configured]")
    ] = "",
    embedding_endpoint: Annotated[str, typer.Option(help="Its base URL. [default: the chat model's]")] = "",
    api_key: ApiKey = "",
    embedding_dimension: EmbeddingDimension = 0,
    abandon: Annotated[bool, typer.Option("--abandon", help="Give up a move that was begun.")] = False,
) -> None:
    """Move the store to another embedding model, while searches go on. Repeated, it goes on where it was."""
    from memgpt.cli import reembed as moving
    from memgpt.cli.errors import MISUSE, CliError
    from memgpt.cli.settings import load_settings

    ui = _ui()
    if not embedding_model and (embedding_endpoint or embedding_dimension):
        raise CliError("--embedding-endpoint and --embedding-dimension need --embedding-model as well", MISUSE)
    if abandon and embedding_model:
        raise CliError("say either --abandon or --embedding-model", MISUSE)
    expected = ""
    if embedding_model:
        expected = moving.name_target(
            ui, load_settings(), embedding_model, embedding_endpoint, api_key, embedding_dimension
        )
    with connected(ui) as memgpt:
        if abandon:
            moving.abandon(ui, memgpt.store)
        else:
            moving.move(ui, memgpt.store, expected, keep_former=not embedding_model)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What is looked for.")],
    agent: Annotated[str, typer.Option(help="Search as this agent: its notes and the sources attached to it.")] = "",
    source: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Search this data source; with --agent, only in these.")
    ] = None,
    messages: Annotated[bool, typer.Option("--messages", help="Search what was said, not archival memory.")] = False,
    mode: Annotated[str, typer.Option(help="hybrid, dense (by likeness) or text (by words). [default: the best]")] = "",
    file: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only in these files.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only what has all of these tags.")] = None,
    after: Annotated[str, typer.Option(metavar="DAY", help="Stored on this day or later; or an instant.")] = "",
    before: Annotated[str, typer.Option(metavar="DAY", help="Stored before this day; or an instant.")] = "",
    page_size: Annotated[int, typer.Option(min=1, max=1000, help="Hits at a time.")] = 10,
    everything: Annotated[bool, typer.Option("--all", help="Every hit, to the very last.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line, for programs.")] = False,
) -> None:
    """Search an agent's memory or a data source, page by page, with scores and where each hit comes from."""
    from memgpt.cli import search as searching

    ui = _ui()
    wanted = searching.Wanted(query, agent, source or [], file or [], tag or [], after, before, mode, page_size)
    with connected(ui) as memgpt:
        searching.search(ui, memgpt, wanted, messages=messages, everything=everything, as_json=as_json)


@app.command()
def compact() -> None:
    """Remove what was deleted from the store's files, and give back its room, while everything goes on."""
    from memgpt.cli import upkeep

    ui = _ui()
    with connected(ui) as memgpt:
        upkeep.compact(ui, memgpt.store)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; - for standard output.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a backup of the Milvus Lite store to a tar file, while everything goes on."""
    from memgpt.cli import upkeep

    ui = _ui()
    with upkeep.written(file, replace=force) as target, connected(ui) as memgpt:
        upkeep.backup(ui, memgpt.store, target, file)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup; - for standard input.")],
    force: Annotated[bool, typer.Option("--force", help="Move a store that is there aside.")] = False,
) -> None:
    """Put a backup in the place of the Milvus Lite store; the services must be stopped."""
    from memgpt.cli import upkeep
    from memgpt.cli.settings import load_settings

    upkeep.restore(load_settings(), file, replace=force)


@app.command()
def server(
    logs: Annotated[bool, typer.Option("--logs", help="Write the services' logs here, not to files.")] = False,
) -> None:
    """Keep the three services up until Ctrl-C: agent on 50051, memory on 50052, loader on 50053 unless configured."""
    from memgpt.cli.serve import serve
    from memgpt.cli.settings import load_settings

    serve(_ui(), load_settings(), logs=logs)


@app.command()
def run(
    persona: Annotated[str, typer.Option(help="Persona of a new agent. [default: sam_pov]")] = "",
    human: Annotated[str, typer.Option(help="Human profile of a new agent. [default: basic]")] = "",
    agent: Annotated[str, typer.Option(help="Name of the agent; made when there is none.")] = "",
    preset: Annotated[str, typer.Option(help="Preset of a new agent. [default: memgpt_chat]")] = "",
    system: Annotated[str, typer.Option(help="Instructions instead of the preset's.")] = "",
    system_file: Annotated[Path | None, typer.Option(help="File with the instructions.")] = None,
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
    first: Annotated[bool, typer.Option("--first", help="You speak first.")] = False,
    strip_ui: Annotated[bool, typer.Option("--strip-ui", help="Only the agent's messages, bare.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show every event of a turn.")] = False,
    skip_verify: Annotated[bool, typer.Option("--no-verify", help="Do not check the agent's first answer.")] = False,
    yes: Yes = False,
    stream: Annotated[bool, typer.Option("--stream", help="Show text as it comes from the model.")] = False,
) -> None:
    """Talk to an agent. Without a terminal, each line of standard input is a message."""
    from memgpt.cli import chat
    from memgpt.cli.configure import endpoint_overrides
    from memgpt.config import home_dir

    wishes = chat.Wishes(
        agent=agent,
        preset=preset,
        persona=persona,
        human=human,
        system=chat.read_system(system, system_file),
        model=model,
        context_window=context_window,
        core_memory_limit=core_memory_limit,
        blocks=(
            *chat.read_blocks(block or (), read_only=False),
            *chat.read_blocks(read_only_block or (), read_only=True),
        ),
        first=first,
        strip_ui=strip_ui,
        debug=debug,
        skip_verify=skip_verify,
        yes=yes,
        stream=stream,
    )
    ui = _ui(plain=strip_ui)
    with connected(ui, endpoint_overrides(model_endpoint, model)) as memgpt:
        chosen = chat.choose_agent(ui, memgpt, wishes)
        well = chat.Chat(ui, memgpt, chosen, wishes, home_dir() / "history").run()
    if not well and not ui.interactive:
        raise typer.Exit(1)


@app.command()
def attach(
    agent: Annotated[str, typer.Option(help="Name or id of the agent.")],
    data_source: Annotated[str, typer.Option(help="Name or id of the data source.")],
) -> None:
    """Let an agent search a data source."""
    from memgpt.cli import resources

    ui = _ui()
    with connected(ui) as memgpt:
        resources.attach(ui, memgpt, agent, data_source)


ToolsAgent = Annotated[str, typer.Option("--agent", help="Name or id of the agent.")]
ToolsAddress = Annotated[str, typer.Argument(help="host:port of a memgpt.tool.v1.ToolService.", show_default=False)]


@tools_app.command("add")
def tools_add(address: ToolsAddress, agent: ToolsAgent) -> None:
    """Let an agent call the functions of an address; done again, it asks the address anew."""
    from memgpt.cli import resources

    ui = _ui()
    with connected(ui) as memgpt:
        resources.add_tools(ui, memgpt, agent, address)


@tools_app.command("list")
def tools_list(agent: ToolsAgent) -> None:
    """List the functions that an agent may call elsewhere."""
    from memgpt.cli import resources

    ui = _ui()
    with connected(ui) as memgpt:
        resources.show_tools(ui, memgpt, agent)


@tools_app.command("remove")
def tools_remove(address: ToolsAddress, agent: ToolsAgent) -> None:
    """Take the functions of an address away from an agent."""
    from memgpt.cli import resources

    ui = _ui()
    with connected(ui) as memgpt:
        resources.remove_tools(ui, memgpt, agent, address)


SourceName = Annotated[str, typer.Option("--name", help="Name of the data source; made when there is none.")]
Description = Annotated[str, typer.Option(help="What the data source holds.")]
Tag = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="Label of these files, to search by; may be given several times. Replaces others."
    ),
]
Untag = Annotated[bool, typer.Option("--untag", help="Take the labels of these files away.")]
AsJson = Annotated[bool, typer.Option("--json", help="A JSON object a line, for programs.")]


@load_app.command("directory")
def load_directory(
    name: SourceName,
    input_dir: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder to load.")] = None,
    input_files: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="File to load; may be given several times.")
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Look in the folder's folders as well.")] = False,
    extensions: Annotated[
        str, typer.Option(help="What to take from a folder, such as .md,.txt. [default: all that can be read]")
    ] = "",
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="What to pass over, as in .gitignore; .memgptignore holds such patterns."),
    ] = None,
    sync: Annotated[
        bool, typer.Option("--sync", help="Drop what the data source has and the folder, or the list, has not.")
    ] = False,
    tag: Tag = None,
    untag: Untag = False,
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Load files. Files that are in already, unchanged, are passed over; a changed one replaces what it was."""
    from memgpt.cli import load

    ui = _ui()
    tags = load.tags_of(tag or [], untag=untag)
    found = load.find_files(
        input_dir, input_files or [], recursive=recursive, extensions=extensions, exclude=exclude or []
    )
    with connected(ui) as memgpt:
        well = load.load_files(ui, memgpt, name, found, description, sync=sync, tags=tags, as_json=as_json)
    if not well:
        raise typer.Exit(1)


@load_app.command("webpage")
def load_webpage(
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="Pages to load; links on them are not followed.")],
    name: SourceName,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Also from this machine and private networks.")
    ] = False,
    tag: Tag = None,
    untag: Untag = False,
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Load web pages, each under its address. They are fetched from here; loading again replaces what has changed."""
    from memgpt.cli import load

    ui = _ui()
    tags = load.tags_of(tag or [], untag=untag)
    with load.downloaded(ui, urls, allow_private=allow_private) as (found, failures):
        if found:
            with connected(ui) as memgpt:
                well = load.load_files(ui, memgpt, name, found, description, failures, tags=tags, as_json=as_json)
        else:
            well = load.nothing_found(ui, name, failures, as_json=as_json)
    if not well:
        raise typer.Exit(1)


@load_app.command("-", hidden=True)
@load_app.command("stdin")
def load_stdin(
    name: SourceName,
    file_name: Annotated[str, typer.Option(metavar="NAME", help="What it is called, such as notes.md.")],
    tag: Tag = None,
    untag: Untag = False,
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Load what comes from standard input, as a file. `memgpt load -` is the same."""
    from memgpt.cli import load

    ui = _ui()
    tags = load.tags_of(tag or [], untag=untag)
    with load.received(cast("BufferedReader", sys.stdin.buffer), file_name) as found, connected(ui) as memgpt:
        well = load.load_files(ui, memgpt, name, [found], description, tags=tags, as_json=as_json)
    if not well:
        raise typer.Exit(1)


@list_app.command("agents")
def list_agents() -> None:
    """List the agents."""
    from memgpt.cli import resources

    ui = _ui()
    with connected(ui) as memgpt:
        resources.show_agents(ui, memgpt)


@list_app.command("sources")
def list_sources() -> None:
    """List the data sources."""
    from memgpt.cli import resources

    ui = _ui()
    with connected(ui) as memgpt:
        resources.show_sources(ui, memgpt)


@list_app.command("loads")
def list_loads() -> None:
    """List the loads, the latest first."""
    from memgpt.cli import resources

    ui = _ui()
    with connected(ui) as memgpt:
        resources.show_loads(ui, memgpt)


AgentName = Annotated[str, typer.Option(help="Name or id of the agent.")]


@list_app.command("blocks")
def list_blocks(agent: AgentName) -> None:
    """List the blocks of an agent's core memory."""
    from memgpt.cli import resources

    ui = _ui()
    with connected(ui) as memgpt:
        resources.show_blocks(ui, memgpt, agent)


@add_app.command("block")
def add_block(
    agent: AgentName,
    name: Annotated[str, typer.Option(help="Its label: a letter, then letters, digits and _.")],
    text: Annotated[str | None, typer.Option(help="Its text. [default: as it is, or empty]")] = None,
    file: Annotated[Path | None, typer.Option("-f", "--filename", help="File with its text.")] = None,
    limit: Annotated[
        int,
        typer.Option(metavar="CHARACTERS", help="Its size. [default: as it is, or 2000]", min=0, show_default=False),
    ] = 0,
    read_only: Annotated[
        bool | None, typer.Option("--read-only/--writable", help="Whether the agent is kept from changing it.")
    ] = None,
) -> None:
    """Add a block to an agent's core memory, or change one."""
    from memgpt.cli import resources
    from memgpt.memory.v1.block_pb2 import BlockEdit

    ui = _ui()
    if file is not None:
        text = resources.read_text(text or "", file)
    with connected(ui) as memgpt:
        block = BlockEdit(label=name, value=text, limit=limit, read_only=read_only)
        resources.set_block(ui, memgpt, agent, block)


@delete_app.command("block")
def delete_block(name: Name, agent: AgentName, yes: Yes = False) -> None:
    """Delete a block of an agent's core memory."""
    from memgpt.cli import resources

    ui = _ui()
    with connected(ui) as memgpt:
        resources.delete_block(ui, memgpt, agent, name, yes=yes)


@export_app.command("agent")
def export_agent(
    name: Name,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="Where to. [default: standard output]", show_default=False),
    ] = Path("-"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write an agent whole, one JSON object a line: settings, core memory, messages, notes, names of its sources."""
    from memgpt.cli import transfer, upkeep

    ui = _ui()
    with upkeep.written(output, replace=force) as target, connected(ui) as memgpt:
        transfer.export_agent(ui, memgpt, name, target, quiet=output == upkeep.STANDARD)


@import_app.command("agent")
def import_agent(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What `memgpt export agent` wrote; - for standard input.")
    ],
    name: Annotated[str, typer.Option(help="Its name. [default: the exported one]")] = "",
) -> None:
    """Make an agent from a file, all or nothing. Sources are attached by their names, as far as they are here."""
    from memgpt.cli import transfer

    ui = _ui()
    with transfer.opened(file) as source, connected(ui) as memgpt:
        transfer.import_agent(ui, memgpt, source, name)


def _declare_profiles(kind: str) -> None:
    """`list KINDs`, `add KIND` and `delete KIND` for a kind of profile."""

    @list_app.command(f"{kind}s", help=f"List the {kind}s.")
    def list_profiles() -> None:
        from memgpt.cli import resources

        ui = _ui()
        with connected(ui) as memgpt:
            resources.show_profiles(ui, memgpt, kind)

    @add_app.command(kind, help=f"Add a {kind}, or replace one of yours.")
    def add_profile(
        name: Annotated[str, typer.Option(help="Its name.")],
        text: Annotated[str, typer.Option(help="Its text.")] = "",
        file: Annotated[Path | None, typer.Option("-f", "--filename", help="File with its text.")] = None,
        yes: Yes = False,
    ) -> None:
        from memgpt.cli import resources

        ui = _ui()
        content = resources.read_text(text, file)
        with connected(ui) as memgpt:
            resources.add_profile(ui, memgpt, kind, name, content, yes=yes)

    _declare_delete(kind)


_ARTICLED = {"agent": "an agent", "source": "a data source"}


def _declare_delete(kind: str) -> None:
    @delete_app.command(kind, help=f"Delete {_ARTICLED.get(kind, f'a {kind}')}.")
    def delete(name: Name, yes: Yes = False) -> None:
        from memgpt.cli import resources

        ui = _ui()
        with connected(ui) as memgpt:
            resources.delete(ui, memgpt, kind, name, yes=yes)


for _kind in ("persona", "human", "preset"):
    _declare_profiles(_kind)
for _kind in ("agent", "source"):
    _declare_delete(_kind)


def main() -> None:
    """The entry point: runs the command, and says in one line what failed."""
    # C-core's lines about failed connections are of no use to a person.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # The folder of the suite, and the history of chats in it, are for their owner alone.
    os.umask(0o077)
    _open_closed_streams()
    sys.exit(_guarded())


def _open_closed_streams() -> None:
    """Has standard streams that were closed (`<&-`) as /dev/null: Python has None there, on which much fails."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - lasts as long as we do


def _guarded() -> int:
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BrokenPipeError:  # `memgpt list agents | head -1`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the interpreter's own last flush
        return 1
    except Exception as error:  # noqa: BLE001 - a person sees one line, whatever it was
        return _tell(error)
    return 0


def _tell(error: Exception) -> int:
    from memgpt.cli.errors import FAILURE, MISUSE, CliError, explain
    from memgpt.client import CredentialsError, ServiceError
    from memgpt.config import ConfigError

    if os.environ.get("MEMGPT_DEBUG"):
        raise error
    match error:
        case CliError():
            message, code = error.message, error.code
        case ConfigError() | CredentialsError():
            message, code = str(error), MISUSE
        case ServiceError():
            message, code = explain(error), FAILURE
        case UnicodeEncodeError():  # Python keeps odd bytes of an argument as half characters.
            message, code = f"{error.object[:100]!a} is not UTF-8 text", MISUSE
        case OSError():
            message, code = f"{error.filename or 'the system'}: {error.strerror or error}", FAILURE
        case _:
            message = f"this is a bug of memgpt ({type(error).__name__}: {error}); MEMGPT_DEBUG=1 shows where"
            code = FAILURE
    _ui().error(message)
    return code
