"""All loads that this process works on, and the operations on loads."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from memgpt_runtime import clock, reasons
from memgpt_runtime.context import principal, tenant
from memgpt_runtime.errors import Aborted, FailedPrecondition, NotFound, Reason, ServiceError, Unavailable
from memgpt_runtime.ids import new_id
from memgpt_runtime.logs import get_logger

from memgpt_loader.failures import FailureReason
from memgpt_loader.loads import plan, uploads
from memgpt_loader.loads.background import BackgroundTasks
from memgpt_loader.loads.events import LoadEnded, LoadEvent
from memgpt_loader.loads.keyed_lock import KeyedLock
from memgpt_loader.loads.leases import LEASE_SECONDS, RENEW_SECONDS, LoadLeases, load_elsewhere, load_not_found
from memgpt_loader.loads.lifecycle import LoadLifecycle
from memgpt_loader.loads.live_load import LiveLoad
from memgpt_loader.loads.pipeline import FilePipeline
from memgpt_loader.loads.processing import FileProcessor
from memgpt_loader.loads.remote import RemoteLoads
from memgpt_loader.loads.spool import Spool
from memgpt_loader.loads.stats import LoadStats
from memgpt_loader.memory.port import Memory
from memgpt_loader.model import FileState, Load, LoadFile, LoadRecord, LoadState, Manifest, SourceRef, StoredFile
from memgpt_loader.parsing.pool import ParserPool

_log = get_logger(__name__)

_ENDED_LOADS_KEPT = 100
"""Ended loads that are still served without reading their records."""

_UPKEEP_SECONDS = 2.0
"""Seconds between renewals of leases and searches for unused loads."""

_POLL_SECONDS = 1.0
"""Seconds between reads of the record of a load that is watched here but runs on another Loader."""

_CLOSE_SECONDS = 5.0

# More events in a millisecond than a load can have: numbers given after a takeover exceed all those given before.
_SEQUENCES_PER_MILLISECOND = 1000


@dataclass(frozen=True)
class LoadLimits:
    """Limits of loads and uploads."""

    max_file_bytes: int
    """Maximum bytes of a file."""
    seconds_per_mib: float
    """Maximum time of an upload per MiB or part of one, so that a slow upload does not hold its room indefinitely."""
    idle_seconds: float
    """Time without an upload after which a load that waits for files is cancelled."""


class LoadRegistry:
    """The operations on loads.

    Attributes:
        stats: Counters for metrics.
    """

    def __init__(
        self, memory: Memory, pool: ParserPool, pipeline: FilePipeline, spool: Spool, limits: LoadLimits
    ) -> None:
        self._memory = memory
        self._pool = pool
        self._chunker_version = pipeline.chunker_version
        self._spool = spool
        self._limits = limits
        self.stats = LoadStats()
        self._leases = LoadLeases(memory, spool)
        self._live: OrderedDict[str, LiveLoad] = OrderedDict()
        self._locks = KeyedLock()
        self._stopping = asyncio.Event()
        self._tasks = BackgroundTasks()
        self._lifecycle = LoadLifecycle(memory, self._leases, self._tasks, self.stats, self._forget)
        self._processor = FileProcessor(pipeline, self._lifecycle, self._tasks, self.stats)
        self._remote = RemoteLoads(
            memory, self._leases, pipeline, spool, self._tasks, self.stats, limits.seconds_per_mib
        )
        self._tasks.start(self._maintain(), "loads:maintenance")

    async def create(
        self,
        request_id: str,
        ref: SourceRef,
        manifests: Sequence[Manifest],
        *,
        sync: bool = False,
        tags: tuple[str, ...] | None = None,
    ) -> Load:
        """Create a load, or return the one that the same request created.

        Args:
            request_id: Makes the call repeatable; may be empty.
            ref: The source.
            manifests: The files.
            sync: Whether the source's other files are removed at the end.
            tags: Labels of the files; None if each keeps those it has.

        Raises:
            ServiceError: Duplicate file name, `request_id` reused, unknown source, or Memory fails.
        """
        files = plan.files_by_name(manifests)
        digest = plan.request_digest(ref, manifests, sync=sync, tags=tags)
        load = Load(
            load_id=new_id("load"),
            tenant=tenant(),
            source_id="",
            source_name="",
            request_id=request_id,
            digest=digest,
            files=files,
            create_time=clock.now(),
            sync=sync,
            tags=tags,
        )
        if not request_id:
            return await self._create(load, ref)
        async with self._locks.hold(f"request {tenant()} {request_id}"):
            record = await self._memory.find_record_of_request(request_id)
            return await self._create(load, ref) if record is None else await self._created_before(record, digest)

    async def get(self, load_id: str) -> Load:
        """Return a load, whichever Loader works on it.

        Raises:
            NotFound: Unknown load, or another tenant's.
        """
        live = await self._find_here(load_id)
        if live is not None:
            return live.load
        return self._leases.load_of(await self._leases.get_record(load_id))

    async def list(self, source_id: str, page_size: int, page_token: str) -> tuple[list[Load], str]:
        """Return a page of loads, the latest first, and the token of the next page; unreadable records are left out."""
        page, token = await self._memory.list_records(source_id, page_size, page_token)
        return [load for record in page if (load := self._newest(record))], token

    def _newest(self, record: LoadRecord) -> Load | None:
        live = self._live.get(record.load_id)
        if live is None:
            try:
                return self._leases.load_of(record)
            except FailedPrecondition as error:  # of a later version, say
                _log.warning("load_record_unreadable", load_id=record.load_id, error=str(error.__cause__))
                return None
        live.load.source_name = record.source_name or live.load.source_name
        return live.load

    async def upload(self, load_id: str, name: str, chunks: AsyncIterator[bytes]) -> LoadFile:
        """Receive a file's bytes, and start working on it.

        Args:
            load_id: The load.
            name: Name of the file in the manifest.
            chunks: Its bytes.

        Returns:
            The file as it is now. A file that was uploaded before is left alone.

        Raises:
            ServiceError: The load or file is unknown, the file is not needed or differs from the manifest, the disk is
            full, or the upload is too slow.
        """
        live = await self._find_live(load_id)
        if live is None:
            file = await self._remote.upload(load_id, name, chunks)
            await self._find_live(load_id)  # takes the load over if its Loader has released it in the meantime
            return file
        file = plan.get_file(live.load, name)
        if not live.needs_upload(file):
            return file
        with live.uploading(), await self._spool.reserve(file.manifest, tenant(), load_id) as spooled:
            # In the meantime, the file may have been cancelled, or uploaded by another call: look again.
            if live.needs_upload(file):
                await uploads.receive(chunks, spooled, self._limits.seconds_per_mib, live.touch)
            if live.lost:
                raise load_elsewhere(load_id)
            if live.needs_upload(file):
                self._processor.load(live, file, spooled)
        return file

    async def withdraw(self, load_id: str, name: str, why: str) -> LoadFile:
        """Fail a file that cannot be sent; the load goes on without it.

        Args:
            load_id: The load.
            name: Name of the file in the manifest.
            why: The reason, for people.

        Returns:
            The file as it is now. A file that was uploaded before is left alone.

        Raises:
            ServiceError: Unknown load or file, or the file is not wanted.
        """
        live = await self._find_live(load_id)
        if live is None:
            file = await self._remote.withdraw(load_id, name, why)
            await self._find_live(load_id)
            return file
        file = plan.get_file(live.load, name)
        if file.reason is not FailureReason.NOT_SENT and live.needs_upload(file):
            await self._processor.withdraw(live, file, why)
        return file

    async def watch(self, load_id: str, after: int) -> AsyncGenerator[LoadEvent]:
        """Yield the events of a load until it ends; see `LiveLoad.watch`. Takes over a load that no Loader works on."""
        async with aclosing(self._watch_elsewhere(load_id, after)) as events:
            async for event in events:
                after = event.sequence
                yield event
                if isinstance(event, LoadEnded):
                    return
        live = await self._get_live(load_id)
        async with aclosing(live.watch(after)) as events:
            async for event in events:
                yield event

    async def cancel(self, load_id: str) -> Load:
        """Cancel a load; one that has ended is left alone."""
        live = await self._find_live(load_id)
        if live is None:
            await self._remote.request_cancel(load_id)
        while live is None:
            await asyncio.sleep(_POLL_SECONDS)
            live = await self._find_live(load_id)
        await self._tasks.finish(self._lifecycle.cancel(live), f"cancel:{load_id}")
        return live.load

    def stop_watches(self) -> None:
        """End all watches, so that they do not delay the shutdown."""
        self._stopping.set()
        for live in self._live.values():
            live.stop_watches(_shutting_down())

    async def close(self) -> None:
        """Stop all work, and release the loads so that other Loaders can take them over."""
        await self._tasks.cancel()
        running = [live for live in self._live.values() if live.load.end_time is None]
        with suppress(TimeoutError):  # if Memory is gone already, the leases expire
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.gather(*(self._lifecycle.save(live, release=True) for live in running))

    async def _create(self, load: Load, ref: SourceRef) -> Load:
        load.source_id, load.source_name = await self._memory.get_or_create_source(ref)
        relabel = self._reconcile(load, await self._memory.visible_files(load.source_id))
        live = LiveLoad(load)
        live.number_files()
        self.stats.files_ended.update(file.state for file in load.files.values() if file.state.ended)
        if live.complete:
            await self._lifecycle.remove_other_files(load)
            live.end(LoadState.COMPLETED)
            live.announce_end()
        await self._leases.save(live)
        self._remember(live)
        self._prestart_parsers(live)
        self._processor.relabel(live, relabel)
        _log.info("load_created", load_id=load.load_id, source_id=load.source_id, files=len(load.files))
        return load

    async def _created_before(self, record: LoadRecord, digest: str) -> Load:
        load = self._leases.load_of(record)
        if load.digest != digest:
            raise reasons.request_id_reused(
                "this request_id was used for a different load; use a new one for a new load"
            )
        if record.load_id not in self._live and load.state is LoadState.RUNNING:
            return load  # another Loader works on it
        live = await self._open(record)
        self._prestart_parsers(live)
        return live.load

    async def _watch_elsewhere(self, load_id: str, after: int) -> AsyncGenerator[LoadEvent]:
        """Yield the events that another Loader saves while it holds the lease of a load."""
        while await self._find_here(load_id) is None:
            load = self._leases.load_of(await self._leases.get_record(load_id))
            if load.state is LoadState.INTERRUPTED:
                return
            for event in LiveLoad(load).changes(after):
                after = event.sequence
                yield event
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _POLL_SECONDS)
                raise _shutting_down()

    async def _get_live(self, load_id: str) -> LiveLoad:
        live = await self._find_here(load_id)
        return live if live is not None else await self._open(await self._leases.get_record(load_id))

    async def _find_here(self, load_id: str) -> LiveLoad | None:
        """Return a load that this process works on; None if it works on none with this id.

        Raises:
            NotFound: The caller may not see it.
        """
        live, caller = self._live.get(load_id), principal()
        if live is None or (live.load.tenant == caller.tenant and caller.may_use_source(live.load.source_id)):
            return live
        await self._leases.get_record(load_id)  # it must take as long, and fail in the same ways, as for an unknown id
        raise load_not_found(load_id)

    async def _find_live(self, load_id: str) -> LiveLoad | None:
        """Return a live load; None while another Loader works on it."""
        try:
            return await self._get_live(load_id)
        except Unavailable as error:
            if error.reason != Reason.LOAD_HELD_ELSEWHERE:
                raise
            return None

    async def _open(self, record: LoadRecord) -> LiveLoad:
        """Return the live load of a record; one that no Loader works on is taken over.

        Raises:
            Unavailable: Another Loader works on it.
        """
        async with self._locks.hold(f"load {record.load_id}"):
            if (live := self._live.get(record.load_id)) is not None:
                return live
            live = self._leases.take(record)
            if live.load.end_time is None:
                await self._take_over(live)
            if not live.lost:
                self._remember(live)
            return live

    async def _take_over(self, live: LiveLoad) -> None:
        load = live.load
        age = clock.now() - load.create_time
        load.state = LoadState.RUNNING
        load.sequence = max(load.sequence, int(age.total_seconds() * 1000) * _SEQUENCES_PER_MILLISECOND)
        live.merge(load)
        relabel: Mapping[str, StoredFile] = {}
        end_state = LoadState.COMPLETED
        try:
            stored = await self._memory.visible_files(load.source_id)
        except NotFound:
            end_state = LoadState.CANCELLED
            for name, file in load.files.items():
                if not file.state.ended:
                    live.set_state(name, FileState.CANCELLED)
        else:
            relabel = self._restart_files(live, stored)
            try:
                await self._leases.save(live)
            except Aborted as error:
                raise load_elsewhere(load.load_id) from error
        _log.info("load_taken_over", load_id=load.load_id)
        self._processor.relabel(live, relabel)
        if load.cancel_requested:
            await self._lifecycle.cancel(live)
        elif live.complete:
            async with live.lock:
                await self._lifecycle.end(live, end_state)

    def _restart_files(self, live: LiveLoad, stored: Mapping[str, StoredFile]) -> Mapping[str, StoredFile]:
        """Request files again whose bytes were lost with the previous process."""
        load = live.load
        before = {name: file.state for name, file in load.files.items()}
        for file in load.files.values():
            if not file.state.ended:
                file.state = FileState.AWAITING_UPLOAD
        relabel = self._reconcile(load, stored, FileState.LOADED)
        for name, file in load.files.items():
            # A file may have been uploaded after the last save: watchers must learn that it is needed again.
            if file.state is not before[name] or file.state is FileState.AWAITING_UPLOAD:
                live.set_state(name, file.state, reason=file.reason, message=file.message)
        return relabel

    def _reconcile(
        self, load: Load, stored: Mapping[str, StoredFile], present: FileState = FileState.UNCHANGED
    ) -> dict[str, StoredFile]:
        return plan.reconcile(load, stored, self._chunker_version, self._limits.max_file_bytes, present)

    def _remember(self, live: LiveLoad) -> None:
        self._live[live.load.load_id] = live
        if self._stopping.is_set():
            live.stop_watches(_shutting_down())
        self._live.move_to_end(live.load.load_id)
        self._trim_ended()

    def _trim_ended(self) -> None:
        ended = [load_id for load_id, each in self._live.items() if each.ended]
        for load_id in ended[: max(0, len(ended) - _ENDED_LOADS_KEPT)]:
            del self._live[load_id]

    def _forget(self, live: LiveLoad) -> None:
        self._live.pop(live.load.load_id, None)

    def _prestart_parsers(self, live: LiveLoad) -> None:
        self._pool.prestart(sum(not file.state.ended for file in live.load.files.values()))

    async def _maintain(self) -> None:
        """Renew leases, release unused loads, cancel abandoned ones."""
        while True:
            await asyncio.sleep(min(_UPKEEP_SECONDS, self._limits.idle_seconds))
            self._trim_ended()
            for live in list(self._live.values()):
                try:
                    await self._keep_up(live)
                except Exception:  # noqa: BLE001 - a bug or a failure of one load must not end the upkeep of the others
                    _log.exception("load_maintenance_failed", load_id=live.load.load_id)

    async def _keep_up(self, live: LiveLoad) -> None:
        if live.load.end_time is not None or live.lock.locked():
            return  # a save is in progress, and may take minutes: the other loads must not wait for it
        if live.idle_seconds > self._limits.idle_seconds:
            _log.warning("load_abandoned", load_id=live.load.load_id)
            with suppress(ServiceError):
                await self._lifecycle.cancel(live)
        elif live.unused_seconds > LEASE_SECONDS:
            await self._lifecycle.release(live)
        elif time.monotonic() - live.saved_at > RENEW_SECONDS:
            await self._lifecycle.save(live)
        else:
            await self._lifecycle.merge_results(live)


def _shutting_down() -> Unavailable:
    return reasons.shutting_down("the Loader is shutting down; watch again with the last sequence number received")
