"""Commands that set up, run and maintain the services and the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from memgpt.cli.access.choice import choose
from memgpt.cli.app import OPERATE, ApiKey, AsJson, EmbeddingDimension, Force, Tokens, app, connected, open_ui

EmbeddingEndpoint = Annotated[str, typer.Option(help="Its base URL. [default: the chat model's]")]
EmbeddingFolder = Annotated[str, typer.Option(help="Folder of a local transformer in ONNX, in place of a model.")]


@app.command(rich_help_panel=OPERATE)
def quickstart(
    openai_compatible: Annotated[str, typer.Option(help="Base URL of an endpoint to use instead.")] = "",
    model: Annotated[str, typer.Option(help="Model at the endpoint. [default: the first that it serves]")] = "",
    api_key: ApiKey = "",
) -> None:
    """Write a configuration that works at once: the built-in offline model, embeddings and Milvus Lite."""
    from memgpt.cli.setup import configure as config

    ui = open_ui()
    config.save(ui, config.quick(ui, openai_compatible, model, api_key))
    config.show_next_steps(ui)


@app.command(rich_help_panel=OPERATE)
def configure(
    offline: Annotated[bool, typer.Option("--offline", help="The built-in model: no key, no network.")] = False,
    model: Annotated[str, typer.Option(help="Chat model at the endpoint.")] = "",
    model_endpoint: Annotated[str, typer.Option(help="Base URL of the endpoint. [default: OpenAI's own]")] = "",
    api_key: ApiKey = "",
    mode: Annotated[
        str, typer.Option(help="How functions are called: auto (find out now), tools, json_schema.")
    ] = "auto",
    context_window: Tokens = 0,
    embedding_model: Annotated[str, typer.Option(help="A model at an endpoint. [default: the bundled one]")] = "",
    embedding_endpoint: EmbeddingEndpoint = "",
    embedding_dimension: EmbeddingDimension = 0,
    embedding_folder: EmbeddingFolder = "",
    milvus_uri: Annotated[str, typer.Option(help="A file ending in .db for Milvus Lite, or a server's URI.")] = "",
    header: Annotated[
        list[str] | None, typer.Option(help='Additional header of every request, as "Name: value"; repeatable.')
    ] = None,
    query: Annotated[
        list[str] | None, typer.Option(help="Additional query parameter of every request, as name=value; repeatable.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Sampling temperature, 0 to 2. [default: the endpoint's own]")
    ] = None,
) -> None:
    """Write the configuration: asks at a terminal, or takes flags if there are any."""
    from memgpt.cli.errors import MISUSE, CliError
    from memgpt.cli.setup import configure as config

    ui = open_ui()
    if embedding_model and embedding_folder:
        raise CliError("give either --embedding-model or --embedding-folder", MISUSE)
    extras = bool(header or query) or temperature is not None
    if offline or model or model_endpoint or embedding_model or embedding_folder or milvus_uri or extras:
        if offline == bool(model):
            raise CliError("give either --offline or --model", MISUSE)
        answers = config.from_flags(model, model_endpoint, api_key, mode, context_window, milvus_uri)
        if embedding_model:
            answers = config.with_embedding(answers, embedding_model, embedding_endpoint, api_key, embedding_dimension)
        elif embedding_folder:
            answers = config.with_local_transformer(answers, embedding_folder)
        answers = config.with_extras(answers, header or [], query or [], temperature)
        config.save(ui, answers)
        return
    if not ui.interactive:
        raise CliError("no terminal for questions; pass --offline, or --model and --model-endpoint", MISUSE)
    try:
        config.interview(ui)
    except (KeyboardInterrupt, EOFError):
        ui.line()
        ui.note("Nothing was changed.")
        raise typer.Exit(130) from None


@app.command("config", rich_help_panel=OPERATE)
def show_config(as_json: AsJson = False) -> None:
    """Show the effective settings, and where each comes from."""
    from memgpt.cli.setup import effective_config

    effective_config.show(open_ui(), as_json=as_json)


@app.command(rich_help_panel=OPERATE)
def doctor(
    as_json: AsJson = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop what is damaged from the Milvus Lite store, and keep a copy.")
    ] = False,
) -> None:
    """Check everything that MemGPT needs: version, reachability, and what to do if something is missing."""
    from memgpt.cli import maintenance
    from memgpt.cli.settings import load_settings
    from memgpt.cli.setup.doctor import examine

    if repair:
        maintenance.repair(load_settings())
    if not examine(open_ui(), as_json=as_json):
        raise typer.Exit(1)


@app.command(rich_help_panel=OPERATE)
def server(
    logs: Annotated[bool, typer.Option("--logs", help="Write the services' logs here, not to files.")] = False,
    testing: Annotated[
        bool,
        typer.Option(
            "--testing", help="For tests of clients: offline, a store for each bearer token, gone at the end."
        ),
    ] = False,
    clock: Annotated[
        str,
        typer.Option(metavar="TIME", help="With --testing: stop the clock, and number ids.", show_default=False),
    ] = "",
) -> None:
    """Keep the three services up until Ctrl-C: agent on 50051, memory on 50052, loader on 50053 unless configured."""
    from memgpt.cli.services.windows import require_unix

    require_unix()  # before anything that could fail there
    from memgpt.cli.errors import MISUSE, CliError
    from memgpt.cli.services.serve import serve, serve_tests
    from memgpt.cli.settings import load_settings

    if testing:
        serve_tests(open_ui(), clock=clock, logs=logs)
        return
    if clock:
        raise CliError("--clock needs --testing as well", MISUSE)
    serve(open_ui(), load_settings(use_profile=False), logs=logs)


@app.command(rich_help_panel=OPERATE)
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; - for standard output.")],
    force: Force = False,
) -> None:
    """Write a backup of the Milvus Lite store to a tar file, while the services keep running."""
    from memgpt.cli import maintenance

    ui = open_ui()
    with maintenance.written(file, replace=force) as target, connected(ui) as memgpt:
        maintenance.backup(ui, memgpt.store, target, file)


@app.command(rich_help_panel=OPERATE)
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup; - for standard input.")],
    force: Annotated[bool, typer.Option("--force", help="Move a store that is there aside.")] = False,
) -> None:
    """Put a backup in the place of the Milvus Lite store; the services must be stopped."""
    from memgpt.cli import maintenance
    from memgpt.cli.settings import load_settings

    maintenance.restore(load_settings(), file, replace=force)


@app.command(rich_help_panel=OPERATE)
def compact() -> None:
    """Remove what was deleted from the store's files and free its space, while the services keep running."""
    from memgpt.cli import maintenance

    ui = open_ui()
    with connected(ui) as memgpt:
        maintenance.compact(ui, memgpt.store)


