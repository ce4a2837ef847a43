"""The errors of blocks, one constructor per reason."""

from __future__ import annotations

from memgpt_runtime import reasons
from memgpt_runtime.errors import Aborted, FailedPrecondition, NotFound, ResourceExhausted


def unknown_block(label: str) -> NotFound:
    """The agent has no block of this label."""
    return reasons.block_not_found(f'unknown block "{label}"; list blocks to see their labels', label=label)


def unknown_shared_block(block_id: str) -> NotFound:
    """No shared block has this id, or it is another tenant's."""
    return reasons.block_not_found(
        f'unknown shared block "{block_id}"; list shared blocks to see their ids', label="", block_id=block_id
    )


def unknown_shared_block_name(name: str) -> NotFound:
    """No shared block has this name."""
    return reasons.block_not_found(
        f'no shared block is named "{name}"; list shared blocks to see their names', label="", name=name
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


def too_many_shared_blocks(most: int) -> ResourceExhausted:
    """The tenant has as many shared blocks as it may have."""
    return reasons.quota_exceeded(
        f"the tenant has {most:,} shared blocks, the maximum; delete one first", quota="shared_blocks", limit=most
    )
