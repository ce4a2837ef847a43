"""The sources of every tenant: create, find, list, rename and delete them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

from memgpt_runtime.context import principal
from memgpt_runtime.errors import Reason
from memgpt_runtime.names import comparable

from memgpt_memory.clock import Clock, now
from memgpt_memory.list_pages import Page, list_page
from memgpt_memory.object_cache import ObjectCache
from memgpt_memory.passages import Passages
from memgpt_memory.quotas import Amounts, Quotas
from memgpt_memory.records import IdempotencyStore, Journal, Names, Record, Records
from memgpt_memory.restrictions import permitted_ids
from memgpt_memory.shared_reads import SharedReads
from memgpt_memory.sources._errors import source_changed, unknown_source, unknown_source_name
from memgpt_memory.sources._files import SourceFiles, summary_record
from memgpt_memory.sources._live_source import LiveSource
from memgpt_memory.sources._rows import SourceRow
from memgpt_memory.tasks import run_to_end

_MAX_SOURCES = 4_096
"""Sources that are kept in memory."""

_READ = 64
"""Sources that are read at a time to add up what they use."""


class Sources:
    """The sources of every tenant.

    Attributes:
        files: The operations on their files.
    """

    def __init__(
        self,
        records: Records,
        passages: Passages,
        names: Names,
        requests: IdempotencyStore,
        journal: Journal,
        clock: Clock,
        quotas: Quotas,
    ) -> None:
        """Keep sources in the given parts of one store."""
        self.files = SourceFiles(records, passages, clock, quotas)
        self._records = records
        self._passages = passages
        self._names = names
        self._requests = requests
        self._journal = journal
        self._quotas = quotas
        self._cache = ObjectCache[LiveSource](_MAX_SOURCES, lambda live: live.idle)
        self._reads = SharedReads(self._read)

    @property
    def embedding_model(self) -> str:
        """The model of every passage."""
        return self._passages.index.embedder.model

    async def create(self, tenant: str, source_id: str, name: str, description: str) -> LiveSource:
        """Create an empty source. If a source with this id exists, return that one.

        Raises:
            AlreadyExists: Another source has the name.
            ResourceExhausted: The tenant has as many sources as it may have.
        """
        existing = (await self._load([source_id])).get(source_id)
        if existing is not None:
            return existing
        async with (
            self._quotas.reserve(tenant, sources=1),
            self._names.claim(tenant, "source", name, source_id, self._called(name)),
        ):
            row = SourceRow(tenant=tenant, name=name, description=description, created=now())
            live = LiveSource(source_id, row, complete=True)
            await self._put(_source_record(source_id, row), summary_record(live))
            live = self._admit(live)
            self._quotas.note(tenant, source_id, None, live.amounts)
            return live

    async def get(self, tenant: str, source_id: str) -> LiveSource:
        """Return a source.

        Raises:
            NotFound: There is no such source, or it belongs to another tenant.
        """
        live = await self._find(tenant, source_id) if principal().may_use_source(source_id) else None
        if live is None or live.row.deleting:
            raise unknown_source(source_id)
        return live

    async def _find(self, tenant: str, source_id: str) -> LiveSource | None:
        """Return a source of a tenant, also one that is being deleted."""

        async def find(id_: str) -> LiveSource | None:
            return (await self._load([id_])).get(id_)

        return await self._records.find_of_tenant("source", tenant, source_id, find, lambda live: live.row.tenant)

    async def find(self, source_id: str) -> LiveSource | None:
        """Return a source, or None if there is none."""
        return (await self.find_many([source_id])).get(source_id)

    async def find_many(self, ids: Sequence[str]) -> dict[str, LiveSource]:
        """Return the sources that exist, by their ids."""
        found = await self._load(ids)
        return {id_: live for id_, live in found.items() if not live.row.deleting}

    async def get_by_name(self, tenant: str, name: str) -> LiveSource:
        """Return the source with a name.

        Raises:
            NotFound: There is no such source.
        """
        live = await self.find_by_name(tenant, name)
        if live is None:
            raise unknown_source_name(name)
        return live

    async def find_by_name(self, tenant: str, name: str) -> LiveSource | None:
        """Return the source with a name, or None if there is none."""
        source_id = await self._names.find(tenant, "source", name)
        # What the caller may not use is not read: the duration of a call would tell that it exists.
        live = await self.find(source_id) if source_id and principal().may_use_source(source_id) else None
        return live if live is not None and await self._called(name)(source_id) else None

    async def list(self, tenant: str, size: int, after: str) -> Page[LiveSource]:
        """Return a page of sources in order of creation, after the id `after`."""
        unfinished = await self._load(self._journal.of("source"))
        hidden = {id_ for id_, live in unfinished.items() if live.row.deleting}
        ids = permitted_ids(await self._records.ids("source", tenant), principal().sources)
        page = list_page([id_ for id_ in ids if id_ not in hidden] if hidden else ids, size, after)
        found = await self.find_many(page.items)
        return Page([found[id_] for id_ in page.items if id_ in found], page.next_token, page.total)

    async def amounts(self, tenant: str) -> Sequence[tuple[str, Amounts]]:
        """Return what every source of a tenant uses, by its id."""
        ids = await self._records.ids("source", tenant)
        found: list[tuple[str, Amounts]] = []
        for start in range(0, len(ids), _READ):  # so few that calls in the meantime do not wait
            live = await self.find_many(ids[start : start + _READ])
            found += [(id_, source.amounts) for id_, source in live.items()]
        return found

    async def update(self, tenant: str, source_id: str, changes: Mapping[str, str], etag: str) -> LiveSource:
        """Change the name or the description of a source.

        Args:
            tenant: The tenant that owns it.
            source_id: The source.
            changes: New values of `name` and `description`.
            etag: The etag that was read; empty to skip the check.

        Raises:
            Aborted: The name or the description has changed since.
            AlreadyExists: Another source has the name.
            InvalidArgument: The name is blank, or holds what cannot be seen.
            NotFound: There is no such source.
        """
        live = await self.get(tenant, source_id)
        async with live.writing():  # a deletion lists the names that it releases
            if "name" not in changes:
                await self._change(live, changes, etag)
                return live
            name = changes["name"]
            async with self._names.claim(tenant, "source", name, source_id, self._called(name)):
                former = await self._change(live, changes, etag)
            if former != name:
                await self._names.release(tenant, "source", former, source_id, self._called(former))
        return live

    async def _change(self, live: LiveSource, changes: Mapping[str, str], etag: str) -> str:
        """Write changes of the row, and return the name that the source had before."""
        async with live.row_lock:
            await self._settle_row(live)
            row = live.row
            if row.deleting:
                raise unknown_source(live.id)
            if etag and etag != row.etag:
                raise source_changed(row.etag)
            changed = row.model_copy(update={**changes, "version": row.version + 1})
            await run_to_end(self._write_row(live, changed))
            return row.name

    async def _write_row(self, live: LiveSource, row: SourceRow, *others: Record) -> None:
        """Write the row of a source, after others. Hold its lock."""
        try:
            await self._put(*others, _source_record(live.id, row))
        except BaseException:
            live.stale = True
            raise
        live.row = row

    async def delete(self, tenant: str, source_id: str) -> None:
        """Delete a source with its passages. The first write hides it; the rest is deleted even after a crash.

        Raises:
            NotFound: There is no such source.
        """
        live = await self._find(tenant, source_id)
        if live is None or not live.row.deleting:  # otherwise resume the deletion
            live = await self.get(tenant, source_id)
            async with live.row_lock, self._journal.beginning("source", source_id) as journal:
                await self._settle_row(live)
                row = live.row.model_copy(update={"deleting": True})
                await run_to_end(self._write_row(live, row, journal))
            self._quotas.note(tenant, source_id, live.amounts, None)
        await run_to_end(self._purge(live))

    async def resume_deletions(self) -> None:
        """Finish deletions that failed or that a crash interrupted."""
        for source_id in self._journal.of("source"):
            if not await self._journal.end_if(source_id, partial(self._gone, source_id)):
                row = await self._read_row(source_id)
                if row is not None and row.deleting:
                    await self._purge(LiveSource(source_id, row))

    async def _gone(self, source_id: str) -> bool:
        """Whether nothing of a source is left to delete."""
        row = await self._read_row(source_id)
        return row is None or not row.deleting

    async def _read_row(self, source_id: str) -> SourceRow | None:
        record = await self._records.get(source_id)
        return SourceRow.model_validate_json(record.body) if record is not None else None

    async def find_unfinished(self) -> None:
        """Find deletions in progress in a store that predates the journal."""
        for record in await self._records.find("source"):
            if SourceRow.model_validate_json(record.body).deleting:
                self._journal.pending[record.id] = "source"

    async def sweep(self) -> None:
        """Delete what a failure or a crash left behind of files and their versions."""
        for record in await self._records.find("source"):  # of every tenant
            live = await self.find(record.id)
            if live is not None:
                await self.files.sweep(live)

    async def _load(self, ids: Iterable[str]) -> dict[str, LiveSource]:
        """Return sources from the cache or the store, including those being deleted."""
        wanted = list(ids)
        held = {id_: live for id_ in wanted if (live := self._cache.get(id_)) is not None}
        missing = [id_ for id_ in dict.fromkeys(wanted) if id_ not in held]
        if missing:
            held |= await self._reads.get(missing)  # which keeps them in the cache
        # In the meantime, one may have been created or deleted.
        found = {id_: live for id_ in wanted if (live := self._cache.peek(id_)) is not None}
        for live in found.values():
            await self._settle(live)
        return found

    async def _read(self, ids: Sequence[str]) -> Mapping[str, LiveSource]:
        records = await self._records.get_many(ids)
        sources = [
            LiveSource(id_, SourceRow.model_validate_json(record.body))
            for id_, record in records.items()
            if record.kind == "source"
        ]
        await self.files.read_totals(sources)
        return {live.id: self._admit(live) for live in sources}

    def _admit(self, live: LiveSource) -> LiveSource:
        """Add a source that was created or read. An entry in use stays, since two would overwrite each other."""
        held = self._cache.get(live.id)
        if held is None:
            self._cache.put(live.id, live)
        return held or live

    async def _settle(self, live: LiveSource) -> None:
        """After failed writes, find out whether they took effect."""
        if live.stale:
            async with live.row_lock:
                await self._settle_row(live)
        if live.stale_files:
            await self.files.settle(live)

    async def _settle_row(self, live: LiveSource) -> None:
        """Read the row again after a failed write of it. Hold `live.row_lock`."""
        if live.stale:
            record = await self._records.get(live.id)
            if record is not None:
                live.row = SourceRow.model_validate_json(record.body)
            live.stale = False

    async def _put(self, *records: Record) -> None:
        await self._records.put(*records)

    def _called(self, name: str) -> Callable[[str], Awaitable[bool]]:
        """Return whether a source exists and has this name: a crash may leave the claim of another."""

        async def called(source_id: str) -> bool:
            live = await self.find(source_id)
            return live is not None and comparable(live.row.name) == comparable(name)

        return called

    async def _purge(self, live: LiveSource) -> None:
        """Delete all rows of a source marked as deleted; its own row goes last, so that a crash leaves the mark."""
        tenant = live.row.tenant
        async with live.gate.write():
            requests, names = await self._records.find_owned(live.id)
            await self._requests.forget(requests, Reason.SOURCE_NOT_FOUND)
            await self._passages.delete_where(tenant, live.id)
            await self._names.release_all(names, live.id)
            await self._records.delete_children(live.id)
            await self._records.delete([live.id])
        await self._journal.end(live.id)
        self._cache.remove(live.id)


def _source_record(source_id: str, row: SourceRow) -> Record:
    return Record(source_id, "source", row.tenant, "", row.created, row.model_dump_json())
