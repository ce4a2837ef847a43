"""Quotas: what each tenant may store and use, what it does store and use, and the checks before work is done."""

from __future__ import annotations

from memgpt_memory.quotas._limits import Limits
from memgpt_memory.quotas._quotas import Quotas, Reservation
from memgpt_memory.quotas._token_bucket import TokenBucket
from memgpt_memory.quotas._usage import Amounts, TenantUsage, utc_day

__all__ = ["Amounts", "Limits", "Quotas", "Reservation", "TenantUsage", "TokenBucket", "utc_day"]
