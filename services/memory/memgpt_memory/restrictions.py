"""What a key that is restricted to some agents or sources sees of the others: nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from memgpt_runtime import reasons


def permitted_ids(ids: Sequence[str], permitted: Collection[str]) -> Sequence[str]:
    """Return the ids that are permitted, in their order; all if `permitted` is empty."""
    return [id_ for id_ in ids if id_ in permitted] if permitted else ids


def check_may_create(things: str, permitted: Collection[str]) -> None:
    """Check that the caller may create agents or sources, which a restricted key could not use.

    Raises:
        PermissionDenied: The key is restricted to some of them.
    """
    if permitted:
        raise reasons.not_permitted(
            f"the API key is restricted to some {things}, and cannot create others; use a key without restrictions",
            permission="USE",
            restricted_to=things,
        )


def check_unrestricted(permitted: Collection[str]) -> None:
    """Check that the caller may use what belongs to agents together, such as shared blocks.

    Raises:
        PermissionDenied: The key is restricted to some agents.
    """
    if permitted:
        raise reasons.not_permitted(
            "the API key is restricted to some agents, and this affects others too; use a key without restrictions",
            permission="USE",
            restricted_to="agents",
        )
