"""Processing of the files of live loads: each file has its own task, whose outcome becomes the file's state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from memgpt_runtime import tracing
from memgpt_runtime.context import background
from memgpt_runtime.logs import get_logger
from memgpt_runtime.principal import Principal
from memgpt_runtime.reloading_channel import is_cancelled
from structlog.contextvars import bound_contextvars

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.loads.background import BackgroundTasks
from memgpt_loader.loads.lifecycle import LoadLifecycle
from memgpt_loader.loads.live_load import LiveLoad
from memgpt_loader.loads.pipeline import FileObserver, FilePipeline, Job
from memgpt_loader.loads.spooled_file import SpooledFile
from memgpt_loader.loads.stats import LoadStats
from memgpt_loader.model import FileState, LoadFile, StoredFile, Wait

_log = get_logger(__name__)

_CONCURRENT_RELABELS = 8


class FileProcessor:
    """Loads uploaded files and relabels stored ones."""

    def __init__(
        self, pipeline: FilePipeline, lifecycle: LoadLifecycle, tasks: BackgroundTasks, stats: LoadStats
    ) -> None:
        self._pipeline = pipeline
        self._lifecycle = lifecycle
        self._tasks = tasks
        self._stats = stats
        self._relabels = asyncio.Semaphore(_CONCURRENT_RELABELS)

    def load(self, live: LiveLoad, file: LoadFile, spooled: SpooledFile) -> None:
        """Start loading an uploaded file; it is discarded from the spool afterwards."""
        spooled.keep()
        task = self._start(live, file, partial(self._load, live, file, spooled))
        task.add_done_callback(lambda _: spooled.discard())  # also if the task is cancelled before it starts

    def relabel(self, live: LiveLoad, stored: Mapping[str, StoredFile]) -> None:
        """Start changing the labels of stored files."""
        for name, held in stored.items():
            file = live.load.files[name]
            self._start(live, file, partial(self._relabel, live, file, held))

    async def withdraw(self, live: LiveLoad, file: LoadFile, why: str) -> None:
        """Fail a file that the client cannot send."""
        live.set_state(file.manifest.name, FileState.FAILED, reason=FailureReason.NOT_SENT, message=why)
        self._stats.files_ended[file.state] += 1
        await self._tasks.finish(self._settle(live), f"withdraw:{live.load.load_id}")

    def _start(self, live: LiveLoad, file: LoadFile, work: Callable[[], Awaitable[StoredFile]]) -> asyncio.Task[None]:
        name = file.manifest.name
        live.set_state(name, FileState.PROCESSING)
        live.cancellable.add(name)
        task = self._tasks.start(self._process(live, file, work), f"file:{live.load.load_id}")
        live.tasks[name] = task
        task.add_done_callback(lambda _: live.tasks.pop(name, None))
        return task

    async def _load(self, live: LiveLoad, file: LoadFile, spooled: SpooledFile) -> StoredFile:
        name = file.manifest.name
        try:
            return await self._pipeline.load(
                self._job(live, file),
                spooled.path,
                FileObserver(
                    progress=lambda documents, passages: live.set_progress(
                        name, documents=documents, passages=passages
                    ),
                    waiting=partial(self._wait, live, name),
                    finishing=lambda: live.cancellable.discard(name),
                ),
            )
        finally:
            spooled.discard()

    @staticmethod
    def _wait(live: LiveLoad, name: str, wait: Wait) -> None:
        """Note that a file waits for its next attempt. While it waits, it can be cancelled."""
        live.set_wait(name, wait)
        live.cancellable.add(name)
        if live.cancelling or live.lost:
            live.tasks[name].cancel()

    async def _relabel(self, live: LiveLoad, file: LoadFile, held: StoredFile) -> StoredFile:
        async with self._relabels:
            return await self._pipeline.relabel(self._job(live, file), held.media_type)

    async def _process(self, live: LiveLoad, file: LoadFile, work: Callable[[], Awaitable[StoredFile]]) -> None:
        name, began = file.manifest.name, time.perf_counter()
        with (
            background("load", principal=Principal(live.load.tenant)),
            bound_contextvars(load_id=live.load.load_id, file=name),
            tracing.span("load_file", {"memgpt.load.id": live.load.load_id}) as span,
        ):
            span.set_contents(lambda: {"memgpt.file.name": name})
            try:
                stored = await work()
            except FileFailure as failure:
                _log.info("file_load_failed", reason=failure.reason, detail=failure.detail)
                live.set_progress(name, documents=0, passages=0)
                live.set_state(name, FileState.of(failure.reason), reason=failure.reason, message=failure.message)
            except (Exception, asyncio.CancelledError) as error:  # a bug fails its own file only
                if is_cancelled(error):
                    raise
                _log.exception("file_processing_crashed")
                message = "internal error: the Loader failed on this file; its log has the details"
                live.set_state(name, FileState.FAILED, reason=FailureReason.INTERNAL, message=message)
            else:
                live.set_progress(name, documents=stored.documents, passages=stored.passages)
                file.notes = stored.notes
                live.set_state(name, FileState.UNCHANGED if stored.unchanged else FileState.LOADED)
                self._stats.passages_stored += 0 if stored.unchanged else stored.passages
            finally:
                live.cancellable.discard(name)
                live.tasks.pop(name, None)
            span.set({"memgpt.file.state": file.state.lower(), "memgpt.file.passages": file.passages})
            if file.state is FileState.FAILED:
                span.fail(str(file.reason).lower())
            self._stats.files_ended[file.state] += 1
            self._stats.observe_file(file.state, time.perf_counter() - began)
            await self._lifecycle.settle(live)

    async def _settle(self, live: LiveLoad) -> None:
        with background("withdraw", principal=Principal(live.load.tenant)):
            await self._lifecycle.settle(live)

    @staticmethod
    def _job(live: LiveLoad, file: LoadFile) -> Job:
        return Job(live.load.load_id, live.load.source_id, file.manifest, file.tags, live.rate_limit)
