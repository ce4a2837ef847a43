"""Blocks that several imported agents have in common: shared blocks here too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from memgpt.cli.imports import names
from memgpt.cli.imports.plan import AgentPlan
from memgpt.client import AlreadyExists, MemGPT
from memgpt.memory.v1.block_pb2 import Block
from memgpt.memory.v1.shared_block_pb2 import SharedBlock


@dataclass(frozen=True, slots=True)
class SharedBlockPlan:
    """A shared block that is to come.

    Attributes:
        identity: What it is known by there.
        name: Its name here, if no other block has it.
        block: Its content.
        agents: The agents that have it, with their labels for it.
    """

    identity: str
    name: str
    block: Block
    agents: list[tuple[AgentPlan, str]] = field(default_factory=list)


def plan_shared_blocks(agents: Sequence[AgentPlan]) -> list[SharedBlockPlan]:
    """Return the blocks that several of the agents have."""
    plans: dict[str, SharedBlockPlan] = {}
    for agent in agents:
        for label, identity in agent.identities.items():
            if identity not in plans:
                block = next(each for each in agent.blocks if each.label == label)
                wanted = f"{label} of {agent.name}"[: names.MAX_NAME].strip()
                name = names.numbered(wanted, [plan.name for plan in plans.values()], names.MAX_NAME, "-")
                plans[identity] = SharedBlockPlan(identity, name, block)
            plans[identity].agents.append((agent, label))
    return list(plans.values())


def bring_shared_block(memgpt: MemGPT, plan: SharedBlockPlan, existing: Mapping[str, str]) -> str:
    """Return the id of a shared block, which is created unless an import before has done so.

    Args:
        memgpt: The client.
        plan: The block.
        existing: Ids of the agents that were imported before, by their origin.
    """
    for agent, label in plan.agents:
        if agent.origin in existing:
            for block in memgpt.agents.context(existing[agent.origin]).blocks:
                if block.label == label and block.shared_block_id:
                    return block.shared_block_id
    content = plan.block
    for name in _candidates(plan.name):
        try:
            return memgpt.blocks.create(
                name,
                content.value,
                limit=content.limit,
                read_only=content.read_only,
                description=content.description,
            ).block_id
        except AlreadyExists:
            found = memgpt.blocks.find(name)
            # An import that was interrupted before its first agent came has left it.
            if _is_equal(found, content) and not memgpt.blocks.agents(found.block_id).all():
                return found.block_id
    raise AssertionError("names do not end")


def _candidates(name: str) -> Iterator[str]:
    taken: list[str] = []
    while True:
        taken.append(names.numbered(name, taken, names.MAX_NAME, "-"))
        yield taken[-1]


def _is_equal(found: SharedBlock, content: Block) -> bool:
    return (found.value, found.limit, found.read_only, found.description) == (
        content.value,
        content.limit,
        content.read_only,
        content.description,
    )
