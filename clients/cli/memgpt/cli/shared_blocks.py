"""`memgpt blocks`: blocks of core memory that agents have in common."""

from __future__ import annotations

from memgpt.cli.errors import CliError
from memgpt.cli.resources import DEFAULT, Columns, OutputFormat, confirmed, shown, write
from memgpt.cli.terminal.table import Column
from memgpt.cli.terminal.ui import Ui, plural
from memgpt.client import MemGPT, NotFound
from memgpt.memory.v1.shared_block_pb2 import SharedBlock, SharedBlockEdit


def put(ui: Ui, memgpt: MemGPT, name: str, text: str | None, limit: int, read_only: bool | None) -> None:
    """Create a shared block, or change the one with this name for all its agents."""
    try:
        block = memgpt.blocks.find(name)
    except NotFound:
        block = memgpt.blocks.create(name, text or "", limit=limit, read_only=bool(read_only))
        ui.line(f"Added shared block {block.name}: {_size(block)}.", "green")
        return
    edit = SharedBlockEdit(block_id=block.block_id, value=text, limit=limit, read_only=read_only)
    block = memgpt.blocks.update(edit)
    ui.line(f"Changed shared block {block.name}: {_size(block)}.", "green")


def list_all(ui: Ui, memgpt: MemGPT, shape: OutputFormat = DEFAULT) -> None:
    """List the shared blocks."""
    items = (
        (block, [block.name, block.block_id, _size(block), "yes" if block.read_only else "no", shown(block.value)])
        for block in memgpt.blocks.list()
    )
    columns: Columns = [
        "Name",
        Column("Id", wide=True),
        Column("Characters", priority=1),
        Column("Read-only"),
        Column("Text", whole=False, priority=2),
    ]
    write(ui, shape, columns, items, "There are no shared blocks.")


def show(ui: Ui, memgpt: MemGPT, name: str, shape: OutputFormat = DEFAULT) -> None:
    """Show a shared block with the agents that have it."""
    block = memgpt.blocks.find(name)
    if shape.json:
        ui.json(block)
        return
    read_only = ", read-only" if block.read_only else ""
    ui.line(f"[{block.name}: {len(block.value):,} of {block.limit:,} characters{read_only}]", "bold")
    ui.line(block.value)
    ui.line()
    for agent in memgpt.blocks.agents(block.block_id):
        ui.line(f"  {agent.agent_name} has it as {agent.label}")


def delete(ui: Ui, memgpt: MemGPT, name: str, *, detach: bool, yes: bool) -> None:
    """Delete a shared block; ask for confirmation on a terminal."""
    block = memgpt.blocks.find(name)
    agents = memgpt.blocks.agents(block.block_id).all()
    if agents and not detach:
        having = ", ".join(agent.agent_name for agent in agents[:3])
        raise CliError(f'shared block "{block.name}" is attached to {having}; detach it first, or use --detach')
    lost = f", which {plural(len(agents), 'agent')} will lose," if agents else ""
    if confirmed(ui, f"Delete shared block {block.name}{lost} for good?", yes=yes):
        memgpt.blocks.delete(block.block_id, detach=detach)
        ui.line(f"Deleted shared block {block.name}.", "green")


def attach(ui: Ui, memgpt: MemGPT, name: str, agent_name: str, label: str) -> None:
    """Attach a shared block to an agent."""
    agent, block = memgpt.agents.find(agent_name), memgpt.blocks.find(name)
    attached = memgpt.blocks.attach(agent.agent_id, block.block_id, label or block.name)
    ui.line(f"Attached shared block {block.name} to agent {agent.name} as {attached.label}.", "green")


def detach(ui: Ui, memgpt: MemGPT, name: str, agent_name: str) -> None:
    """Detach a shared block from an agent."""
    agent, block = memgpt.agents.find(agent_name), memgpt.blocks.find(name)
    if all(having.agent_id != agent.agent_id for having in memgpt.blocks.agents(block.block_id)):
        raise CliError(f'shared block "{block.name}" is not attached to agent "{agent.name}"')
    memgpt.blocks.detach(agent.agent_id, block.block_id)
    ui.line(f"Detached shared block {block.name} from agent {agent.name}.", "green")


def _size(block: SharedBlock) -> str:
    return f"{len(block.value)}/{block.limit}"
