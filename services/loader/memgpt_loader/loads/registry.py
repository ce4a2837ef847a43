"""The life of loads: created from a manifest, fed by uploads, watched by anybody, remembered by Memory."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from memgpt_runtime.context import Principal, background, tenant
from memgpt_runtime.errors import (
    Aborted,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Reason,
    ServiceError,
    Unavailable,
)
from memgpt_runtime.ids import new_id
from memgpt_runtime.logs import get_logger

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.loads import plan
from memgpt_loader.loads.leases import HELD_SECONDS, RENEW_SECONDS, Holds, no_load
from memgpt_loader.loads.live import FileChanged, LiveLoad, LoadEnded
from memgpt_loader.loads.pipeline import Job, Pipeline
from memgpt_loader.loads.spool import Spool, SpooledFile
from memgpt_loader.memory.port import Memory
from memgpt_loader.model import (
    FileState,
    Load,
    LoadFile,
    LoadRecord,
    LoadState,
    Manifest,
    SourceRef,
    StoredFile,
)
from memgpt_loader.parsing.pool import ParserPool

_log = get_logger(__name__)

_ENDED_LOADS_KEPT = 100
"""Loads that have ended and are still answered without asking Memory."""

_REMEMBER_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
_TURN_SECONDS = 2.0
"""How often loads are looked after."""

_LOOK_SECONDS = 1.0
"""How often a load is read that another Loader works on, while it is followed here."""

_BYTES_A_TIME = 1024 * 1024
"""For so many bytes an upload gets its time once more."""

_CLOSE_SECONDS = 5.0
_LABELLED_AT_A_TIME = 8

_SAVE_SECONDS = 1.0
"""How much later than a file's end the load is remembered with it: files that end within that time share a write."""

# More events in a millisecond than a load can make: numbers given after a restart are above all those given before.
_SEQUENCES_A_MILLISECOND = 1000


@dataclass(frozen=True)
class LoadLimits:
    """Bounds of loads."""

    max_file_bytes: int
    """Bytes of a file."""
    chunk_seconds: float
    """How long an upload may take to send the next `_BYTES_A_TIME`, or what is left; else its room would be held for
    ever by one that stalls, or drips."""
    idle_seconds: float
    """After this time without an upload, a load that waits for files is cancelled."""


