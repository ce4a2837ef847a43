"""The error for an exceeded quota of a tenant."""

from __future__ import annotations

from memgpt_runtime import reasons
from memgpt_runtime.errors import ResourceExhausted

_ADVICE = {
    "agents": "delete agents",
    "sources": "delete sources",
    "passages": "delete notes, files or sources",
    "bytes": "delete agents, notes, files or sources",
    "concurrent_turns": "retry when a turn has ended",
}


def quota_exceeded(
    tenant: str, quota: str, limit: int, value: int, retry_after: float, window_seconds: int = 0
) -> ResourceExhausted:
    """A tenant would exceed one of its quotas.

    Args:
        tenant: The tenant.
        quota: Name of the quota, a field of `Limits`.
        limit: Its limit.
        value: What would be used.
        retry_after: Seconds after which a retry makes sense.
        window_seconds: Window of a rate; 0 for an amount.
    """
    advice = _ADVICE.get(quota, f"retry in {max(1, round(retry_after))} s")
    window = {"window_seconds": window_seconds} if window_seconds else {}
    return reasons.quota_exceeded(
        f"quota exceeded: {quota.replace('_', ' ')} would be {value:,}, but {limit:,} are allowed; {advice}, or ask an "
        "operator for more",
        quota=quota,
        limit=limit,
        retry_after=retry_after,
        tenant=tenant,
        value=value,
        **window,
    )
