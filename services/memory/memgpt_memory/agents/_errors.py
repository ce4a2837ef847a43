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


def unknown_block(label: str) -> NotFound:
    """The agent has no block of this label."""
    return reasons.block_not_found(f'unknown block "{label}"; list blocks to see their labels', label=label)


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


def block_changed(label: str, etag: str) -> Aborted:
    """The block has changed; `etag` is the current one, empty if the block no longer exists."""
    return reasons.etag_mismatch(
        f'block "{label}" has changed since it was read; read it again and retry',
        resource="block",
        etag=etag,
        label=label,
    )


def block_read_only(label: str) -> FailedPrecondition:
    """The agent tries to change a block that only people can change."""
    return reasons.wrong_state(
        f'block "{label}" is read-only; change it with SetBlock', resource="block", state="READ_ONLY"
    )


def block_too_long(label: str, limit: int, length: int) -> InvalidArgument:
    """The value of a block is over its limit."""
    return reasons.block_limit_exceeded(
        f'value of block "{label}" has {length} characters, its limit is {limit}; shorten the value or raise the limit',
        field="blocks.value",
        label=label,
        limit=limit,
        length=length,
    )


def too_many_blocks(most: int) -> FailedPrecondition:
    """The agent has as many blocks as it may have."""
    return reasons.wrong_state(
        f"the agent has {most} blocks, the maximum; delete one first", resource="agent", state="FULL"
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


def turn_has_ended(state: str) -> FailedPrecondition:
    """A step was sent for a turn that has ended."""
    return reasons.wrong_state(f"the turn has ended ({state}); begin another one", resource="turn", state=state)


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
