"""The move of a store to another embedding model, while it is in use.

Passages are copied, with vectors of the other model, into a collection that is not read yet. The copy compares ids and
revisions of both collections, partition by partition, and embeds what differs; so it resumes where a crash left it.
What is written in the meantime is noted in memory and copied afterwards. At the end a write barrier holds writes back
while the last few changes are copied, and one write of the store's row switches to the other model (see `identity`).
Ids, revisions and counters stay the same. Then the former collection is dropped together with the index of messages,
which is built again with the other model as agents are searched.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar

import structlog
from memgpt_runtime import reasons
from memgpt_runtime.errors import (
    DeadlineExceeded,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)

from memgpt_memory.embedding import Embedder, ModelChoice, Models
from memgpt_memory.maintenance.identity import Identity, ModelName
from memgpt_memory.passages import Changes, EmbeddingIndex, Passages
from memgpt_memory.records import Records
from memgpt_memory.store.filters import EVERY_ROW
from memgpt_memory.store.layout import PARTITIONS, Collection, message_index, partition_name, passages
from memgpt_memory.store.rows import PassageRevision, PassageRow
from memgpt_memory.tasks import all_to_end, run_to_end

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")

BATCH = 128
"""Passages that are embedded and written at a time: the most that one call of an endpoint takes."""

_CHANGES = 4 * BATCH
"""Changed passages that are copied at a time: each read of them waits 0.2 s on a server."""

_REST = 0.25
"""Pause after each batch, as a fraction of the time that it took, so that other calls make progress."""

_RETRY_SECONDS = 300.0
"""Seconds for which a failing batch is retried before the move stops."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_PASSES = 4
"""Maximum number of comparisons of the collections: a busy store always has a passage that was just written."""

_FEW = 64
"""Maximum number of changes for which writes are held back until they are copied."""

_ROUNDS = 10
"""Batches after which fewer changes must be left; if not, writes come faster than they can be copied."""

_WAIT_SECONDS = 2.0
"""Longest wait for writes in progress, during which other writes wait, too."""

_BARRIER_SECONDS = 2.0
"""Longest time for which writes are held back to copy the last changes. If that does not suffice, they continue for
`_PAUSE_SECONDS` before the next attempt, so that writes are slowed to the pace of the copy."""

_PAUSE_SECONDS = 0.25


class ReembeddingState(Enum):
    """The state of a move."""

    COPYING = "copying"
    STOPPED = "stopped"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class ReembeddingProgress:
    """The progress of a move.

    Attributes:
        model: The model to move to.
        state: Whether it runs.
        copied: Passages that have vectors of that model.
        total: Approximate number of passages.
    """

    model: ModelName
    state: ReembeddingState
    copied: int = 0
    total: int = 0


