"""The parts of Memory, put together over an opened store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog
from memgpt_runtime.errors import ResourceExhausted
from memgpt_runtime.fair_semaphore import FairSemaphore

from memgpt_memory import fulltext
from memgpt_memory.access import ApiKeys, Tenants
from memgpt_memory.agents import (
    LEASE_SECONDS,
    AgentNotes,
    AgentRepository,
    Agents,
    AgentUsage,
    BlockAttachments,
    CoreMemory,
    Profiles,
    SourceAttachments,
    has_mark,
)
from memgpt_memory.archival import Archive
from memgpt_memory.blocks import SharedBlocks
from memgpt_memory.embedding import Embedder, Models
from memgpt_memory.maintenance.identity import Identity
from memgpt_memory.maintenance.migrations import migrate
from memgpt_memory.maintenance.reembedding import Reembedding
from memgpt_memory.maintenance.reindexing import reindex
from memgpt_memory.maintenance.store_lease import StoreLease
from memgpt_memory.maintenance.transfer import Transfers
from memgpt_memory.maintenance.user_data import UserData
from memgpt_memory.messages import Messages
from memgpt_memory.passages import EmbeddingIndex, Passages
from memgpt_memory.quotas import Amounts, Limits, Quotas
from memgpt_memory.recall import Expiry, Forgetting, MessageIndex, Recall
from memgpt_memory.records import IdempotencyStore, Journal, Names, Records
from memgpt_memory.sources import LoadRecords, Sources
from memgpt_memory.store import Store
from memgpt_memory.store.layout import MESSAGES, RECORDS, SCHEMA_VERSION, message_index, passages
from memgpt_memory.turns import Edits, Turns

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """Settings of Memory's parts.

    Attributes:
        lease_seconds: Duration of a turn's lease that is not renewed.
        searches: Searches under way; the next ones wait, and tenants take turns.
        limits: The limits of tenants that have none of their own.
        observe_search: Called with the memory, the mode, and the duration in seconds of every search.
    """

    lease_seconds: float = LEASE_SECONDS
    searches: int = 16
    limits: Limits = field(default_factory=Limits)
    observe_search: Callable[[str, str, float], None] = lambda _memory, _mode, _seconds: None


@dataclass(frozen=True, slots=True)
class Core:
    """All parts of Memory over one open store."""

    store: Store
    passages: Passages
    token_key: bytes
    agents: Agents
    notes: AgentNotes
    core_memory: CoreMemory
    usage: AgentUsage
    turns: Turns
    edits: Edits
    attachments: SourceAttachments
    shared_blocks: SharedBlocks
    block_attachments: BlockAttachments
    sources: Sources
    transfers: Transfers
    user_data: UserData
    archive: Archive
    recall: Recall
    message_index: MessageIndex
    forgetting: Forgetting
    expiry: Expiry
    profiles: Profiles
    loads: LoadRecords
    quotas: Quotas
    search_slots: FairSemaphore
    idempotency: IdempotencyStore
    reembedding: Reembedding
    lease: StoreLease
    api_keys: ApiKeys
    tenants: Tenants
    observe_search: Callable[[str, str, float], None]

    @property
    def embedder(self) -> Embedder:
        """The embedding model of the store."""
        return self.passages.index.embedder

    @asynccontextmanager
    async def searching(self, tenant: str) -> AsyncIterator[None]:
        """Count a search against the tenant's quota, and hold one of the slots for searches, which tenants share.

        Raises:
            ResourceExhausted: The tenant has searched too often.
        """
        await self.quotas.admit_search(tenant)
        async with self.search_slots.slot(tenant):
            yield

    @contextmanager
    def timed_search(self, memory: str, mode: str) -> Iterator[None]:
        """Time a search of ``archival`` or ``recall`` memory in a mode."""
        began = time.perf_counter()
        yield
        self.observe_search(memory, mode, time.perf_counter() - began)

    async def close(self) -> None:
        """Stop background work and release the store."""
        await self.expiry.close()
        await self.user_data.close()
        await self.tenants.close()
        await self.reembedding.close()
        await self.idempotency.close()
        await self.usage.close()
        await self.message_index.close()
        await self.agents.repository.close()
        await self.quotas.close()
        await self.lease.release()


async def open_core(store: Store, models: Models, settings: CoreSettings) -> Core:
    """Open a store, check that this version and one of the embedding models fit it, and put Memory together.

    Raises:
        FailedPrecondition: They do not fit, or another process holds the store.
        Unavailable: Milvus does not respond; retry.
    """
    await store.open([RECORDS])
    records = Records(store)
    lease = await StoreLease.take(records, exclusive=store.capabilities.exclusive)
    try:
        return await _assemble(store, records, models, lease, settings)
    except BaseException:
        await lease.release()
        raise


async def _assemble(store: Store, records: Records, models: Models, lease: StoreLease, settings: CoreSettings) -> Core:
    identity, embedder = await _identify(store, records, models)
    collection = passages(*identity.model, full_text=identity.full_text)
    await store.open([MESSAGES, collection])
    if identity.tokenizer != fulltext.VERSION:
        identity = await _reindex(store, records, identity, lease.lost)
    names, idempotency, journal, clock = Names(records), IdempotencyStore(records), Journal(records), lease.clock
    messages, indexed = Messages(store), Passages(store, EmbeddingIndex(embedder, collection))
    shared = SharedBlocks(records, names, idempotency, journal, partial(has_mark, records))
    quotas = Quotas(records, settings.limits, current=lease.released)
    agents = Agents(
        AgentRepository(records, messages, indexed, shared, clock, quotas),
        records,
        names,
        idempotency,
        journal,
        quotas,
        settings.lease_seconds,
    )
    notes, core_memory = AgentNotes(agents.repository), CoreMemory(agents.repository)
    usage = AgentUsage(agents, notes, records)
    block_attachments = BlockAttachments(agents, core_memory, records)
    sources = Sources(records, indexed, names, idempotency, journal, clock, quotas)
    quotas.read_amounts = partial(_read_amounts, usage, sources)
    message_index = MessageIndex(messages, indexed)
    recall = Recall(messages, indexed, message_index)
    core = Core(
        store=store,
        passages=indexed,
        token_key=bytes.fromhex(identity.token_key),
        agents=agents,
        notes=notes,
        core_memory=core_memory,
        usage=usage,
        turns=Turns(records, agents),
        edits=Edits(messages),
        attachments=SourceAttachments(agents, sources, clock),
        shared_blocks=shared,
        block_attachments=block_attachments,
        user_data=UserData(records, agents, shared, block_attachments),
        sources=sources,
        transfers=Transfers(agents, core_memory, sources, messages, indexed, clock, quotas, block_attachments),
        archive=Archive(indexed, sources, clock),
        recall=recall,
        message_index=message_index,
        forgetting=Forgetting(agents, notes, recall),
        expiry=Expiry(agents, notes, recall),
        profiles=Profiles(records),
        loads=LoadRecords(records, sources),
        quotas=quotas,
        search_slots=FairSemaphore(settings.searches),
        idempotency=idempotency,
        reembedding=Reembedding(records, indexed, models, identity, lease.lost),
        lease=lease,
        api_keys=ApiKeys(records, names),
        tenants=Tenants(records, agents, sources, journal, quotas),
        observe_search=settings.observe_search,
    )
    agents.on_purge.append(core.recall.forget)
    agents.before_read = core.expiry.hide
    names.check_tenant = core.tenants.check
    core.reembedding.on_switch += [core.archive.rankings.clear, core.recall.rankings.clear]
    await message_index.open()
    await _finish_deletions(agents, sources, shared, journal)
    await core.tenants.open()
    core.reembedding.resume()
    core.user_data.resume()
    core.expiry.start()
    idempotency.keep_tidy()
    quotas.save_regularly()
    return core


async def _identify(store: Store, records: Records, models: Models) -> tuple[Identity, Embedder]:
    """Return the store's identity, after migrations, and the configured model that it was made with."""
    identity = await Identity.read(records)
    if identity is None:
        embedder = await models.make(models.configured)
        # Call the model first: a wrong dimension must not be stored permanently.
        await embedder.embed(["memory"])
        identity = Identity.new(models.configured.name, full_text=store.capabilities.full_text)
        await identity.write(records)
        return identity, embedder
    former = identity

    async def note(layout: int) -> None:
        await former.migrated(layout).write(records)

    await migrate(store, former.layout, note)
    identity = former.migrated(SCHEMA_VERSION)
    return identity, await models.make(identity.choose(models))


async def _reindex(store: Store, records: Records, identity: Identity, lost: asyncio.Event) -> Identity:
    """Give all rows the words of this version's tokenizer; return the identity that says so.

    On a full disk, they keep their words until a later start: only a running Memory can delete anything.
    """
    if identity.full_text:
        try:
            for model in filter(None, (identity.model, identity.moving_to)):
                await reindex(store, passages(*model, full_text=True), message_index(*model, full_text=True), lost)
        except ResourceExhausted as error:
            _log.warning("reindexing_postponed", error=str(error))
            return identity
    identity = identity.reindexed()
    await identity.write(records)
    return identity


async def _finish_deletions(agents: Agents, sources: Sources, shared: SharedBlocks, journal: Journal) -> None:
    """Finish deletions and imports that the previous process left unfinished."""
    if not await journal.open():
        await agents.find_unfinished()
        await sources.find_unfinished()
        await journal.write()
    await agents.resume_deletions()
    await sources.resume_deletions()
    await shared.resume_deletions()


async def _read_amounts(usage: AgentUsage, sources: Sources, tenant: str) -> list[tuple[str, Amounts]]:
    """Return what every agent and source of a tenant uses, from their rows."""
    return [*await usage.amounts(tenant), *await sources.amounts(tenant)]
