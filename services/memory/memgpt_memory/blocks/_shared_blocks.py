"""The shared blocks of every tenant: create, find, list, write and delete them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from cachetools import LRUCache
from memgpt_runtime.errors import Reason

from memgpt_memory.blocks._edits import BlockEdit
from memgpt_memory.blocks._errors import too_many_shared_blocks, unknown_shared_block, unknown_shared_block_name
from memgpt_memory.blocks._shared_block import KIND, MAX_SHARED_BLOCKS, SharedBlock, SharedBlockRow, SharedWrite
from memgpt_memory.clock import now
from memgpt_memory.list_pages import Page, list_page
from memgpt_memory.records import IdempotencyStore, Journal, Names, Records, ids_of
from memgpt_memory.tasks import run_to_end

_MAX_CACHED = 4_096
_NAME_KIND = "block"

IsCommitted = Callable[[str, str, int], Awaitable[bool]]
"""Whether the row of an agent has a mark for a block: takes the agent's id, the block's, and the mark."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Entry:
    """A block in the cache.

    Attributes:
        id: The block.
        lock: Held while writing.
        known: Whether `block` is what the store has; not before the first read, nor after a failed write.
        block: The block; None if it does not exist.
        next_version: A version that no write has used yet, including failed ones.
    """

    id: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    known: bool = False
    block: SharedBlock | None = None
    next_version: int = 0