@app.command(rich_help_panel=OPERATE)
def reembed(
    embedding_model: Annotated[
        str, typer.Option(help="A model at an endpoint, or wordllama. [default: as memory.reembed is configured]")
    ] = "",
    embedding_endpoint: EmbeddingEndpoint = "",
    api_key: ApiKey = "",
    embedding_dimension: EmbeddingDimension = 0,
    embedding_folder: EmbeddingFolder = "",
    abandon: Annotated[bool, typer.Option("--abandon", help="Give up a move that was begun.")] = False,
) -> None:
    """Move the store to another embedding model, while searches go on. Repeated, it continues where it was."""
    from memgpt.cli import reembed as moving
    from memgpt.cli.errors import MISUSE, CliError
    from memgpt.cli.settings import load_settings

    ui = open_ui()
    if not embedding_model and (embedding_endpoint or embedding_dimension):
        raise CliError("--embedding-endpoint and --embedding-dimension need --embedding-model as well", MISUSE)
    if abandon and (embedding_model or embedding_folder):
        raise CliError("give either --abandon or --embedding-model", MISUSE)
    if embedding_model and embedding_folder:
        raise CliError("give either --embedding-model or --embedding-folder", MISUSE)
    expected = ""
    if embedding_model:
        expected = moving.name_target(
            ui, load_settings(), embedding_model, embedding_endpoint, api_key, embedding_dimension
        )
    elif embedding_folder:
        moving.name_folder(ui, load_settings(), embedding_folder)
    with connected(ui) as memgpt:
        if abandon:
            moving.abandon(ui, memgpt.store)
        else:
            moving.move(ui, memgpt.store, expected, keep_former=not (embedding_model or embedding_folder))


def show_version(wanted: bool) -> None:
    """Print the version and exit if `--version` is given."""
    if wanted:
        from memgpt.cli.setup.versions import version_of_suite

        typer.echo(version_of_suite())
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=show_version)
    ] = False,
    profile: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Use this profile of `memgpt login`; local for the services of this machine. Also after the command.",
            envvar="MEMGPT_PROFILE",
            show_default=False,
        ),
    ] = "",
) -> None:
    """MemGPT on Milvus: agents with a long-term memory."""
    if profile:
        choose(profile)


@app.command(rich_help_panel=OPERATE)
def version() -> None:
    """Show the version."""
    show_version(True)
