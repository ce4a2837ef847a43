"""Erasure of everything about one user, with a receipt.

The receipt is a row of its own. Before an agent or a block is deleted, the row gets its counts and its id; so after a
crash it is deleted, and counted once. The next start completes an erasure that is not done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from weakref import WeakValueDictionary

import structlog
from memgpt_runtime.errors import NotFound, ServiceError

from memgpt_memory.agents import Agents, BlockAttachments, LiveAgent
from memgpt_memory.blocks import SharedBlock, SharedBlocks
from memgpt_memory.clock import now
from memgpt_memory.records import RETENTION, Record, Records, StoredModel, key_of

KIND = "erasure"
"""Kind of the rows of receipts."""

_PAGE = 100

_log = structlog.get_logger(__name__)


class UserReceipt(StoredModel):
    """What an erasure has deleted so far; the user is known only until it is done.

    Attributes:
        user_id: The user; empty once it is done.
        counted: The agent or block whose counts are included, but which may not be deleted yet.
        agents: Number of agents.
        blocks: Number of their own blocks.
        messages: Number of their messages.
        notes: Number of their notes.
        shared_blocks: Number of shared blocks.
        ended: When it was done, in microseconds since 1970; 0 before.
    """

    user_id: str = ""
    counted: str = ""
    agents: int = 0
    blocks: int = 0
    messages: int = 0
    notes: int = 0
    shared_blocks: int = 0
    ended: int = 0


class UserData:
    """Finds and erases what belongs to a user."""

    def __init__(self, records: Records, agents: Agents, shared: SharedBlocks, attachments: BlockAttachments) -> None:
        """Keep receipts among `records`."""
        self._records = records
        self._agents = agents
        self._shared = shared
        self._attachments = attachments
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._task: asyncio.Task[None] | None = None

    async def agents(self, tenant: str, user_id: str) -> AsyncIterator[LiveAgent]:
        """Yield the agents of a user, in order of creation."""
        after = ""
        while True:
            page = await self._agents.list(tenant, _PAGE, after, user_id=user_id)
            for live in page.items:
                yield live
            if not page.next_token:
                return
            after = page.next_token

    async def blocks(self, tenant: str, user_id: str) -> Sequence[SharedBlock]:
        """Return the shared blocks of a user, in order of creation."""
        return await self._shared.of_user(tenant, user_id)

    async def erase(self, tenant: str, user_id: str, request_id: str) -> UserReceipt:
        """Erase what belongs to a user, or complete or return the erasure of the same request."""
        async with self._lock(tenant):
            return await self._erase(key_of(KIND, tenant, request_id), tenant, user_id)

    def resume(self) -> None:
        """Complete erasures that a crash interrupted, in the background."""
        self._task = asyncio.create_task(self._resume())

    async def close(self) -> None:
        """Stop the background work; the next start continues it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _resume(self) -> None:
        try:
            for record in await self._records.find(KIND):  # of every tenant
                receipt = UserReceipt.model_validate_json(record.body)
                if not receipt.ended:
                    async with self._lock(record.tenant):
                        await self._erase(record.id, record.tenant, receipt.user_id)
                    _log.info("erasure_resumed", erasure=record.id)
                elif _is_outdated(receipt):
                    await self._records.delete([record.id])
        except ServiceError as error:  # the next start, or the same request, continues it
            _log.warning("erasure_resume_failed", error=str(error))

    def _lock(self, tenant: str) -> asyncio.Lock:
        """Return the lock of a tenant's erasures: two of one user would count the same things."""
        return self._locks.setdefault(tenant, asyncio.Lock())

    async def _erase(self, key: str, tenant: str, user_id: str) -> UserReceipt:
        record = await self._records.get(key)
        receipt = UserReceipt(user_id=user_id) if record is None else UserReceipt.model_validate_json(record.body)
        if _is_outdated(receipt):
            receipt = UserReceipt(user_id=user_id)
        if receipt.ended:
            return receipt
        # A deletion that failed halfway is hidden from the lists below.
        for live in await self._agents.deleting(tenant, user_id):
            await self._delete(tenant, live)
        await self._shared.resume_deletions()
        while (page := await self._agents.list(tenant, _PAGE, "", user_id=user_id)).items:
            for live in page.items:
                receipt = await self._delete_agent(key, tenant, live, receipt)
        for block in await self.blocks(tenant, user_id):
            if receipt.counted != block.id:
                counts: dict[str, int | str] = {"counted": block.id, "shared_blocks": receipt.shared_blocks + 1}
                receipt = await self._put(key, tenant, receipt, counts)
            await self._attachments.delete(tenant, block.id, detach=True)
        return await self._put(key, tenant, receipt, {"user_id": "", "counted": "", "ended": now()})

    async def _delete_agent(self, key: str, tenant: str, live: LiveAgent, receipt: UserReceipt) -> UserReceipt:
        if receipt.counted != live.id:
            state = await self._agents.repository.read_state(live)
            counts: dict[str, int | str] = {
                "counted": live.id,
                "agents": receipt.agents + 1,
                "blocks": receipt.blocks + len(state.row.blocks),
                "messages": receipt.messages + state.message_count,
                "notes": receipt.notes + state.note_count,
            }
            receipt = await self._put(key, tenant, receipt, counts)
        await self._delete(tenant, live)
        return receipt

    async def _delete(self, tenant: str, live: LiveAgent) -> None:
        with suppress(NotFound):  # another call has deleted it since
            await self._agents.delete(tenant, live.id)

    async def _put(self, key: str, tenant: str, receipt: UserReceipt, changes: dict[str, int | str]) -> UserReceipt:
        receipt = receipt.model_copy(update=changes)
        await self._records.put(Record(key, KIND, tenant, "", now(), receipt.model_dump_json()))
        return receipt


def _is_outdated(receipt: UserReceipt) -> bool:
    """Whether an erasure ended so long ago that its request is not remembered: the same id names another one now."""
    return 0 < receipt.ended < now() - RETENTION
