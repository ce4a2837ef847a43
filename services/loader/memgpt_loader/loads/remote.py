"""Uploads, withdrawals and cancellations for loads that another Loader works on.

The two Loaders share only the record of the load. This Loader loads the file that was uploaded to it and adds the
result to the record, checking the etag; the other one, which holds the lease, merges the results that it finds there.
So any Loader accepts any upload, all of them work on a load, and no Loader needs the address of another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from copy import copy
from pathlib import Path

from memgpt_runtime.context import background, tenant
from memgpt_runtime.errors import Aborted, ServiceError
from memgpt_runtime.logs import get_logger
from memgpt_runtime.principal import Principal
from memgpt_runtime.retry import RetryPolicy
from structlog.contextvars import bound_contextvars

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.loads import plan, records, uploads
from memgpt_loader.loads.background import BackgroundTasks
from memgpt_loader.loads.leases import LoadLeases, read_record
from memgpt_loader.loads.pipeline import FileObserver, FilePipeline, Job
from memgpt_loader.loads.spool import Spool
from memgpt_loader.loads.spooled_file import SpooledFile
from memgpt_loader.loads.stats import LoadStats
from memgpt_loader.memory.port import Memory
from memgpt_loader.model import FileState, Load, LoadFile, StoredFile

_log = get_logger(__name__)

_REPORT_SECONDS = 60.0

_POLL_SECONDS = 2.0
"""Seconds between looks whether the load of a file was cancelled."""


class RemoteLoads:
    """Works for loads whose leases other Loaders hold."""

    def __init__(
        self,
        memory: Memory,
        leases: LoadLeases,
        pipeline: FilePipeline,
        spool: Spool,
        tasks: BackgroundTasks,
        stats: LoadStats,
        seconds_per_mib: float,
    ) -> None:
        self._memory = memory
        self._leases = leases
        self._pipeline = pipeline
        self._spool = spool
        self._tasks = tasks
        self._stats = stats
        self._seconds_per_mib = seconds_per_mib
        self._in_progress: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def upload(self, load_id: str, name: str, chunks: AsyncIterator[bytes]) -> LoadFile:
        """Receive a file's bytes and load the file.

        Returns when the result is in the record; until then no other process knows of the bytes.

        Raises:
            ServiceError: See `LoadRegistry.upload`.
        """
        load = await self._get(load_id)
        file = plan.get_file(load, name)
        if not plan.needs_upload(load, file):
            return file
        task = self._in_progress.get((load_id, name))
        if task is None:
            with await self._spool.reserve(file.manifest, tenant(), load_id) as spooled:
                await uploads.receive(chunks, spooled, self._seconds_per_mib, lambda: None)
                task = self._start(load, file, spooled)
        await asyncio.shield(task)
        return plan.get_file(await self._get(load_id), name)

    async def withdraw(self, load_id: str, name: str, why: str) -> LoadFile:
        """Fail a file that its owner cannot send.

        Raises:
            ServiceError: See `LoadRegistry.withdraw`.
        """
        load = await self._get(load_id)
        file = plan.get_file(load, name)
        if file.reason is not FailureReason.NOT_SENT and plan.needs_upload(load, file):
            file.state, file.reason, file.message = FileState.FAILED, FailureReason.NOT_SENT, why
            await self._report(load_id, file)
        return file

    async def request_cancel(self, load_id: str) -> None:
        """Ask the Loader that works on a load to cancel it."""

        def request(load: Load) -> None:
            load.cancel_requested = True

        await self._update(load_id, request)

    def _start(self, load: Load, file: LoadFile, spooled: SpooledFile) -> asyncio.Task[None]:
        key = (load.load_id, file.manifest.name)
        spooled.keep()
        task = self._in_progress[key] = self._tasks.start(self._load(load, file, spooled), f"file:{load.load_id}")

        def done(_: object) -> None:
            del self._in_progress[key]
            spooled.discard()  # also if the task is cancelled before it starts

        task.add_done_callback(done)
        return task

    async def _load(self, load: Load, file: LoadFile, spooled: SpooledFile) -> None:
        with (
            background("load", principal=Principal(load.tenant)),
            bound_contextvars(load_id=load.load_id, file=file.manifest.name),
        ):
            try:
                job = Job(load.load_id, load.source_id, file.manifest, await self._tags(load, file))
                stored = await self._load_unless_cancelled(job, spooled.path)
                if stored is None:
                    return
            except FileFailure as failure:
                _log.info("file_load_failed", reason=failure.reason, detail=failure.detail)
                file.state, file.reason = FileState.of(failure.reason), failure.reason
                file.message = failure.message
            else:
                file.state = FileState.UNCHANGED if stored.unchanged else FileState.LOADED
                file.documents, file.passages, file.notes = stored.documents, stored.passages, stored.notes
                self._stats.passages_stored += 0 if stored.unchanged else stored.passages
            self._stats.files_ended[file.state] += 1
            await self._report(load.load_id, file)

    async def _load_unless_cancelled(self, job: Job, path: Path) -> StoredFile | None:
        """Load a file, and return None if its load ends first; a file that is about to become visible still does."""
        cancellable = asyncio.Event()
        cancellable.set()
        observer = FileObserver(waiting=lambda _: cancellable.set(), finishing=cancellable.clear)
        work = asyncio.create_task(self._pipeline.load(job, path, observer))
        watch = asyncio.create_task(self._cancel_with_load(job.load_id, work, cancellable))
        try:
            await asyncio.wait({work})
        finally:
            work.cancel()
            watch.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)
        return None if work.cancelled() else work.result()

    async def _cancel_with_load(self, load_id: str, work: asyncio.Task[StoredFile], cancellable: asyncio.Event) -> None:
        """Cancel the work on a file once its load is cancelled or has ended."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            with suppress(ServiceError):
                load = await self._get(load_id)
                if load.cancel_requested or load.end_time is not None:
                    await cancellable.wait()
                    work.cancel()
                    return

    async def _tags(self, load: Load, file: LoadFile) -> tuple[str, ...]:
        if load.tags is not None:
            return load.tags
        stored = (await self._memory.visible_files(load.source_id)).get(file.manifest.name)
        return () if stored is None else stored.tags

    async def _get(self, load_id: str) -> Load:
        return self._leases.load_of(await self._leases.get_record(load_id))

    async def _report(self, load_id: str, result: LoadFile) -> None:
        def add(load: Load) -> None:
            load.results[result.manifest.name] = copy(result)

        await self._update(load_id, add)

    async def _update(self, load_id: str, change: Callable[[Load], None]) -> None:
        """Change the record of a load that has not ended; its lease stays as it is."""
        policy = RetryPolicy(seconds=_REPORT_SECONDS, retryable=(Aborted,), initial=0.02, maximum=1.0)
        async for attempt in policy.attempts():
            with attempt:
                record = await self._leases.get_record(load_id)
                load = read_record(record, tenant())
                if load.end_time is None:
                    load.lease_time = load.lease_time or record.update_time
                    change(load)
                    await self._memory.put_record(records.to_record(load, record.etag))
