"""The parts of Memory, put together over an opened store."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import structlog
from memgpt_runtime.errors import FailedPrecondition, Reason, ServiceError
from memgpt_runtime.ids import new_id

from memgpt_memory.agents import Agents
from memgpt_memory.archive import Archive
from memgpt_memory.clock import Clock, now
from memgpt_memory.commits import Commits
from memgpt_memory.edits import Edits
from memgpt_memory.embedding import Embedder, Models
from memgpt_memory.identity import Identity
from memgpt_memory.live import LEASE_SECONDS
from memgpt_memory.message_index import MessageIndex
from memgpt_memory.messages import Messages
from memgpt_memory.migrations import migrate
from memgpt_memory.model import Record
from memgpt_memory.names import Names
from memgpt_memory.passages import Passages, Space
from memgpt_memory.profiles import LoadRecords, Profiles
from memgpt_memory.recall import Recall
from memgpt_memory.records import Records
from memgpt_memory.reembedding import Reembedding
from memgpt_memory.requests import Requests
from memgpt_memory.sources import Sources
from memgpt_memory.store.layout import MESSAGES, RECORDS, SCHEMA_VERSION, passages
from memgpt_memory.store.milvus import Milvus
from memgpt_memory.transfer import Transfers
from memgpt_memory.turns import Turns

_log = structlog.get_logger(__name__)

BEAT_SECONDS = 3.0
"""How often the holder of a store says that it is alive."""

_WATCH_SECONDS = 2.5 * BEAT_SECONDS
_STAMP_MARGIN = 30_000_000
"""Microseconds by which a restart goes beyond the last stamp written down: more than pass between two beats."""


@dataclass(frozen=True, slots=True)
class Core:
    """Memory, ready to work."""

    store: Milvus
    passages: Passages
    token_key: bytes
    agents: Agents
    turns: Turns
    edits: Edits
    sources: Sources
    transfers: Transfers
    archive: Archive
    recall: Recall
    profiles: Profiles
    loads: LoadRecords
    requests: Requests
    reembedding: Reembedding
    holder: Holder

    @property
    def embedder(self) -> Embedder:
        """The embedding model that counts."""
        return self.passages.space.embedder

    async def close(self) -> None:
        """Ends what goes on in the background, and lets go of the store."""
        await self.reembedding.close()
        await self.requests.close()
        await self.agents.commits.close()
        await self.holder.release()


class Holder:
    """Holds a store for this process, and writes down how far its stamps have come.

    One process orders all writes of an owner, so a second one must not open the same store. A Lite file has a lock of
    its own; on a server a row with a beat tells that somebody is there.
    """

    def __init__(self, records: Records, clock: Clock, id_: str, *, lite: bool) -> None:
        """Begins to hold; use `take`."""
        self._records = records
        self._clock = clock
        self._id = id_
        self._lite = lite
        self._beats = 0
        self._written = 0
        self._task: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()

    @staticmethod
    async def take(records: Records, *, lite: bool) -> Holder:
        """Takes the store, and starts a clock behind every stamp that was given out.

        Raises:
            FailedPrecondition: Another process holds it.
        """
        record = await records.get("holder")
        body = json.loads(record.body) if record else {}
        if body.get("holder") and not lite:
            _log.info("waiting_for_former_holder", seconds=_WATCH_SECONDS)
            await asyncio.sleep(_WATCH_SECONDS)
            again = await records.get("holder")
            if again is not None and again.body != (record.body if record else ""):
                raise FailedPrecondition(
                    Reason.IN_USE,
                    "Another Memory process holds this store, and two would corrupt it: stop the other one, or "
                    "give this one "
                    "a database of its own (memory.uri).",
                )
        last = int(body.get("last_stamp", 0))
        clock = Clock(last + _STAMP_MARGIN if last else 0)
        holder = Holder(records, clock, new_id("memory"), lite=lite)
        await holder._beat()
        holder._task = asyncio.create_task(holder._keep_beating())
        return holder

    @property
    def clock(self) -> Clock:
        """The clock that goes on behind the former holder's."""
        return self._clock

    async def release(self) -> None:
        """Lets go, so that the next process need not wait."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if not self.lost.is_set():
            try:
                await self._write("")
            except ServiceError as error:
                _log.info("release_failed", error=str(error))

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if self._lite and self._clock.last == self._written:
                continue
            try:
                await self._beat()
            except ServiceError as error:
                _log.warning("beat_failed", error=str(error))

    async def _beat(self) -> None:
        if self._beats and not self._lite:
            record = await self._records.get("holder")
            if record is not None and json.loads(record.body)["holder"] not in ("", self._id):
                _log.critical("store_lost", holder=json.loads(record.body)["holder"])
                self.lost.set()
                return
        self._beats += 1
        await self._write(self._id)

    async def _write(self, holder: str) -> None:
        last = self._clock.last
        body = json.dumps({"holder": holder, "beat": self._beats, "last_stamp": last})
        await self._records.put(Record("holder", "store", "", "", now(), body))
        self._written = last


async def open_core(store: Milvus, models: Models, *, lease_seconds: float = LEASE_SECONDS) -> Core:
    """Opens a store, checks that this version and one of the embedding models fit it, and puts Memory together.

    Raises:
        FailedPrecondition: They do not fit, or another process holds the store.
        Unavailable: Milvus does not answer; call it again.
    """
    await store.open([RECORDS])
    records = Records(store)
    holder = await Holder.take(records, lite=store.lite)
    try:
        return await _assemble(store, records, models, holder, lease_seconds)
    except BaseException:
        await holder.release()
        raise


async def _assemble(store: Milvus, records: Records, models: Models, holder: Holder, lease_seconds: float) -> Core:
    identity = await Identity.read(records)
    if identity is not None:
        former = identity

        async def note(layout: int) -> None:
            await former.migrated(layout).write(records)

        await migrate(store, identity.layout, note)
        identity = identity.migrated(SCHEMA_VERSION)
    embedder = await models.make(identity.choose(models) if identity else models.configured)
    if identity is None:
        # A dimension that is not the model's must not be written down for good: ask the model first.
        await embedder.embed(["memory"])
        identity = Identity.new(models.configured.name, full_text=store.capabilities.full_text)
        await identity.write(records)
    collection = passages(*identity.model, full_text=identity.full_text)
    await store.open([MESSAGES, collection])
    clock = holder.clock
    names = Names(records)
    of_passages = Passages(store, Space(embedder, collection))
    messages = Messages(store)
    index = MessageIndex(messages, of_passages)
    await index.open()
    requests = Requests(records)
    commits = Commits(records, messages, of_passages, clock)
    agents = Agents(commits, records, names, requests, clock, lease_seconds)
    sources = Sources(records, of_passages, names, requests, clock)
    archive = Archive(of_passages, sources, clock)
    reembedding = Reembedding(records, of_passages, models, identity, holder.lost)
    recall = Recall(messages, of_passages, index)
    agents.on_purge.append(recall.forget)
    reembedding.on_switch += [archive.rankings.clear, recall.rankings.clear]
    await agents.resume_deletions()
    await sources.resume_deletions()
    await requests.forget_old()
    reembedding.resume()
    requests.keep_tidy()
    return Core(
        store=store,
        passages=of_passages,
        token_key=bytes.fromhex(identity.token_key),
        agents=agents,
        turns=Turns(records, agents),
        edits=Edits(messages),
        sources=sources,
        transfers=Transfers(agents, sources, messages, of_passages, clock),
        archive=archive,
        recall=recall,
        profiles=Profiles(records),
        loads=LoadRecords(records),
        requests=requests,
        reembedding=reembedding,
        holder=holder,
    )
