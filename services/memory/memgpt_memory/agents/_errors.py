"""The errors that agents raise, one constructor per reason, so that the same error has the same text everywhere."""

from __future__ import annotations

from memgpt_runtime import reasons
from memgpt_runtime.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)


def unknown_agent(agent_id: str) -> NotFound:
    """No agent has this id, or it is another tenant's."""
    return reasons.agent_not_found(f'unknown agent "{agent_id}"; list agents to see their ids', agent_id=agent_id)


def unknown_agent_name(name: str) -> NotFound:
    """No agent has this name."""
    return reasons.agent_not_found(
        f'no agent is named "{name}"; list agents to see their names', name=name, agent_id=""
    )


def agent_changed(etag: str) -> Aborted:
    """The settings of the agent have changed; `etag` is the current one."""
    return reasons.etag_mismatch(
        "the agent has changed since it was read; read it again and retry", resource="agent", etag=etag
    )


def heartbeats_changed(etag: str) -> Aborted:
    """The timed heartbeats have changed; `etag` is the current one."""
    return reasons.etag_mismatch(
        "the timed heartbeats have changed since they were read; read them again and retry",
        resource="heartbeats",
        etag=etag,
    )


def too_many_blocks(most: int) -> FailedPrecondition:
    """The agent has as many blocks as it may have."""
    return reasons.wrong_state(
        f"the agent has {most} blocks, the maximum; delete one first", resource="agent", state="FULL"
    )


def label_taken(label: str) -> AlreadyExists:
    """The agent has another block of this label."""
    return reasons.name_taken(
        f'the agent already has a block "{label}"; choose another label or delete that block', name=label
    )


def attached_under_another_label(label: str) -> FailedPrecondition:
    """The agent has the shared block already."""
    return reasons.in_use(
        f'the agent has this shared block as "{label}"; detach it first to change the label',
        resource="block",
        name=label,
    )


def block_attached(name: str, agents: int) -> FailedPrecondition:
    """Agents have the shared block that is to be deleted."""
    return reasons.in_use(
        f'shared block "{name}" is attached to {agents} agents; detach it first, or set `detach`',
        resource="block",
        name=name,
        agents=agents,
    )


def too_many_agents_of_block(most: int) -> ResourceExhausted:
    """As many agents have the shared block as may have it."""
    return reasons.quota_exceeded(
        f"{most:,} agents have this shared block, the maximum; detach it from one first",
        quota="block_agents",
        limit=most,
    )


def too_many_attachments(most: int) -> ResourceExhausted:
    """The agent has as many sources as it may have."""
    return reasons.quota_exceeded(
        f"the agent has {most} attached sources, the maximum; detach one first", quota="attachments", limit=most
    )


def function_name_taken(name: str, address: str) -> AlreadyExists:
    """Another address has a function of this name."""
    return reasons.name_taken(
        f'the agent already has a function "{name}" from {address}; unregister that address first',
        name=name,
        address=address,
    )


def too_many_functions(most: int, most_addresses: int) -> FailedPrecondition:
    """The agent would have too many functions, or from too many addresses."""
    return reasons.wrong_state(
        f"an agent has at most {most} functions from at most {most_addresses} addresses; unregister an address first",
        resource="agent",
        state="FULL",
    )


def functions_too_large() -> FailedPrecondition:
    """The functions of the agent would not fit into a response."""
    return reasons.wrong_state(
        "the functions of an agent, with their descriptions and parameters, have at most 3 MiB; shorten them, or"
        " unregister an address first",
        resource="agent",
        state="FULL",
    )


def turn_has_ended(state: str) -> FailedPrecondition:
    """A step was sent for a turn that has ended."""
    return reasons.wrong_state(f"the turn has ended ({state}); begin another one", resource="turn", state=state)


def message_in_running_turn() -> FailedPrecondition:
    """A message of the running turn is to be forgotten: the turn may need it to continue."""
    return reasons.wrong_state(
        "the message belongs to the running turn; wait until the turn has ended, or cancel it",
        resource="turn",
        state="RUNNING",
    )


def step_out_of_order(index: int, following: int) -> FailedPrecondition:
    """A step is not the next one of its turn."""
    return reasons.step_out_of_order(
        f"step {index} is not the next step; commit step {following}", step=index, following=following
    )


def eviction_outside_window(start: int, end: int) -> InvalidArgument:
    """An eviction ends outside the context window."""
    return reasons.invalid_field(
        f"eviction.before_sequence must lie within the window, from {start} to {end}", field="eviction.before_sequence"
    )
