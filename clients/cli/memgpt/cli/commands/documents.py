"""`memgpt load` and `memgpt search`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from memgpt.cli.app import DOCUMENTS, AsJson, app, connected, group, open_ui
from memgpt.cli.terminal.help_page import HelpedGroup

if TYPE_CHECKING:
    from io import BufferedReader

_HELP = ("-h", "--help")


class _FilesByDefault(HelpedGroup):
    """Treats arguments that are not command names as files: `memgpt load paper.pdf`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in _HELP:
            args = ["files", *args]
        return super().parse_args(ctx, args)


load_app = group(
    "Load documents into a data source: memgpt load FILE... --name NAME, or one of the commands below.",
    cls=_FilesByDefault,
)
app.add_typer(load_app, name="load", rich_help_panel=DOCUMENTS)


def _given_path(text: str) -> Path:
    """Return a path. An empty one, as of an unset variable of the shell, would be the current folder."""
    if not text:
        raise typer.BadParameter("the path is empty")
    return Path(text)


SourceName = Annotated[str, typer.Option("--name", help="Name of the data source; it is created if there is none.")]
Description = Annotated[str, typer.Option(help="What the data source holds.")]
Tag = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Tag of these files, to search by; may be given several times. Replaces others."),
]
Untag = Annotated[bool, typer.Option("--untag", help="Remove the tags of these files.")]
Recursive = Annotated[bool, typer.Option("--recursive", help="Include the folder's folders.")]
Extensions = Annotated[
    str, typer.Option(help="What to take from a folder, such as .md,.txt. [default: all that the Loader reads]")
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="What to pass over, as in .gitignore; .memgptignore holds such patterns."),
]
Sync = Annotated[bool, typer.Option("--sync", help="Remove from the data source what is not among these files.")]


def _load(
    name: str,
    directory: Path | None,
    files: list[Path],
    *,
    recursive: bool,
    extensions: str,
    exclude: list[str] | None,
    sync: bool,
    tags: list[str] | None,
    description: str,
    as_json: bool,
) -> None:
    from memgpt.cli.loading.find_files import check_place, find_files
    from memgpt.cli.loading.load import extensions_of, load_files

    ui = open_ui()
    check_place(directory, files)
    found = None
    if directory is None or extensions:
        found = find_files(
            directory, files, recursive=recursive, extensions=extensions.split(","), exclude=exclude or []
        )
    with connected(ui) as memgpt:
        if found is None:
            known = extensions_of(memgpt)
            found = find_files(directory, files, recursive=recursive, extensions=known, exclude=exclude or [])
        well = load_files(ui, memgpt, name, found, description, sync=sync, tags=tags, as_json=as_json)
    if not well:
        raise typer.Exit(1)


@load_app.command("files")
def load_paths(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", parser=_given_path, help="Files, or one folder with all in it."),
    ],
    name: Annotated[
        str, typer.Option("--name", help="Name of the data source. [default: that of the only file or folder]")
    ] = "",
    extensions: Extensions = "",
    exclude: Exclude = None,
    sync: Sync = False,
    tag: Tag = None,
    untag: Untag = False,
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Load files or a folder. Unchanged files are passed over; a changed one replaces what it was."""
    from memgpt.cli.loading.find_files import source_name, split_paths
    from memgpt.cli.loading.load import tags_of

    directory, files = split_paths(paths)
    _load(
        source_name(name, paths),
        directory,
        files,
        recursive=True,
        extensions=extensions,
        exclude=exclude,
        sync=sync,
        tags=tags_of(tag or [], untag=untag),
        description=description,
        as_json=as_json,
    )


@load_app.command("directory")
def load_directory(
    name: SourceName,
    input_dir: Annotated[
        Path | None, typer.Option(metavar="FOLDER", parser=_given_path, help="Folder to load.")
    ] = None,
    input_files: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", parser=_given_path, help="File to load; may be given several times."),
    ] = None,
    recursive: Recursive = False,
    extensions: Extensions = "",
    exclude: Exclude = None,
    sync: Sync = False,
    tag: Tag = None,
    untag: Untag = False,
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Load a folder, or files. Unchanged files are passed over; a changed one replaces what it was."""
    from memgpt.cli.loading.load import tags_of

    _load(
        name,
        input_dir,
        input_files or [],
        recursive=recursive,
        extensions=extensions,
        exclude=exclude,
        sync=sync,
        tags=tags_of(tag or [], untag=untag),
        description=description,
        as_json=as_json,
    )


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
    from memgpt.cli.loading.find_files import downloaded
    from memgpt.cli.loading.load import load_files, nothing_found, tags_of

    ui = open_ui()
    tags = tags_of(tag or [], untag=untag)
    with downloaded(ui, urls, allow_private=allow_private) as (found, failures):
        if found:
            with connected(ui) as memgpt:
                well = load_files(ui, memgpt, name, found, description, failures, tags=tags, as_json=as_json)
        else:
            well = nothing_found(ui, name, failures, as_json=as_json)
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
    """Load standard input as a file. `memgpt load -` is the same."""
    from memgpt.cli.loading.find_files import received
    from memgpt.cli.loading.load import load_files, tags_of

    ui = open_ui()
    tags = tags_of(tag or [], untag=untag)
    with received(cast("BufferedReader", sys.stdin.buffer), file_name) as found, connected(ui) as memgpt:
        well = load_files(ui, memgpt, name, [found], description, tags=tags, as_json=as_json)
    if not well:
        raise typer.Exit(1)


@app.command(rich_help_panel=DOCUMENTS)
def search(
    query: Annotated[str, typer.Argument(help="What to search for.")],
    agent: Annotated[str, typer.Option(help="Search as this agent: its notes and the sources attached to it.")] = "",
    source: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Search this data source; with --agent, only in these.")
    ] = None,
    messages: Annotated[bool, typer.Option("--messages", help="Search what was said, not archival memory.")] = False,
    mode: Annotated[
        str, typer.Option(help="hybrid, dense (by similarity) or text (by keywords). [default: the best]")
    ] = "",
    file: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only in these files.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only what has all of these tags.")] = None,
    after: Annotated[str, typer.Option(metavar="DAY", help="Stored on this day or later; or an instant.")] = "",
    before: Annotated[str, typer.Option(metavar="DAY", help="Stored before this day; or an instant.")] = "",
    page_size: Annotated[int, typer.Option(min=1, max=1000, help="Hits at a time.")] = 10,
    everything: Annotated[bool, typer.Option("--all", help="Every hit, to the very last.")] = False,
    full: Annotated[bool, typer.Option("--full", help="The whole text of each hit.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search an agent's memory or a data source, page by page, with scores and where each hit comes from."""
    from memgpt.cli import search as searching

    ui = open_ui()
    wanted = searching.SearchArguments(
        query, agent, source or [], file or [], tag or [], after, before, mode, page_size
    )
    searching.check(wanted, messages=messages)
    with connected(ui) as memgpt:
        searching.search(ui, memgpt, wanted, messages=messages, everything=everything, as_json=as_json, whole=full)