class Reembedding:
    """Moves a store to another model: one move at a time, in the background, even if the caller goes away."""

    def __init__(
        self, records: Records, of_passages: Passages, models: Models, identity: Identity, lost: asyncio.Event
    ) -> None:
        """Do nothing yet; `resume` continues a move.

        Args:
            records: Where the store's row is.
            of_passages: The passages to move.
            models: The models that the configuration names.
            identity: The store's row.
            lost: Set when another process has taken the store.
        """
        self._records = records
        self._passages = of_passages
        self._models = models
        self._identity = identity
        self._lost = lost
        self._left: dict[ModelName, EmbeddingIndex] = {}
        self._progress: ReembeddingProgress | None = None
        self._changed = asyncio.Event()
        self._failure: ServiceError | None = None
        self._task: asyncio.Task[None] | None = None
        self._deciding = asyncio.Lock()
        self._cancelled = False
        self._closing = asyncio.Event()
        self.on_switch: list[Callable[[], None]] = []

    @property
    def progress(self) -> ReembeddingProgress | None:
        """The progress of the move; None if there is none."""
        if self._progress is None and self._identity.moving_to is not None:
            return ReembeddingProgress(self._identity.moving_to, ReembeddingState.STOPPED)
        return self._progress

    @property
    def unfinished(self) -> bool:
        """Whether there is a collection of passages besides the store's own."""
        return bool(self._identity.moving_to or self._identity.former)

    def resume(self) -> None:
        """Continue the move that a previous process began, if the configuration still asks for it."""
        target = self._models.target() if self._identity.moving_to is not None else None
        if target is not None and target.name == self._identity.moving_to:
            self._launch(target)
        elif self._identity.moving_to is not None:
            _log.warning("reembedding_paused", model=self._identity.moving_to[0])
        elif self._identity.former:
            self._task = asyncio.create_task(self._tidy_retrying())

    async def start(self, expected: str = "") -> None:
        """Start the move to the configured target, continue it, or join the one that runs.

        Args:
            expected: The model that the caller expects the target to be; empty for any.

        Raises:
            FailedPrecondition: No target is configured, another one is expected, or another move was begun.
            ServiceError: The target's endpoint does not return vectors of that model.
        """
        async with self._deciding:
            if self._running:
                self._expect(self._progress.model if self._progress else ("", 0), expected)
                return
            target = await asyncio.to_thread(self._models.target)
            if target is None:
                raise reasons.wrong_state(
                    "Memory's configuration names no model to move to; set memory.reembed, and for an endpoint "
                    "memory.reembed_model, memory.reembed_dimension and memory.reembed_base_url",
                    resource="configuration",
                    state="NO_TARGET",
                )
            self._expect(target.name, expected)
            if target.name == self._identity.model:
                self._report(ReembeddingProgress(target.name, ReembeddingState.DONE))
                return
            begun = self._identity.moving_to
            if begun is not None and begun != target.name:
                raise reasons.wrong_state(
                    f"a move to {begun[0]} ({begun[1]} dimensions) is unfinished, but the configuration names "
                    f"{target.model} ({target.dimension}); abandon the former with "
                    "`memgpt reembed --abandon`, or set memory.reembed to its model",
                    resource="store",
                    state="MOVING",
                )
            embedder = await self._models.make(target)
            await embedder.embed(["memory"])  # a wrong key, name or dimension fails before anything is changed
            await self._stop()
            await self._tidy()
            if begun is None:
                await self._become(self._identity.begun(target.name))
            self._launch(target, embedder)

    async def follow(self) -> AsyncIterator[ReembeddingProgress]:
        """Yield the progress of the move until it is done.

        Raises:
            ServiceError: The move has stopped; the error says why.
        """
        while self._progress is not None:
            changed, progress = self._changed, self._progress
            if progress.state is ReembeddingState.STOPPED:
                raise self._why_stopped(progress)
            yield progress
            if progress.state is ReembeddingState.DONE:
                return
            await changed.wait()
        raise reasons.wrong_state("the move was cancelled", resource="move", state="CANCELLED")

    async def cancel(self) -> bool:
        """Abandon the move: the model stays the same and the copy is dropped. Return whether there was one."""
        async with self._deciding:
            self._cancelled = True
            try:
                await self._stop()
                if self._identity.moving_to is None:
                    self.resume()
                    return False
                self._report(None)
                await self._become(self._identity.abandoned())
                self.resume()
                return True
            finally:
                self._cancelled = False

    async def close(self) -> None:
        """Stop the move; the next process continues it."""
        self._closing.set()
        await self._stop()

    @property
    def _running(self) -> bool:
        return self._task is not None and not self._task.done() and self._identity.moving_to is not None

    @staticmethod
    def _expect(name: ModelName, expected: str) -> None:
        if expected and expected != name[0]:
            raise reasons.wrong_state(
                f"Memory's configuration names {name[0]}, not {expected}; set memory.reembed and memory.reembed_model",
                resource="configuration",
                state="OTHER_TARGET",
            )

    def _report(self, progress: ReembeddingProgress | None) -> None:
        self._progress = progress
        self._changed.set()
        self._changed = asyncio.Event()

    def _count(self, copied: int, total: int = 0) -> None:
        progress = self._progress
        if progress is not None:
            copied = max(copied, progress.copied)
            self._report(replace(progress, copied=copied, total=max(total, progress.total, copied)))

    def _launch(self, target: ModelChoice, embedder: Embedder | None = None) -> None:
        self._failure = None
        self._report(ReembeddingProgress(target.name, ReembeddingState.COPYING))
        self._task = asyncio.create_task(self._run(target, embedder))

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def _why_stopped(self, progress: ReembeddingProgress) -> ServiceError:
        left = f"the move stopped after {progress.copied:,} passages; request it again to resume"
        failure = self._failure
        if failure is None:
            return reasons.wrong_state(left, resource="move", state="STOPPED")
        if isinstance(failure, DeadlineExceeded):  # the endpoint's deadline, not the caller's
            return reasons.embedding_unavailable(f"{failure.message}: {left}", model=progress.model[0])
        return failure.with_message(f"{failure.message}: {left}")

    async def _retrying(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Retry work with the delays that the endpoint asks for, as long as this process has the store.

        A retry library would need hooks for both, and would not be shorter.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + _RETRY_SECONDS
        pause = _FIRST_PAUSE
        while True:
            if self._lost.is_set():
                raise reasons.store_unavailable("another Memory process has taken over this store")
            try:
                return await work()
            except (Unavailable, ResourceExhausted, DeadlineExceeded) as error:
                wait = max(pause, error.retry_after or 0.0)
                if loop.time() + wait > end:
                    raise
                _log.info("reembedding_retried", error=str(error), seconds=wait)
                await asyncio.sleep(wait)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _run(self, target: ModelChoice, embedder: Embedder | None) -> None:
        _log.info("reembedding_started", model=target.model, dimension=target.dimension)
        try:
            await self._retrying(self._tidy)
            embedder = embedder or await self._models.make(target)
            index = EmbeddingIndex(embedder, self._collection(target.name))
            await self._move(index)
        except asyncio.CancelledError:
            self._stopped(None)
            raise
        except ServiceError as error:
            self._stopped(error)
            return
        except Exception:  # noqa: BLE001 - a bug: callers that follow the move must learn that it has stopped
            _log.exception("reembedding_crashed")
            self._stopped(None)
            return
        finally:
            self._passages.changes = None
        _log.info("reembedding_finished", model=target.model, dimension=target.dimension)
        await self._tidy_retrying()
        self._done()

    def _done(self) -> None:
        if self._progress is not None:
            self._report(replace(self._progress, state=ReembeddingState.DONE, copied=self._progress.total))

    def _stopped(self, error: ServiceError | None) -> None:
        if self._identity.moving_to is None:  # it was stopped after the switch
            self._done()
            return
        if error is not None:
            _log.warning("reembedding_stopped", error=str(error))
        self._failure = error
        if self._cancelled:
            self._report(None)
        elif self._progress is not None:
            self._report(replace(self._progress, state=ReembeddingState.STOPPED))

    async def _move(self, index: EmbeddingIndex) -> None:
        await self._retrying(lambda: self._passages.store.open([index.collection]))
        while True:
            changes = self._passages.changes = Changes()
            for _ in range(_PASSES):  # the last pass finds nothing left to copy
                if not await self._copy_all(index, changes):
                    break
            await self._catch_up(index, changes)
            while not changes.lost:
                if await self._switch(index, changes):
                    return
                await asyncio.sleep(_PAUSE_SECONDS)
                await self._retrying(lambda changes=changes: self._copy_changes(index, changes))  # type: ignore[misc]

    async def _copy_all(self, index: EmbeddingIndex, changes: Changes) -> bool:
        """Copy what differs between the collections; return whether anything did."""
        store, counts = self._passages.store, self._passages.collection
        differed = False
        done = 0
        total = await self._retrying(lambda: store.count(counts))
        at_a_time = store.capabilities.parallel_scans
        for first in range(0, PARTITIONS, at_a_time):
            names = [partition_name(slot) for slot in range(first, first + at_a_time)]
            revisions = await asyncio.gather(
                *(self._revisions(one, name) for one in (counts, index.collection) for name in names)
            )
            for name, there, copied in zip(names, revisions, revisions[at_a_time:], strict=False):
                changes.add(name, copied.keys() - there.keys())
                # Passages that have changed since the start are copied at the end.
                wanted = [
                    id_ for id_, stamp in there.items() if copied.get(id_) != stamp and not changes.among(name, id_)
                ]
                done += len(there) - len(wanted)
                differed = differed or bool(wanted)
                for start in range(0, len(wanted), BATCH):
                    self._count(done, total)
                    ids = wanted[start : start + BATCH]
                    await self._copy_batch(index, name, ids, changes)
                    done += len(ids)
        self._count(done, total)
        return differed

    async def _revisions(self, collection: Collection, partition: str) -> dict[str, int]:
        """Return the revisions of a partition's rows by their ids: the two together identify the content."""
        rows = await self._retrying(
            lambda: self._passages.store.query(
                collection, EVERY_ROW, PassageRevision, partitions=[partition], strong=True
            )
        )
        return {row.id: row.stamp for row in rows}

    async def _copy_batch(self, index: EmbeddingIndex, partition: str, ids: list[str], changes: Changes) -> None:
        """Copy passages in the background: retry, and rest afterwards."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        gone = await self._retrying(lambda: self._copy(index, partition, ids))
        changes.add(partition, gone)
        await asyncio.sleep(_REST * (loop.time() - began))

    async def _copy(self, index: EmbeddingIndex, partition: str, ids: list[str], *, strong: bool = False) -> list[str]:
        """Copy passages as they are now; return the ids of those that are gone."""
        store, counts = self._passages.store, self._passages.collection
        found, copied = await asyncio.gather(
            store.get(counts, ids, PassageRow, partitions=[partition], strong=strong),
            store.get(index.collection, ids, PassageRevision, partitions=[partition]),
        )
        rows = [row for id_, row in found.items() if id_ not in copied or copied[id_].stamp != row.stamp]
        if rows:
            vectors = await index.embedder.embed([row.text for row in rows])
            await self._passages.write_into(index, partition, rows, vectors)
        return [id_ for id_ in ids if id_ not in found]

    async def _catch_up(self, index: EmbeddingIndex, changes: Changes) -> None:
        """Copy what has changed in the meantime, until little is left or the rest no longer shrinks."""
        left = len(changes) + 1
        while _FEW < len(changes) < left:
            left = len(changes)
            for _ in range(_ROUNDS):
                await self._retrying(lambda: self._copy_changes(index, changes))

    async def _copy_changes(self, index: EmbeddingIndex, changes: Changes) -> None:
        """Copy a batch of changes; those that fail are kept for the next attempt."""

        async def copy(partition: str, ids: list[str]) -> None:
            try:
                gone = await self._copy(index, partition, ids, strong=True)
                await self._passages.store.delete(index.collection, gone, partition=partition, unread=True)
            except BaseException:
                changes.add(partition, ids)
                raise

        await all_to_end(*(copy(*batch) for batch in changes.take(_CHANGES).items()))

    async def _switch(self, index: EmbeddingIndex, changes: Changes) -> bool:
        """Copy the last changes while the write barrier holds, and switch; return whether that succeeded in time."""
        async with self._passages.write_barrier(_WAIT_SECONDS) as alone:
            if not alone:
                return False
            try:
                async with asyncio.timeout(_BARRIER_SECONDS):
                    while len(changes):
                        await self._copy_changes(index, changes)
            except (TimeoutError, ServiceError) as error:
                _log.info("reembedding_switch_postponed", error=str(error))
            if changes.lost or len(changes):
                return False
            await run_to_end(self._commit_switch(index))
            return True

    async def _commit_switch(self, index: EmbeddingIndex) -> None:
        former, switched = (
            self._identity.model,
            self._identity.switched((index.embedder.model, index.embedder.dimension)),
        )
        if self._lost.is_set():
            raise reasons.store_unavailable("another Memory process has taken over this store")
        while True:
            try:
                await switched.write(self._records)
                break
            except ServiceError as error:  # it may have taken effect: nothing may be written before that is known
                _log.warning("reembedding_switch_failed", error=str(error))
                try:
                    async with asyncio.timeout(_FIRST_PAUSE):
                        await self._closing.wait()
                except TimeoutError:
                    continue
                self._passages.closed = True
                raise
        self._identity = switched
        self._left[former] = self._passages.index
        self._passages.index = index
        for tell in self.on_switch:
            tell()

    async def _become(self, identity: Identity) -> None:
        await run_to_end(identity.write(self._records))
        self._identity = identity

    async def _tidy(self) -> None:
        """Drop the collections that are no longer needed, once they have no readers."""
        identity = self._identity
        for former in identity.former:
            if former not in (identity.model, identity.moving_to):
                collection = self._collection(former)
                index = self._left.pop(former, None)
                async with index.unused() if index else nullcontext():
                    await self._passages.store.drop(collection)
                    await self._passages.store.drop(message_index(*former, full_text=collection.full_text))
        if identity.former:
            await self._become(identity.tidied())

    async def _tidy_retrying(self) -> None:
        try:
            await self._retrying(self._tidy)
        except ServiceError as error:  # the next process tries again
            _log.warning("reembedding_cleanup_failed", error=str(error))

    def _collection(self, name: ModelName) -> Collection:
        return passages(*name, full_text=self._identity.full_text)
