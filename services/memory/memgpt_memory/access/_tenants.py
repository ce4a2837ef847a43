"""Tenants: create, find, list and delete them.

A tenant's rows are scoped by its name, so a tenant needs no row of its own to exist: one that a JSON Web Token or a
certificate names, and `default` in every store, do not have one. It exists as soon as it has something. The row holds
when it was created, and the receipt of its deletion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context

import structlog
from memgpt_runtime import reasons
from memgpt_runtime.errors import FailedPrecondition, NotFound, ServiceError
from memgpt_runtime.principal import DEFAULT_TENANT

from memgpt_memory.access._model import TenantReceipt, TenantRow
from memgpt_memory.agents import Agents
from memgpt_memory.clock import now
from memgpt_memory.list_pages import Page, list_page
from memgpt_memory.quotas import Quotas
from memgpt_memory.records import Journal, Record, Records, key_of
from memgpt_memory.sources import Sources

_log = structlog.get_logger(__name__)

KIND = "tenant"
_BATCH = 1_000
_OWNED = ("agent", "source", "profile", "shared_block", "apikey")
"""Kinds of rows that a tenant without a row of its own can have."""

_PASSES = 2
"""A call that had begun before the deletion may still create an agent or a source after it was listed."""


class Tenants:
    """The tenants of the store."""

    def __init__(self, records: Records, agents: Agents, sources: Sources, journal: Journal, quotas: Quotas) -> None:
        """Keep tenants among `records`."""
        self._records = records
        self._agents = agents
        self._sources = sources
        self._journal = journal
        self._quotas = quotas
        self._lock = asyncio.Lock()
        self._deletions: dict[str, asyncio.Task[TenantRow]] = {}
        self._deleting: set[str] = set()
        self._deleted: set[str] = set()

    async def open(self) -> None:
        """Continue deletions that a crash interrupted, in the background."""
        self._deleted = {row.name for row in await self._rows() if row.deleted}
        found = await self._records.get_many(self._journal.of(KIND))
        rows = {id_: TenantRow.model_validate_json(record.body) for id_, record in found.items()}
        for id_, row in rows.items():
            if not row.deleting:
                await self._journal.end(id_)
        for row in rows.values():  # last: nothing may fail while they run
            if row.deleting:
                self._begin(row)

    async def close(self) -> None:
        """Interrupt deletions; the next start continues them."""
        for task in self._deletions.values():
            task.cancel()
        await asyncio.gather(*self._deletions.values(), return_exceptions=True)

    def check(self, name: str) -> None:
        """Check that a tenant can be used. One that was deleted cannot, until it is created again.

        Raises:
            FailedPrecondition: It is being deleted, or was deleted.
        """
        if name in self._deleting:
            raise _being_deleted(name)
        if name in self._deleted:
            raise reasons.wrong_state(
                f'tenant "{name}" was deleted; its operator can create it again', resource="tenant", state="DELETED"
            )

    async def create(self, name: str) -> TenantRow:
        """Create a tenant.

        Raises:
            AlreadyExists: There is one with this name.
            FailedPrecondition: One with this name is being deleted.
        """
        async with self._lock:
            if name in self._deleting:
                raise _being_deleted(name)
            row = await self._stored(name)
            if name == DEFAULT_TENANT or (row is not None and not row.deleted):
                raise reasons.name_taken(f'tenant "{name}" exists already', name=name)
            row = TenantRow(name=name, created=now())
            await self._records.put(_record(row))
            self._deleted.discard(name)
            return row

    async def get(self, name: str) -> TenantRow:
        """Return a tenant, deleted or not.

        Raises:
            NotFound: It was never created, and has nothing.
        """
        row = await self._stored(name)
        if row is None and name in await self._with_rows():
            row = TenantRow(name=name)
        if row is None:
            raise _unknown(name)
        return row

    async def _stored(self, name: str) -> TenantRow | None:
        """Return the row of a tenant."""
        record = await self._records.get(_key(name))
        return TenantRow.model_validate_json(record.body) if record is not None else None

    async def _with_rows(self) -> set[str]:
        """Return the tenants that exist without having been created."""
        return {DEFAULT_TENANT}.union(*[await self._records.tenants(kind) for kind in _OWNED])

    async def check_exists(self, name: str) -> None:
        """Check that a tenant exists and can be used.

        Raises:
            FailedPrecondition: It is being deleted.
            NotFound: It was never created and has nothing, or was deleted.
        """
        if name in self._deleting:
            raise _being_deleted(name)
        if (await self.get(name)).deleted:
            raise _unknown(name)

    async def list(self, size: int, after: str) -> Page[TenantRow]:
        """Return a page of tenants by name, after the name `after`, without deleted ones."""
        by_name = {name: TenantRow(name=name) for name in await self._with_rows()}
        by_name |= {row.name: row for row in await self._rows()}
        page = list_page(sorted(name for name, row in by_name.items() if not row.deleted), size, after)
        return Page([by_name[name] for name in page.items], page.next_token, page.total)

    async def _rows(self) -> Sequence[TenantRow]:
        """Return all rows, also those of deleted tenants."""
        return [TenantRow.model_validate(body) for body in (await self._records.bodies(KIND, "")).values()]

    async def delete(self, name: str) -> TenantRow:
        """Delete a tenant with everything it owns. It continues if the caller goes away, and after a crash.

        Raises:
            InvalidArgument: It is the tenant `default`.
            NotFound: It was never created, and has nothing.
        """
        if name == DEFAULT_TENANT:
            raise reasons.invalid_field(
                f'the tenant "{DEFAULT_TENANT}" cannot be deleted; delete its agents and sources', field="name"
            )
        async with self._lock:
            task = self._deletions.get(name)
            if task is None:
                row = await self.get(name)
                if row.deleted:
                    return row
                if not row.deleting:
                    row = await self._mark(row)
                task = self._begin(row)
        return await asyncio.shield(task)

    async def _mark(self, row: TenantRow) -> TenantRow:
        marked = row.model_copy(
            update={"receipt": TenantReceipt(begun=now(), rows=len(await self._records.kinds(row.name)))}
        )
        self._deleting.add(row.name)
        try:
            async with self._journal.beginning(KIND, _key(row.name)) as journal:
                await self._records.put(journal, _record(marked))
        except BaseException:
            self._deleting.discard(row.name)
            raise
        return marked

    def _begin(self, row: TenantRow) -> asyncio.Task[TenantRow]:
        self._deleting.add(row.name)
        # In a context of its own: it is not bound to the deadline, the tenant or the restrictions of a call.
        task = asyncio.create_task(self._delete(row), name=f"delete-tenant-{row.name}", context=Context())
        self._deletions[row.name] = task
        task.add_done_callback(lambda done: self._ended(row.name, done))
        return task

    def _ended(self, name: str, task: asyncio.Task[TenantRow]) -> None:
        del self._deletions[name]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._deleted.add(name)
            self._deleting.discard(name)
        elif not isinstance(error, ServiceError):
            _log.error("tenant_deletion_failed", tenant=name, exc_info=error)

    async def _delete(self, row: TenantRow) -> TenantRow:
        assert row.receipt is not None  # noqa: S101 - the deletion has begun
        name, receipt = row.name, row.receipt
        await self._delete_rows(row, receipt, "apikey")
        for _ in range(_PASSES):
            for agent_id in list(await self._records.ids("agent", name)):
                await self._delete_agent(row, receipt, agent_id)
            await self._agents.repository.shared.delete_all(name)
            for source_id in list(await self._records.ids("source", name)):
                await self._delete_source(row, receipt, source_id)
        await self._delete_rows(row, receipt, "profile")
        self._quotas.forget(name)  # or else its sums could be stored again after its rows are deleted
        await self._delete_rows(row, receipt)
        self._quotas.forget(name)  # an operator may have read its limits in the meantime
        receipt.ended = now()
        await self._records.put(_record(row))
        await self._journal.end(_key(name))
        _log.info("tenant_deleted", tenant=name, agents=receipt.agents, sources=receipt.sources)
        return row

    async def _delete_agent(self, row: TenantRow, receipt: TenantReceipt, agent_id: str) -> None:
        if receipt.counted != agent_id:
            try:
                live = await self._agents.get(row.name, agent_id, for_deletion=True)
            except NotFound:  # its deletion had begun before; it is finished here
                live = None
            receipt.agents += 1
            if live is not None:
                receipt.messages += live.state.message_count
                receipt.passages += live.state.note_count
            receipt.counted = agent_id
            await self._records.put(_record(row))
        try:
            await self._agents.delete(row.name, agent_id)
        except NotFound:  # deleted in the meantime
            return

    async def _delete_source(self, row: TenantRow, receipt: TenantReceipt, source_id: str) -> None:
        if receipt.counted != source_id:
            live = await self._sources.find(source_id)
            receipt.sources += 1
            receipt.passages += live.totals.passages if live is not None else 0
            receipt.counted = source_id
            await self._records.put(_record(row))
        try:
            await self._sources.delete(row.name, source_id)
        except NotFound:  # deleted in the meantime
            return

    async def _delete_rows(self, row: TenantRow, receipt: TenantReceipt, kind: str = "") -> None:
        """Delete rows of the tenant among the records, of one kind or all that are left."""
        ids = [found.id for found in await self._records.kinds(row.name) if not kind or found.kind == kind]
        for start in range(0, len(ids), _BATCH):
            batch = ids[start : start + _BATCH]
            await self._records.delete(batch)
            if kind == "apikey":
                receipt.api_keys += len(batch)
            elif kind == "profile":
                receipt.profiles += len(batch)
            if kind:
                await self._records.put(_record(row))


def _key(name: str) -> str:
    return key_of(KIND, name)


def _record(row: TenantRow) -> Record:
    # Not among the tenant's own rows, all of which its deletion removes.
    return Record(_key(row.name), KIND, "", "", row.created, row.model_dump_json())


def _unknown(name: str) -> NotFound:
    return reasons.tenant_not_found(f'unknown tenant "{name}"; list tenants to see their names', tenant=name)


def _being_deleted(name: str) -> FailedPrecondition:
    return reasons.wrong_state(f'tenant "{name}" is being deleted', resource="tenant", state="DELETING")
