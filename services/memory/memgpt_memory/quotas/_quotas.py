"""The quotas of every tenant, and the checks against them.

Everything is decided in this process, which all writes and searches of a store go through, so neither a lock nor a row
is shared with another. Rates are token buckets in memory: after a restart they are full. Amounts are sums over the
stored rows (see `_usage`), counted in the background when a tenant is first seen. In the meantime, the sums that the
former process stored hold. They are exact if it ended in good order; else they lack its last changes, and the tenant's
first calls wait a moment for the count.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial

import structlog
from memgpt_runtime import reasons
from memgpt_runtime.errors import ServiceError
from memgpt_runtime.principal import Principal

from memgpt_memory.clock import now
from memgpt_memory.quotas._errors import quota_exceeded
from memgpt_memory.quotas._limits import Limits
from memgpt_memory.quotas._token_bucket import SECONDS, TokenBucket
from memgpt_memory.quotas._usage import Amounts, TenantUsage, UsageRow, seconds_left_of_day, utc_day
from memgpt_memory.records import Record, Records, key_of

_log = structlog.get_logger(__name__)

ReadAmounts = Callable[[str], Awaitable[Iterable[tuple[str, Amounts]]]]
"""Reads the amounts of all agents and sources of a tenant by their ids."""

_AMOUNT_RETRY_SECONDS = 60.0
"""Until someone deletes something, a retry makes no sense; clients that retry anyway should not do so often."""

_TURN_RETRY_SECONDS = 1.0
_DAY_SECONDS = 86_400

_MAX_TENANTS = 10_000
"""Tenants kept in memory; beyond that, those without work in progress are dropped and read again when needed."""

_SAVE_SECONDS = 60.0
"""How often sums that have changed are stored."""

_COUNT_SECONDS = 10.0
"""How long a restricted key waits for the count."""

_WAIT_SECONDS = 0.5
"""How long calls of a tenant wait for the count where the stored sums may be outdated."""

_SAVED = 512
"""Tenants whose sums are stored at a time."""

_RECOUNT_SECONDS = 30.0
"""Until a count that failed is repeated."""


@dataclass(slots=True, eq=False)
class Reservation:
    """Room that work in progress takes before it is stored."""

    _tenant: _Tenant
    agents: int = 0
    sources: int = 0
    passages: int = 0
    bytes: int = 0

    def add(self, *, agents: int = 0, sources: int = 0, passages: int = 0, bytes: int = 0) -> None:  # noqa: A002
        """Reserve more.

        Raises:
            ResourceExhausted: The tenant would exceed a quota; nothing was reserved.
        """
        tenant = self._tenant
        for name, more in (("agents", agents), ("sources", sources), ("passages", passages), ("bytes", bytes)):
            limit = tenant.limits.of(name)
            if more and limit:
                reserved = sum(getattr(other, name) for other in tenant.reservations)
                value = getattr(tenant.usage, name) + reserved + more
                if value > limit:
                    raise quota_exceeded(tenant.name, name, limit, value, _AMOUNT_RETRY_SECONDS)
        self.agents += agents
        self.sources += sources
        self.passages += passages
        self.bytes += bytes


@dataclass(slots=True, eq=False)
class _Tenant:
    """A tenant that was seen.

    Attributes:
        name: The tenant.
        own: The limits that were set for it.
        limits: The limits that hold.
        usage: What it uses.
        reservations: Work in progress.
        turns: Turns that run or wait.
        buckets: Its rates, by the name of the limit.
        ready: Done when limits and the stored sums have been read.
        counting: Done when its usage has been counted.
        wait_until: Until when calls wait for the count.
    """

    name: str
    own: Limits = field(default_factory=Limits)
    limits: Limits = field(default_factory=Limits)
    usage: TenantUsage = field(default_factory=TenantUsage)
    reservations: list[Reservation] = field(default_factory=list)
    turns: int = 0
    buckets: dict[str, TokenBucket] = field(default_factory=dict)
    ready: asyncio.Task[None] = field(init=False)
    counting: asyncio.Task[None] | None = None
    wait_until: float = 0.0

    @property
    def idle(self) -> bool:
        return self.usage.counted and not (self.reservations or self.turns or self.usage.changed)


@dataclass(frozen=True, slots=True)
class Report:
    """What a tenant uses now.

    Attributes:
        usage: The stored amounts, for a restricted key those of its agents and sources.
        limits: The limits that hold.
        turns: Turns that run or wait.
        tokens: Tokens of the chat model today.
        left: What the rates allow now, by the name of the limit; without those that have no limit.
    """

    usage: TenantUsage
    limits: Limits
    turns: int
    tokens: int
    left: dict[str, int]


class Quotas:
    """Checks the quotas of every tenant."""

    def __init__(
        self, records: Records, defaults: Limits, *, current: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep limits and sums among `records`.

        Args:
            records: Where the limits and sums of tenants are stored.
            defaults: The limits of tenants that have none of their own.
            current: Whether the former process ended in good order, so that the stored sums are exact.
            clock: Seconds on a monotonic clock.
        """
        self._records = records
        self._defaults = defaults
        self._current = current
        self._clock = clock
        self._tenants: dict[str, _Tenant] = {}
        self._setting = asyncio.Lock()
        self._saving: asyncio.Task[None] | None = None
        self.read_amounts: ReadAmounts | None = None

    def save_regularly(self) -> None:
        """Store the sums from time to time, until `close`."""
        self._saving = asyncio.create_task(self._save_regularly())

    async def close(self) -> None:
        """Stop background work, and store the sums."""
        tasks = [task for task in (self._saving, *(one.counting for one in self._tenants.values())) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._save()

    async def get(self, tenant: str) -> tuple[Limits, Limits]:
        """Return the limits that were set for a tenant, and those in effect: defaults fill the gaps."""
        known = await self._read(tenant)
        return known.own, known.limits

    async def set(self, tenant: str, limits: Limits) -> Limits:
        """Replace the limits of a tenant; return those in effect now."""
        async with self._setting:
            known = await self._read(tenant)
            body = limits.model_dump_json(exclude_none=True)
            await self._records.put(Record(key_of("quota", tenant), "quota", tenant, "", now(), body))
            known.own, known.limits = limits, limits.over(self._defaults)
        return known.limits

    async def report(self, caller: Principal) -> Report:
        """Return what the caller's tenant uses now. Wait for the count if the stored sums may be outdated.

        For a restricted key the amounts are those of the agents and sources that it may use, and always counted. Turns
        and rates are the tenant's, since the limits that hold for the key are too.

        Raises:
            Unavailable: The count for a restricted key takes long.
        """
        known = await self._read(caller.tenant)
        if known.counting is not None and (known.wait_until or caller.restricted):
            await asyncio.wait({known.counting}, timeout=_COUNT_SECONDS if caller.restricted else None)
        if caller.restricted and not known.usage.counted:
            raise reasons.store_unavailable("the usage is still being counted; retry", retry_after=_COUNT_SECONDS)
        usage = known.usage.part(partial(_may_use, caller)) if caller.restricted else known.usage
        at = self._clock()
        left = {
            name: math.floor(known.buckets[name].level(limit, at)) if name in known.buckets else limit
            for name in ("turns_per_minute", "searches_per_minute", "loaded_bytes_per_minute")
            if (limit := known.limits.of(name))
        }
        return Report(usage, known.limits, known.turns, usage.tokens(utc_day(now())), left)

    @asynccontextmanager
    async def reserve(
        self,
        tenant: str,
        *,
        agents: int = 0,
        sources: int = 0,
        passages: int = 0,
        bytes: int = 0,  # noqa: A002 - the name of the quota
    ) -> AsyncIterator[Reservation]:
        """Reserve room for work until the end of the block, when what was stored counts by itself.

        Raises:
            ResourceExhausted: The tenant would exceed a quota.
        """
        known = await self._get(tenant)
        reservation = Reservation(known)
        reservation.add(agents=agents, sources=sources, passages=passages, bytes=bytes)
        known.reservations.append(reservation)
        try:
            yield reservation
        finally:
            known.reservations.remove(reservation)

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Hold this while a turn runs or waits.

        Raises:
            ResourceExhausted: The tenant has too many turns at the same time.
        """
        known = await self._get(tenant)
        limit = known.limits.concurrent_turns
        if limit and known.turns >= limit:
            raise quota_exceeded(tenant, "concurrent_turns", limit, known.turns + 1, _TURN_RETRY_SECONDS)
        known.turns += 1
        try:
            yield
        finally:
            known.turns -= 1

    async def admit_turn(self, tenant: str) -> Callable[[], None]:
        """Count a turn that is about to begin. Return a function that takes this back, for a turn that did not begin.

        Raises:
            ResourceExhausted: The tenant has begun too many turns, or has no bytes or tokens left for one.
        """
        known = await self._get(tenant)
        usage, limits, time = known.usage, known.limits, now()
        # Notes of turns are not refused, so the passages may exceed their limit by those of the last turns.
        _check_amount(known, "bytes", usage.bytes + 1)
        _check_amount(known, "passages", usage.passages)
        limit, used = limits.of("model_tokens_per_day"), usage.tokens(utc_day(time))
        if limit and used >= limit:
            wait = seconds_left_of_day(time)
            raise quota_exceeded(tenant, "model_tokens_per_day", limit, used, wait, _DAY_SECONDS)
        self._take(known, "turns_per_minute", 1)
        return partial(_give_back, known, "turns_per_minute", 1)

    async def admit_edit(self, tenant: str) -> Callable[[], None]:
        """Check that an edit of messages, which calls no model, may begin. Return a function as `admit_turn` does.

        Raises:
            ResourceExhausted: The tenant has no bytes left for one.
        """
        known = await self._get(tenant)
        _check_amount(known, "bytes", known.usage.bytes + 1)
        return lambda: None

    async def admit_search(self, tenant: str) -> None:
        """Count a search.

        Raises:
            ResourceExhausted: The tenant has searched too often.
        """
        self._take(await self._get(tenant), "searches_per_minute", 1)

    @asynccontextmanager
    async def loading(self, tenant: str) -> AsyncIterator[Callable[[int, int], None]]:
        """Hold this while a file is stored, and call what it yields with the passages and bytes of each batch.

        Raises:
            ResourceExhausted: The tenant has loaded too much in the last minute; or, raised by each call, the batch
                would exceed the tenant's passages or bytes.
        """
        known = await self._get(tenant)
        self._take(known, "loaded_bytes_per_minute", 0)
        async with self.reserve(tenant) as room:

            def batch(passages: int, size: int) -> None:
                room.add(passages=passages, bytes=size)
                bucket = known.buckets.get("loaded_bytes_per_minute")
                if bucket is not None:
                    bucket.take(size)

            yield batch

    def note(self, tenant: str, owner: str, former: Amounts | None, amounts: Amounts | None) -> None:
        """Note what an agent or a source uses since its last commit.

        Args:
            tenant: The tenant.
            owner: The agent or source.
            former: What it used before; None for a new one.
            amounts: What it uses now; None if it has been deleted.
        """
        known = self._tenants.get(tenant)
        if known is None:
            return  # read from the rows when the tenant is first seen
        if amounts is None:
            known.usage.remove(owner, former or Amounts())
        else:
            known.usage.set(owner, amounts, former or Amounts())

    @asynccontextmanager
    async def spent_by_deleted(self, tenant: str, day: int, tokens: int) -> AsyncIterator[list[Record]]:
        """Yield what to write together with the deletion of an agent, so that its tokens stay used after a restart.

        Nothing is written on its own: a deletion that fails and is repeated would count them again.
        """
        if not tokens or day != utc_day(now()):
            yield []
            return
        await self._read(tenant)  # which must not find what is stored then: `note` adds it
        async with self._setting:
            key = key_of("spent", tenant)
            record = await self._records.get(key)
            former = json.loads(record.body) if record is not None else {}
            total = tokens + (former["tokens"] if former.get("day") == day else 0)
            yield [Record(key, "spent", tenant, "", now(), json.dumps({"day": day, "tokens": total}))]

    def forget(self, tenant: str) -> None:
        """Forget a tenant that was deleted."""
        known = self._tenants.pop(tenant, None)
        if known is not None and known.counting is not None:
            known.counting.cancel()

    def _take(self, known: _Tenant, name: str, tokens: int) -> None:
        limit = known.limits.of(name)
        if not limit:
            return
        at = self._clock()
        bucket = known.buckets.get(name)
        if bucket is None:
            bucket = known.buckets[name] = TokenBucket(limit, at)
        wait = bucket.wait(limit, at)
        if wait:
            raise quota_exceeded(known.name, name, limit, limit + 1, wait, int(SECONDS))
        bucket.take(tokens)

    async def _get(self, tenant: str) -> _Tenant:
        """Return a tenant whose sums are as exact as they can be within a moment."""
        known = await self._read(tenant)
        left = known.wait_until - time.monotonic()
        if left > 0 and known.counting is not None:
            await asyncio.wait({known.counting}, timeout=left)
        return known

    async def _read(self, tenant: str) -> _Tenant:
        known = self._tenants.get(tenant)
        if known is None:
            self._make_room()
            known = self._tenants[tenant] = _Tenant(tenant)
            known.ready = asyncio.create_task(self._load(known))
        ready = known.ready
        if not ready.done():
            await asyncio.wait({ready})
        if ready.cancelled() or ready.exception() is not None:
            if self._tenants.get(tenant) is known:
                del self._tenants[tenant]  # the next call reads again
            ready.result()
        return known

    async def _load(self, known: _Tenant) -> None:
        keys = {kind: key_of(kind, known.name) for kind in ("quota", "spent", "usage")}
        found = await self._records.get_many(list(keys.values()))
        quota, spent, usage = (found.get(key) for key in keys.values())
        known.own = Limits() if quota is None else Limits.model_validate_json(quota.body)
        known.limits = known.own.over(self._defaults)
        if usage is not None:
            known.usage.begin(UsageRow.model_validate_json(usage.body))
        if spent is not None:
            body = json.loads(spent.body)
            known.usage.add_tokens_of_deleted(body["day"], body["tokens"])
        if usage is None or not self._current:
            known.wait_until = time.monotonic() + _WAIT_SECONDS
        # In a context of its own: it is not bound to the deadline, the tenant or the restrictions of a call.
        known.counting = asyncio.create_task(self._count(known), name=f"count-{known.name}", context=Context())

    async def _count(self, known: _Tenant) -> None:
        while True:
            try:
                known.usage.count([] if self.read_amounts is None else await self.read_amounts(known.name))
                return
            except Exception as error:  # noqa: BLE001 - the stored sums hold until the next attempt
                _log.warning("usage_count_failed", tenant=known.name, error=f"{type(error).__name__}: {error}")
            known.wait_until = 0.0
            await asyncio.sleep(_RECOUNT_SECONDS)

    async def _save_regularly(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_SECONDS)
            await self._save()

    async def _save(self) -> None:
        """Store the sums that have changed."""
        changed = [known for known in self._tenants.values() if known.usage.changed]
        for known in changed:
            known.usage.changed = False
        rows = [
            Record(key_of("usage", known.name), "usage", known.name, "", now(), known.usage.stored().model_dump_json())
            for known in changed
        ]
        try:
            for start in range(0, len(rows), _SAVED):
                await self._records.put(*rows[start : start + _SAVED])
        except ServiceError as error:  # they are counted again by the next process
            _log.info("usage_save_failed", tenants=len(rows), error=str(error))
            for known in changed:
                known.usage.changed = True

    def _make_room(self) -> None:
        if len(self._tenants) >= _MAX_TENANTS:
            for name in [name for name, known in self._tenants.items() if known.idle][: _MAX_TENANTS // 8]:
                del self._tenants[name]


def _may_use(caller: Principal, owner: str, amounts: Amounts) -> bool:
    """Whether the caller may use an agent or a source."""
    return caller.may_use_agent(owner) if amounts.agents else caller.may_use_source(owner)


def _check_amount(known: _Tenant, name: str, value: int) -> None:
    """Reject work that would lead to an amount over its limit."""
    limit = known.limits.of(name)
    if limit and value > limit:
        raise quota_exceeded(known.name, name, limit, value, _AMOUNT_RETRY_SECONDS)


def _give_back(known: _Tenant, name: str, tokens: int) -> None:
    bucket = known.buckets.get(name)
    if bucket is not None:
        bucket.take(-tokens)
