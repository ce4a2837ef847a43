"""Choice of the agent to talk to: the requested one, one picked from the list, or a new one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.resources import read_text
from memgpt.cli.terminal.ui import Ui
from memgpt.client import Agent, MemGPT, NotFound
from memgpt.memory.v1.block_pb2 import BlockEdit


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of `memgpt run`; see its flags. `stream` is None if it depends on the terminal."""

    agent: str = ""
    preset: str = ""
    persona: str = ""
    human: str = ""
    system: str = ""
    model: str = ""
    context_window: int = 0
    core_memory_limit: int = 0
    message_ttl: timedelta | None = None
    note_ttl: timedelta | None = None
    blocks: tuple[BlockEdit, ...] = ()
    first: bool = False
    strip_ui: bool = False
    debug: bool = False
    no_verify: bool = False
    yes: bool = False
    stream: bool | None = None


@dataclass(frozen=True, slots=True)
class ChosenAgent:
    """The agent, and whether it was created for this chat."""

    agent: Agent
    new: bool


def read_system(text: str, file: Path | None) -> str:
    """Return the instructions from `--system` or `--system-file`."""
    if text and file is not None:
        raise CliError("--system and --system-file exclude each other", MISUSE)
    return text if file is None else read_text("", file)


def read_blocks(given: Iterable[str], *, read_only: bool) -> Iterator[BlockEdit]:
    """Yield the blocks from `--block` or `--read-only-block`: LABEL=TEXT, or LABEL=@FILE."""
    for text in given:
        label, sign, value = text.partition("=")
        if not sign:
            raise CliError(f'a block is given as LABEL=TEXT or LABEL=@FILE, not "{text}"', MISUSE)
        if value.startswith("@"):
            value = read_text("", Path(value[1:]))
        yield BlockEdit(label=label, value=value, read_only=read_only)


def choose_agent(ui: Ui, memgpt: MemGPT, wishes: RunOptions) -> ChosenAgent:
    """Choose the agent to talk to, creating it if necessary."""
    if wishes.agent:
        with suppress(NotFound):
            return _take_over(ui, memgpt, memgpt.agents.find(wishes.agent), wishes)
        return create_agent(ui, memgpt, wishes)
    if ui.interactive and not wishes.yes:
        agents = memgpt.agents.list().all()
        if agents and ui.confirm("Would you like to select an existing agent?"):
            name = ui.select("Select agent:", [agent.name for agent in reversed(agents)])
            agent = next(agent for agent in agents if agent.name == name)
            return _take_over(ui, memgpt, agent, wishes)
    return create_agent(ui, memgpt, wishes)


def _take_over(ui: Ui, memgpt: MemGPT, agent: Agent, wishes: RunOptions) -> ChosenAgent:
    fixed = {
        "--persona": (wishes.persona, agent.info.persona),
        "--human": (wishes.human, agent.info.human),
        "--preset": (wishes.preset, agent.info.preset),
    }
    if not wishes.strip_ui:
        ui.line(f"🔁 Using existing agent '{agent.name}'", "bold green")
        for flag, (wished, had) in fixed.items():
            if wished and wished != had:
                ui.note(f"   {flag} {wished} is for new agents; this one was created with {had}")
        if wishes.core_memory_limit:
            ui.note("   --core-memory-limit is for new agents")
    fields: dict[str, str | int | timedelta] = {}
    for field in ("system", "model", "context_window"):
        value = getattr(wishes, field)
        if value and value != getattr(agent.info, field):
            fields[field] = value
    for field in ("message_ttl", "note_ttl"):
        ttl = getattr(wishes, field)
        if ttl is not None and ttl != getattr(agent.info, field).ToTimedelta():
            fields[field] = ttl
    for block in wishes.blocks:
        memgpt.agents.set_block(agent.agent_id, block)
    if fields:
        agent = memgpt.agents.update(agent.agent_id, fields, agent.info.etag)
    return ChosenAgent(agent, new=False)


def create_agent(ui: Ui, memgpt: MemGPT, wishes: RunOptions) -> ChosenAgent:
    """Create the requested agent and report it."""
    if not wishes.strip_ui:
        ui.line()
        ui.line("🧬 Creating new agent...", "bold")
    agent = memgpt.agents.create(
        wishes.agent,
        preset=wishes.preset,
        persona=wishes.persona,
        human=wishes.human,
        system=wishes.system,
        model=wishes.model,
        context_window=wishes.context_window,
        core_memory_limit=wishes.core_memory_limit,
        blocks=wishes.blocks,
        message_ttl=wishes.message_ttl or timedelta(),
        note_ttl=wishes.note_ttl or timedelta(),
    )
    if not wishes.strip_ui:
        ui.line(f"->  🤖 Using persona profile '{agent.info.persona}'")
        ui.line(f"->  🧑 Using human profile '{agent.info.human}'")
        ui.line(f"🎉 Created new agent '{agent.name}'", "bold green")
        ui.line()
    return ChosenAgent(agent, new=True)
