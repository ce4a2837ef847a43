"""The life cycle of a live load: saving, release, loss to another Loader, cancellation and end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from memgpt_runtime.context import background
from memgpt_runtime.errors import Aborted, NotFound, ServiceError
from memgpt_runtime.logs import get_logger
from memgpt_runtime.principal import Principal
from memgpt_runtime.retry import RetryPolicy

from memgpt_loader.loads.background import BackgroundTasks
from memgpt_loader.loads.leases import LoadLeases, load_elsewhere
from memgpt_loader.loads.live_load import LiveLoad
from memgpt_loader.loads.stats import LoadStats
from memgpt_loader.memory.port import Memory
from memgpt_loader.model import FileState, Load, LoadState

_log = get_logger(__name__)

SAVE_SECONDS = 1.0
"""Seconds from a change to the save of a load; files that end within this time share a write."""

_END_SECONDS = 60.0
"""How long the end of a load is retried while Memory is unavailable."""


class LoadLifecycle:
    """Saves and ends live loads."""

    def __init__(
        self,
        memory: Memory,
        leases: LoadLeases,
        tasks: BackgroundTasks,
        stats: LoadStats,
        forget: Callable[[LiveLoad], None],
    ) -> None:
        """Connect the parts.

        Args:
            memory: The Memory service, which stores sources and records.
            leases: Leases of this process.
            tasks: Runs delayed saves.
            stats: Counts files that ended.
            forget: Called with a load that this process no longer works on.
        """
        self._memory = memory
        self._leases = leases
        self._tasks = tasks
        self._stats = stats
        self._forget = forget

    async def settle(self, live: LiveLoad) -> None:
        """End a load if its last file has ended; otherwise save it."""
        if live.lost:
            return
        if live.complete and not live.cancelling:
            async with live.lock:
                await self.end(live, LoadState.COMPLETED)
        else:
            self._save_soon(live)

    async def save(self, live: LiveLoad, *, release: bool = False) -> None:
        """Save a load that is still running here."""
        with background("save", principal=Principal(live.load.tenant)):
            async with live.lock:
                if live.load.end_time is None and not live.lost:
                    try:
                        await self._leases.save(live, release=release)
                    except Aborted:
                        self._lose(live)
                    except ServiceError as error:  # the next save may succeed
                        _log.warning("load_save_failed", load_id=live.load.load_id, reason=error.reason)
            if not release and live.load.end_time is None:
                await self._act_on_merge(live)

    async def merge_results(self, live: LiveLoad) -> None:
        """Merge what other Loaders have added to the record."""
        with background("merge", principal=Principal(live.load.tenant)), suppress(ServiceError):
            if await self._leases.has_changed(live):
                await self.save(live)

    async def release(self, live: LiveLoad) -> None:
        """Release the lease of an unused load, so that any Loader can take it over."""
        await self.save(live, release=True)
        if live.unused_seconds:
            self._forget(live)
            live.stop_watches(load_elsewhere(live.load.load_id))
        else:  # it was used in the meantime
            await self.save(live)

    async def cancel(self, live: LiveLoad) -> None:
        """Cancel a load. Files that are about to become visible still do."""
        with background("cancel", principal=Principal(live.load.tenant)):
            live.cancelling = True
            async with live.lock:
                if live.load.end_time is not None:
                    return
                await self._cancel_tasks(live)
                state = LoadState.COMPLETED if live.complete else LoadState.CANCELLED
                for name, file in live.load.files.items():
                    if not file.state.ended:
                        live.set_state(name, FileState.CANCELLED)
                        self._stats.files_ended[file.state] += 1
                await self.end(live, state)

    async def end(self, live: LiveLoad, state: LoadState) -> None:
        """End a load: save it, then tell its watchers. Idempotent; the caller holds `live.lock`.

        A sync that cannot remove the other files has not ended: the next Loader that is asked for it tries again.
        """
        if live.load.end_time is not None:
            return
        try:
            await self._save_end(live, state)
        except Aborted:
            live.reopen()
            self._lose(live)
            return
        except ServiceError as error:
            _log.warning("load_end_save_failed", load_id=live.load.load_id, exc_info=error)
            if live.load.end_time is None:
                self._hand_back(live, error)
                return
            # A Loader that takes the load over finds its files stored and unchanged, so nothing is lost.
        finally:
            if live.load.end_time is not None:
                live.announce_end()
        _log.info("load_ended", load_id=live.load.load_id, state=state)

    async def remove_other_files(self, load: Load) -> None:
        """Remove the source's files that are not in the manifest, if the load is a sync."""
        if load.sync:
            for name in (await self._memory.visible_files(load.source_id)).keys() - load.files.keys():
                await self._memory.delete_file(load.source_id, name)
                load.removed += 1

    async def _act_on_merge(self, live: LiveLoad) -> None:
        """React to the changes that a save merged from the record."""
        if live.load.cancel_requested:
            await self.cancel(live)
        elif live.complete:
            await self.settle(live)

    async def _save_end(self, live: LiveLoad, state: LoadState) -> None:
        policy = RetryPolicy(seconds=_END_SECONDS, retryable=_may_pass, initial=0.5, maximum=15.0)
        try:
            async for attempt in policy.attempts():
                with attempt:
                    if state is LoadState.COMPLETED:
                        await self.remove_other_files(live.load)
                    live.end(state)
                    await self._leases.save(live)
        except NotFound:
            live.end(state)  # the source and its loads were deleted in the meantime

    def _save_soon(self, live: LiveLoad) -> None:
        if not live.save_pending:
            live.save_pending = True
            self._tasks.start(self._save_later(live), f"save:{live.load.load_id}")

    async def _save_later(self, live: LiveLoad) -> None:
        await asyncio.sleep(SAVE_SECONDS)
        live.save_pending = False
        await self.save(live)

    def _lose(self, live: LiveLoad) -> None:
        """Stop working on a load that another Loader took over. Files that are about to become visible still do."""
        _log.warning("load_lost", load_id=live.load.load_id)
        for name, task in live.tasks.items():
            if name in live.cancellable:
                task.cancel()
        self._hand_back(live, load_elsewhere(live.load.load_id))

    def _hand_back(self, live: LiveLoad, error: ServiceError) -> None:
        """Stop working on a load; its watchers get an error."""
        live.lost = True
        self._forget(live)
        live.stop_watches(error)

    async def _cancel_tasks(self, live: LiveLoad) -> None:
        tasks = dict(live.tasks)
        for name, task in tasks.items():
            if name in live.cancellable:
                task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


def _may_pass(error: Exception) -> bool:
    return isinstance(error, ServiceError) and not isinstance(error, Aborted | NotFound)