class Loads:
    """All loads that this process knows of.

    Attributes:
        files_ended: Files that have ended here, by their states.
        passages_stored: Passages of those that were loaded here.
    """

    def __init__(self, memory: Memory, pool: ParserPool, pipeline: Pipeline, spool: Spool, limits: LoadLimits) -> None:
        self._memory = memory
        self._pool = pool
        self._pipeline = pipeline
        self._spool = spool
        self._holds = Holds(memory, spool)
        self._limits = limits
        self._live: OrderedDict[str, LiveLoad] = OrderedDict()
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.files_ended: Counter[FileState] = Counter()
        self.passages_stored = 0
        self._leaving = asyncio.Event()
        self._labelling = asyncio.Semaphore(_LABELLED_AT_A_TIME)
        self._keeper = asyncio.create_task(self._keep_hold(), name="loads:keep")

    async def create(
        self,
        request_id: str,
        ref: SourceRef,
        manifests: Sequence[Manifest],
        *,
        sync: bool = False,
        tags: tuple[str, ...] | None = None,
    ) -> Load:
        """Creates a load, or finds the one that the same request created.

        Args:
            request_id: Makes the call repeatable; may be empty.
            ref: The source.
            manifests: The files.
            sync: Whether the source's other files are dropped when these have ended.
            tags: Labels of the files; None when each keeps those that it has.

        Raises:
            ServiceError: A name occurs twice, another body under this `request_id`, no such source, Memory fails.
        """
        files = plan.unique(manifests)
        digest = plan.digest(ref, manifests, sync=sync, tags=tags)
        async with self._locked(f"request {tenant()} {request_id}" if request_id else ""):
            record = await self._memory.record_of_request(request_id) if request_id else None
            if record is not None:
                load = self._holds.load_of(record)
                if load.digest != digest:
                    raise InvalidArgument(
                        Reason.REQUEST_ID_REUSED,
                        "this request_id has created another load; make a new one for a new load",
                        field="request_id",
                    )
                if record.load_id not in self._live and load.state is LoadState.RUNNING:
                    return load  # another Loader works on it
                live = await self._live_of(record)
                self._warm(live)
                return live.load
            source_id, source_name = await self._memory.source(ref)
            load = Load(
                load_id=new_id("load"),
                tenant=tenant(),
                source_id=source_id,
                source_name=source_name,
                request_id=request_id,
                digest=digest,
                files=files,
                create_time=dt.datetime.now(dt.UTC),
                sync=sync,
                tags=tags,
            )
            labelled = self._judge(load, await self._memory.visible_files(source_id))
            live = LiveLoad(load)
            live.number_files()
            self.files_ended.update(file.state for file in load.files.values() if file.state.ended)
            if live.complete:
                await self._remove_others(load)
                live.end(LoadState.COMPLETED)
                live.announce()
            await self._holds.put(live)
            self._keep(live)
            self._warm(live)
            self._label(live, labelled)
            _log.info("load created", load_id=load.load_id, source_id=source_id, files=len(files))
            return load

    async def get(self, load_id: str) -> Load:
        """Reads a load, wherever it is worked on.

        Raises:
            NotFound: There is none, or it is another tenant's.
        """
        if load_id in self._live:
            return (await self._find(load_id)).load
        return self._holds.load_of(await self._holds.find(load_id))

    async def list_loads(self, source_id: str, page_size: int, page_token: str) -> tuple[list[Load], str]:
        """A page of loads, the latest first, and the token of the next page."""
        page, token = await self._memory.records(source_id, page_size, page_token)
        live = self._live
        loads = [live[each.load_id].load if each.load_id in live else self._holds.load_of(each) for each in page]
        return loads, token

    async def upload(self, load_id: str, name: str, chunks: AsyncIterator[bytes]) -> LoadFile:
        """Takes a file's bytes, and begins to work on it.

        Args:
            load_id: The load.
            name: The file, as in the manifest.
            chunks: Its bytes.

        Returns:
            The file as it is; one whose bytes are here already is left alone.

        Raises:
            ServiceError: No such load or file, not wanted, other bytes than the manifest says, no room.
        """
        live = await self._find(load_id)
        file = plan.file_of(live, name)
        if not plan.wanted(live, file):
            return file
        live.uploads += 1
        try:
            spooled = await self._spool.reserve(file.manifest, load_id)
            try:
                # It may be cancelled, or uploaded by another, meanwhile.
                if plan.wanted(live, file):
                    await self._receive(live, spooled, chunks)
                if live.lost:
                    raise self._holds.lost(live)
                if not plan.wanted(live, file):
                    spooled.discard()
                    return file
            except BaseException:
                spooled.discard()
                raise
            task = self._work_on(live, file, partial(self._stored, live, file, spooled))
            task.add_done_callback(lambda _: spooled.discard())  # it may be cancelled before it begins
        finally:
            live.uploads -= 1
            live.touch()
        return file

    async def withdraw(self, load_id: str, name: str, why: str) -> LoadFile:
        """Gives a file up that cannot be sent; the load goes on without it.

        Args:
            load_id: The load.
            name: The file, as in the manifest.
            why: For people.

        Returns:
            The file as it is; one whose bytes are here already is left alone.

        Raises:
            ServiceError: No such load or file, not wanted.
        """
        live = await self._find(load_id)
        file = plan.file_of(live, name)
        if file.reason is not FailureReason.NOT_SENT and plan.wanted(live, file):
            live.move(name, FileState.FAILED, reason=FailureReason.NOT_SENT, message=why)
            self.files_ended[file.state] += 1
            # Its caller may go away half-way.
            await asyncio.shield(self._spawn(self._withdrawn(live), f"withdraw:{load_id}"))
        return file

    async def watch(self, load_id: str, after: int) -> AsyncGenerator[FileChanged | LoadEnded]:
        """Yields what happens in a load until it ends; see `LiveLoad.follow`. Takes up one that nobody has hold of."""
        async with aclosing(self._elsewhere(load_id, after)) as events:
            async for event in events:
                after = event.sequence
                yield event
                if isinstance(event, LoadEnded):
                    return
        live = await self._find(load_id)
        async with aclosing(live.follow(after)) as events:
            async for event in events:
                yield event

    async def cancel(self, load_id: str) -> Load:
        """Cancels a load; one that has ended stays as it is."""
        live = await self._find(load_id)
        # Its caller may go away half-way.
        await asyncio.shield(self._spawn(self._cancel(live), f"cancel:{load_id}"))
        return live.load

    def leave(self) -> None:
        """Sends followers away, so that they do not hold up the end of the process."""
        self._leaving.set()
        for live in self._live.values():
            live.leave(_stopping())

    async def close(self) -> None:
        """Ends all work, and lets loads under way go: whoever is asked for them next takes them up."""
        tasks = [self._keeper, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        under_way = [live for live in self._live.values() if live.load.end_time is None]
        with suppress(TimeoutError):  # Memory may be gone before: then others see it by the time that passes
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.gather(*(self._remember(live, release=True) for live in under_way))

    async def _elsewhere(self, load_id: str, after: int) -> AsyncGenerator[FileChanged | LoadEnded]:
        """What another Loader does with a load, as far as it is remembered, while it has hold of it."""
        while load_id not in self._live:
            load = self._holds.load_of(await self._holds.find(load_id))
            if load.state is LoadState.INTERRUPTED:
                return
            for event in LiveLoad(load).changes(after):
                after = event.sequence
                yield event
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), _LOOK_SECONDS)
                raise _stopping()

    async def _receive(self, live: LiveLoad, spooled: SpooledFile, chunks: AsyncIterator[bytes]) -> None:
        left, bytes_left = self._limits.chunk_seconds, _BYTES_A_TIME
        while True:
            asked = time.monotonic()
            try:
                async with asyncio.timeout(left):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise DeadlineExceeded(
                    Reason.OUT_OF_TIME,
                    f"the upload sent less than {_BYTES_A_TIME:,} bytes in {self._limits.chunk_seconds:g} s, and others"
                    " may wait for its room; upload the file again, or raise loader.upload_pause_seconds",
                ) from None
            if chunk is None:
                break
            live.touch()
            left, bytes_left = left - (time.monotonic() - asked), bytes_left - len(chunk)
            if bytes_left <= 0:
                left, bytes_left = self._limits.chunk_seconds, _BYTES_A_TIME
            await spooled.write(chunk)
        await spooled.finish()

    def _work_on(self, live: LiveLoad, file: LoadFile, work: Callable[[], Awaitable[StoredFile]]) -> asyncio.Task[None]:
        name = file.manifest.name
        live.move(name, FileState.PROCESSING)
        live.cancellable.add(name)
        task = self._spawn(self._process(live, file, work), f"file:{live.load.load_id}")
        live.tasks[name] = task
        task.add_done_callback(lambda _: live.tasks.pop(name, None))
        return task

    async def _stored(self, live: LiveLoad, file: LoadFile, spooled: SpooledFile) -> StoredFile:
        name = file.manifest.name
        try:
            return await self._pipeline.run(
                Job(live.load.load_id, live.load.source_id, file.tags),
                file.manifest,
                spooled.path,
                lambda documents, passages: live.progress(name, documents=documents, passages=passages),
                lambda: live.cancellable.discard(name),
            )
        finally:
            spooled.discard()

    def _label(self, live: LiveLoad, stored: Mapping[str, StoredFile]) -> None:
        """Gives files other labels that are visible already."""
        for name, visible in stored.items():
            file = live.load.files[name]
            self._work_on(live, file, partial(self._labelled, live, file, visible))

    async def _labelled(self, live: LiveLoad, file: LoadFile, visible: StoredFile) -> StoredFile:
        async with self._labelling:
            job = Job(live.load.load_id, live.load.source_id, file.tags)
            return await self._pipeline.label(job, file.manifest, visible.media_type)

    async def _process(self, live: LiveLoad, file: LoadFile, work: Callable[[], Awaitable[StoredFile]]) -> None:
        name = file.manifest.name
        with background("load", principal=Principal(live.load.tenant)):
            try:
                stored = await work()
            except FileFailure as failure:
                _log.info(
                    "file not loaded",
                    load_id=live.load.load_id,
                    file=name,
                    reason=failure.reason,
                    detail=failure.detail,
                )
                live.progress(name, documents=0, passages=0)
                live.move(name, FileState.of(failure.reason), reason=failure.reason, message=failure.message)
            except Exception:  # noqa: BLE001 - a bug costs its own file only
                _log.exception("file failed by a bug", load_id=live.load.load_id, file=name)
                message = "The Loader failed on this file. This is a bug; its log has more."
                live.move(name, FileState.FAILED, reason=FailureReason.INTERNAL, message=message)
            else:
                live.progress(name, documents=stored.documents, passages=stored.passages)
                file.notes = stored.notes
                live.move(name, FileState.UNCHANGED if stored.unchanged else FileState.LOADED)
                self.passages_stored += 0 if stored.unchanged else stored.passages
            finally:
                live.cancellable.discard(name)
                live.tasks.pop(name, None)
            self.files_ended[file.state] += 1
            await self._settle(live)

    async def _withdrawn(self, live: LiveLoad) -> None:
        with background("withdraw", principal=Principal(live.load.tenant)):
            await self._settle(live)

    async def _settle(self, live: LiveLoad) -> None:
        """Ends a load whose last file has ended, and remembers how far any other is."""
        if live.lost:
            return
        if live.complete and not live.cancelling:
            async with live.lock:
                await self._end(live, LoadState.COMPLETED)
        else:
            self._save_soon(live)

    def _save_soon(self, live: LiveLoad) -> None:
        """Remembers how far a load has come, a moment later together with what comes until then."""
        if not live.saving:
            live.saving = True
            self._spawn(self._save(live), f"save:{live.load.load_id}")

    async def _save(self, live: LiveLoad) -> None:
        await asyncio.sleep(_SAVE_SECONDS)
        live.saving = False
        await self._remember(live)

    async def _remember(self, live: LiveLoad, *, release: bool = False) -> None:
        """Writes down how far a load has come, if it is still here and under way."""
        with background("save", principal=Principal(live.load.tenant)):
            async with live.lock:
                if live.load.end_time is None and not live.lost:
                    try:
                        await self._holds.put(live, release=release)
                    except Aborted:
                        self._lose(live)
                    except ServiceError as error:  # the next one will do
                        _log.warning("a load is not remembered", load_id=live.load.load_id, reason=error.reason)

    async def _release(self, live: LiveLoad) -> None:
        """Lets a load go that nobody has to do with, so that any Loader can take it up."""
        await self._remember(live, release=True)
        if live.deserted_seconds:
            self._live.pop(live.load.load_id, None)
            live.leave(self._holds.lost(live))
        else:  # somebody has come meanwhile
            await self._remember(live)

    def _lose(self, live: LiveLoad) -> None:
        """Stops work on a load that another Loader has taken up; what is about to become visible does."""
        _log.warning("load taken up elsewhere", load_id=live.load.load_id)
        live.lost = True
        self._live.pop(live.load.load_id, None)
        for name, task in live.tasks.items():
            if name in live.cancellable:
                task.cancel()
        live.leave(self._holds.lost(live))

    async def _remove_others(self, load: Load) -> None:
        """Drops the source's files that are not among those of a load, if it is to."""
        if load.sync:
            for name in (await self._memory.visible_files(load.source_id)).keys() - load.files.keys():
                await self._memory.delete_file(load.source_id, name)
                load.removed += 1

    async def _cancel(self, live: LiveLoad) -> None:
        with background("cancel", principal=Principal(live.load.tenant)):
            live.cancelling = True
            async with live.lock:
                if live.load.end_time is not None:
                    return
                tasks = dict(live.tasks)
                for name, task in tasks.items():
                    if name in live.cancellable:
                        task.cancel()
                await asyncio.gather(*tasks.values(), return_exceptions=True)
                state = LoadState.COMPLETED if live.complete else LoadState.CANCELLED
                for name, file in live.load.files.items():
                    if not file.state.ended:
                        live.move(name, FileState.CANCELLED)
                        self.files_ended[file.state] += 1
                await self._end(live, state)

    async def _end(self, live: LiveLoad, state: LoadState) -> None:
        """Ends a load: remembered first, then announced. Idempotent; the caller holds the lock."""
        if live.load.end_time is not None:
            return
        try:
            for pause in (*_REMEMBER_PAUSES, None):
                try:
                    if state is LoadState.COMPLETED:
                        await self._remove_others(live.load)
                    live.end(state)
                    await self._holds.put(live)
                    break
                except NotFound:  # the source was deleted meanwhile, and its loads are forgotten with it
                    break
                except Aborted:
                    live.reopen()
                    self._lose(live)
                    return
                except ServiceError as error:
                    if pause is None:
                        # Taken up again, the load finds its visible files unchanged: nothing is lost.
                        _log.warning("the end of a load is not remembered", load_id=live.load.load_id, exc_info=error)
                    else:
                        await asyncio.sleep(max(pause, error.retry_after or 0.0))
        finally:
            if not live.lost:
                live.end(state)
                live.announce()
        _log.info("load ended", load_id=live.load.load_id, state=state)
        self._keep(live)

    async def _find(self, load_id: str) -> LiveLoad:
        live = self._live.get(load_id)
        if live is None:
            live = await self._live_of(await self._holds.find(load_id))
        if live.load.tenant != tenant():
            raise no_load(load_id)
        return live

    async def _live_of(self, record: LoadRecord) -> LiveLoad:
        """The load of a record; one that another process left unfinished is taken up.

        Raises:
            Unavailable: Another process works on it.
        """
        async with self._locked(f"load {record.load_id}"):
            if (live := self._live.get(record.load_id)) is not None:
                return live
            live = self._holds.take(record)
            if live.load.end_time is None:
                await self._resume(live)
            self._keep(live)
            return live

    async def _resume(self, live: LiveLoad) -> None:
        load = live.load
        passed = dt.datetime.now(dt.UTC) - load.create_time
        load.sequence = max(load.sequence, int(passed.total_seconds() * 1000) * _SEQUENCES_A_MILLISECOND)
        labelled: Mapping[str, StoredFile] = {}
        try:
            visible = await self._memory.visible_files(load.source_id)
        except NotFound:
            for name, file in load.files.items():
                if not file.state.ended:
                    live.move(name, FileState.CANCELLED)
            state = LoadState.CANCELLED
        else:
            before = {name: file.state for name, file in load.files.items()}
            for file in load.files.values():
                if not file.state.ended:
                    file.state = FileState.WANTED  # bytes that were uploaded went with the process
            labelled = self._judge(load, visible, FileState.LOADED)
            for name, file in load.files.items():
                # One may have been sent since the load was remembered: its followers must hear that it is wanted again.
                if file.state is not before[name] or file.state is FileState.WANTED:
                    live.move(name, file.state, reason=file.reason, message=file.message)
            state = LoadState.COMPLETED
            try:
                await self._holds.put(live)
            except Aborted as error:
                raise self._holds.lost(live) from error
        _log.info("load taken up", load_id=load.load_id)
        self._label(live, labelled)
        if live.complete:
            async with live.lock:
                await self._end(live, state)

    def _judge(
        self, load: Load, visible: Mapping[str, StoredFile], state: FileState = FileState.UNCHANGED
    ) -> dict[str, StoredFile]:
        return plan.judge(load, visible, self._pipeline.chunker_version, self._limits.max_file_bytes, state)

    def _keep(self, live: LiveLoad) -> None:
        self._live[live.load.load_id] = live
        if self._leaving.is_set():
            live.leave(_stopping())
        self._live.move_to_end(live.load.load_id)
        ended = [load_id for load_id, each in self._live.items() if each.ended]
        for load_id in ended[: max(0, len(ended) - _ENDED_LOADS_KEPT)]:
            del self._live[load_id]

    def _warm(self, live: LiveLoad) -> None:
        self._pool.warm(sum(not file.state.ended for file in live.load.files.values()))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @asynccontextmanager
    async def _locked(self, key: str) -> AsyncIterator[None]:
        """Lets one at a time in for a key; an empty key locks nothing."""
        if not key:
            yield
            return
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            _, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)

    async def _keep_hold(self) -> None:
        """Renews the hold of loads; lets those go that nobody has to do with, cancels those that wait for too long."""
        while True:
            await asyncio.sleep(min(_TURN_SECONDS, self._limits.idle_seconds))
            for live in list(self._live.values()):
                if live.load.end_time is not None or live.lock.locked():
                    continue  # whoever ends it, which may take minutes, writes it as well: the others must not wait
                if live.idle_seconds > self._limits.idle_seconds:
                    _log.warning("load abandoned", load_id=live.load.load_id)
                    with suppress(ServiceError):
                        await self._cancel(live)
                elif live.deserted_seconds > HELD_SECONDS:
                    await self._release(live)
                elif time.monotonic() - live.saved > RENEW_SECONDS:
                    await self._remember(live)


def _stopping() -> Unavailable:
    return Unavailable(Reason.SHUTTING_DOWN, "the Loader is stopping; watch again, from the last sequence on")
