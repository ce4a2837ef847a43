"""The command line application: its groups, and code shared by the commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer
from memgpt.cli.terminal.help_page import HelpedCommand, HelpedGroup

if TYPE_CHECKING:
    from memgpt.cli.resources import OutputFormat
    from memgpt.cli.terminal.ui import Ui
    from memgpt.client import MemGPT

TALK, DOCUMENTS, THINGS, OPERATE = "Talk", "Documents", "Manage", "Set up and operate"
ACCESS = "Log in and administer access"
_PANELS = (TALK, DOCUMENTS, THINGS, OPERATE, ACCESS)
"""Panels of the help in order."""

_MARKUP: Final = "markdown"
"""Not rich's own markup, in which a default in brackets is a tag, and not shown."""

_FIRST = ("run", "load", "login")
"""Commands at the beginning of their panels."""


F = TypeVar("F", bound=Callable[..., Any])


class _Group(typer.Typer):
    """A group whose commands have the help pages of `memgpt.cli.terminal.help_page`."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        """Return a decorator that adds a command."""
        return super().command(name, **{"cls": HelpedCommand, **settings})


class _InPanels(HelpedGroup):
    """The commands in the order of their panels."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""

        def place(name: str) -> tuple[int, bool]:
            panel = getattr(self.commands[name], "rich_help_panel", None)
            return _PANELS.index(panel) if panel in _PANELS else len(_PANELS), name not in _FIRST

        return sorted(self.commands, key=place)


def group(text: str, *, cls: Any = HelpedGroup) -> typer.Typer:
    """Return a group of commands."""
    return _Group(cls=cls, no_args_is_help=True, help=text, rich_markup_mode=_MARKUP)


app = _Group(
    name="memgpt",
    cls=_InPanels,
    help="MemGPT on Milvus: agents with a long-term memory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=_MARKUP,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Argument(help="Its name, or its id.", show_default=False)]
AgentName = Annotated[str, typer.Option("--agent", help="Name or id of the agent.")]
SourceName = Annotated[str, typer.Option("--data-source", help="Name or id of the data source.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="A JSON object a line, for programs.")]
Wide = Annotated[bool, typer.Option("--wide", help="Show every column, ids included.")]
Tokens = Annotated[
    int, typer.Option(metavar="TOKENS", help="Size of the model's context window.", min=0, show_default=False)
]
MessageTtl = Annotated[
    str, typer.Option(metavar="TIME", help="How long messages are kept, such as 30d or 1y; forever to keep all.")
]
NoteTtl = Annotated[str, typer.Option(metavar="TIME", help="The same for notes.")]
EmbeddingDimension = Annotated[
    int, typer.Option(metavar="NUMBER", help="Dimensions of its vectors. [default: ask it]", min=0, show_default=False)
]
ApiKey = Annotated[
    str, typer.Option(help="The endpoint's key; other users can see a flag.", envvar="MEMGPT_ENDPOINT_API_KEY")
]
Text = Annotated[str, typer.Option(help="Its text.")]
TextFile = Annotated[Path | None, typer.Option("-f", "--filename", metavar="FILE", help="File with its text.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that exists.")]


def open_ui(*, plain: bool = False) -> Ui:
    """Return the terminal for a command."""
    from memgpt.cli.terminal.ui import Ui

    return Ui(plain=plain)


def shape_of(wide: bool = False, as_json: bool = False) -> OutputFormat:
    """Return the output format of a list."""
    from memgpt.cli.resources import OutputFormat

    return OutputFormat(wide, as_json)


@contextmanager
def connected(ui: Ui, overrides: Mapping[str, str] | None = None) -> Iterator[MemGPT]:
    """Yield a client, with running services for the duration of the command.

    Args:
        ui: The terminal.
        overrides: Settings of the services for this command.
    """
    from contextlib import ExitStack

    from memgpt.cli.services.connect import open_client, services
    from memgpt.cli.settings import load_settings

    config = load_settings()
    with ExitStack() as stack:
        with ui.busy("Starting...") as busy:

            def tell(message: str) -> None:
                busy.pause()
                ui.warning(message)
                busy.resume()

            addresses = stack.enter_context(services(config, tell, overrides))
        yield stack.enter_context(open_client(config.service, addresses))