class SharedBlocks:
    """The shared blocks of every tenant."""

    def __init__(
        self,
        records: Records,
        names: Names,
        requests: IdempotencyStore,
        journal: Journal,
        is_committed: IsCommitted,
    ) -> None:
        """Keep blocks among `records`; `is_committed` reads agents' rows."""
        self._records = records
        self._names = names
        self._requests = requests
        self._journal = journal
        self._is_committed = is_committed
        # An entry in use must stay the only one of its block, since it has the lock.
        self._entries: WeakValueDictionary[str, _Entry] = WeakValueDictionary()
        self._recent: LRUCache[str, _Entry] = LRUCache(_MAX_CACHED)

    async def create(self, tenant: str, block_id: str, content: BlockEdit, user_id: str = "") -> SharedBlock:
        """Create a block, with the label of `content` as its name. If one with this id exists, return that one.

        Raises:
            AlreadyExists: Another block has the name.
            InvalidArgument: The value is over the limit, or the name is blank or holds what cannot be seen.
            ResourceExhausted: The tenant has too many.
        """
        async with self.locked([block_id]) as found:
            if block_id in found:
                return found[block_id]
            if len(await self._records.ids(KIND, tenant)) >= MAX_SHARED_BLOCKS:
                raise too_many_shared_blocks(MAX_SHARED_BLOCKS)
            name, time = content.label, now()
            row = SharedBlockRow(tenant=tenant, name=name, user_id=user_id, created=time, updated=time)
            write = SharedBlock(block_id, row, "").edited(content, time, by_people=True)
            async with self._names.claim(tenant, _NAME_KIND, name, block_id, self._exists):
                await run_to_end(self._write(write))
            return write.block

    async def get(self, tenant: str, block_id: str) -> SharedBlock:
        """Return a block.

        Raises:
            NotFound: There is no such block, or it belongs to another tenant.
        """
        block = await self.find(tenant, block_id)
        if block is None:
            raise unknown_shared_block(block_id)
        return block

    async def find(self, tenant: str, block_id: str) -> SharedBlock | None:
        """Return a block of a tenant, or None if there is none."""

        async def find(id_: str) -> SharedBlock | None:
            return (await self.find_many([id_])).get(id_)

        return await self._records.find_of_tenant(KIND, tenant, block_id, find, lambda block: block.row.tenant)

    async def get_by_name(self, tenant: str, name: str) -> SharedBlock:
        """Return the block with a name.

        Raises:
            NotFound: There is no such block.
        """
        block_id = await self._names.find(tenant, _NAME_KIND, name)
        block = (await self.find_many([block_id])).get(block_id) if block_id else None
        if block is None:
            raise unknown_shared_block_name(name)
        return block

    async def find_many(self, ids: Iterable[str]) -> dict[str, SharedBlock]:
        """Return the blocks that exist, by their ids."""
        found: dict[str, SharedBlock] = {}
        for id_ in ids:
            entry = self._entry(id_)
            if not entry.known:
                async with entry.lock:
                    await self._read(entry)
            if entry.block is not None:
                found[id_] = entry.block
        return found

    async def list(self, tenant: str, size: int, after: str) -> Page[SharedBlock]:
        """Return a page of blocks in order of creation, after the id `after`."""
        page = list_page(await self._records.ids(KIND, tenant), size, after)
        found = await self.find_many(page.items)
        return Page([found[id_] for id_ in page.items if id_ in found], page.next_token, page.total)

    async def of_user(self, tenant: str, user_id: str) -> Sequence[SharedBlock]:
        """Return the blocks of a user, in order of creation."""
        found = await self.find_many(await self._records.ids(KIND, tenant))
        return [block for block in found.values() if block.row.user_id == user_id]

    async def update(self, tenant: str, block_id: str, edit: BlockEdit) -> SharedBlock:
        """Write a block on behalf of a person, for all agents that have it.

        Raises:
            Aborted: The block's etag does not match.
            InvalidArgument: The value is over the block's limit.
            NotFound: There is no such block.
        """
        async with self.locked([block_id]) as found:
            block = found.get(block_id)
            if block is None or block.row.tenant != tenant:
                raise unknown_shared_block(block_id)
            write = block.edited(edit, now(), by_people=True)
            await run_to_end(self._write(write))
            return write.block

    @asynccontextmanager
    async def locked(self, ids: Iterable[str]) -> AsyncIterator[dict[str, SharedBlock]]:
        """Keep others from writing blocks within the block. An agent's lock is taken before, never within.

        Yields:
            Those that exist, by their ids.
        """
        entries = [self._entry(id_) for id_ in sorted(set(ids))]
        async with AsyncExitStack() as stack:
            for entry in entries:
                await stack.enter_async_context(entry.lock)
                await self._read(entry)
            yield {entry.id: entry.block for entry in entries if entry.block is not None}

    def written(self, writes: Sequence[SharedWrite]) -> None:
        """Note writes of an agent's step that were committed. Hold `locked`."""
        for write in writes:
            self._note(write)

    def doubt(self, writes: Sequence[SharedWrite]) -> None:
        """Read blocks again before their next use: a write of them failed. Hold `locked`."""
        for write in writes:
            entry = self._entry(write.block.id)
            entry.known = False
            entry.next_version = max(entry.next_version, write.block.row.next_version)

    async def settle(self, blocks: Iterable[SharedBlock]) -> None:
        """Let the blocks' own rows say what counts, before the row of the agent that says so changes. Hold `locked`."""
        for block in blocks:
            if block.writer:
                settled = replace(block, writer="")
                await self._write(SharedWrite(settled, (), settled.record(), ()))

    async def hide(self, block: SharedBlock) -> None:
        """Mark a block as deleted; `purge` deletes it, even after a crash. Hold `locked`."""
        row = block.row.model_copy(update={"deleting": True})
        entry = self._entry(block.id)
        entry.known = False
        async with self._journal.beginning(KIND, block.id) as journal:
            await self._records.put(journal, block.record(row))
        entry.block, entry.known = None, True

    async def purge(self, block_id: str) -> None:
        """Delete all rows of a block marked as deleted; its own row goes last, so that a crash leaves the mark.

        Do not hold `locked`: this waits for requests and claims of names, which may wait for the block.
        """
        requests, names = await self._records.find_owned(block_id)
        await self._requests.forget(requests, Reason.BLOCK_NOT_FOUND)
        await self._names.release_all(names, block_id)
        entry = self._entry(block_id)
        async with entry.lock:
            entry.known = False  # such a request may have created it again
            await self._records.delete_children(block_id)
            await self._records.delete([block_id])
        await self._journal.end(block_id)

    async def delete_all(self, tenant: str) -> None:
        """Delete the blocks of a tenant that is being deleted, after its agents."""
        for block_id in list(await self._records.ids(KIND, tenant)):
            await run_to_end(self._delete(block_id))

    async def resume_deletions(self) -> None:
        """Finish deletions that failed or that a crash interrupted."""
        for block_id in self._journal.of(KIND):
            async with self.locked([block_id]):  # a mark that is being written
                record = await self._records.get(block_id)
                marked = record is not None and SharedBlockRow.model_validate_json(record.body).deleting
                if not marked:
                    await self._journal.end(block_id)
            if marked:
                await self.purge(block_id)

    async def sweep(self) -> None:
        """Delete values that a failure or a crash left behind."""
        for record in await self._records.find(KIND):  # of every tenant
            async with self.locked([record.id]) as found:
                used = {id_ for block in found.values() for id_ in block.text_ids}
                texts = ids_of(await self._records.find("text", parent=record.id))
                await self.settle(found.values())
                await self._records.delete([id_ for id_ in texts if id_ not in used])

    def _entry(self, block_id: str) -> _Entry:
        entry = self._entries.get(block_id)
        if entry is None:
            entry = self._entries[block_id] = _Entry(block_id)
        self._recent[block_id] = entry
        return entry

    async def _read(self, entry: _Entry) -> None:
        """Read a block whose state is not known. Hold its lock."""
        if entry.known:
            return
        record = await self._records.get(entry.id)
        block = None
        if record is not None and record.kind == KIND:
            row = SharedBlockRow.model_validate_json(record.body)
            pending = row.pending
            committed = pending is not None and await self._is_committed(pending.agent_id, entry.id, pending.mark)
            writer = pending.agent_id if pending is not None and committed else ""
            row = row.settled(committed=committed)
            row.next_version = max(row.next_version, entry.next_version)
            block = SharedBlock(entry.id, row, "", writer)
            texts = await self._records.get_many(block.text_ids) if block.text_ids else {}
            block = None if row.deleting else replace(block, value="".join(texts[id_].body for id_ in block.text_ids))
        entry.block, entry.known = block, True

    async def _write(self, write: SharedWrite) -> None:
        try:
            if write.texts:
                await self._records.put(*write.texts)
            await self._records.put(write.record)
        except BaseException:
            self.doubt([write])
            raise
        self._note(write)
        await self._records.delete(write.superseded, unread=True)

    def _note(self, write: SharedWrite) -> None:
        entry = self._entry(write.block.id)
        entry.block, entry.known = write.block, True
        entry.next_version = write.block.row.next_version

    async def _delete(self, block_id: str) -> None:
        async with self.locked([block_id]) as found:
            for block in found.values():
                await self.hide(block)
        if found:
            await self.purge(block_id)

    async def _exists(self, block_id: str) -> bool:
        """Whether a block exists. This does not wait for its lock: the holder may wait for the name that is claimed."""
        entry = self._entry(block_id)
        if entry.known:
            return entry.block is not None
        record = await self._records.get(block_id)
        if record is None or record.kind != KIND:
            return False
        return not SharedBlockRow.model_validate_json(record.body).deleting
