"""The lease by which one process holds a store."""

from __future__ import annotations

import asyncio
import json

import structlog
from memgpt_runtime import reasons
from memgpt_runtime.errors import ServiceError
from memgpt_runtime.ids import new_id

from memgpt_memory.clock import Clock, now
from memgpt_memory.records import Record, Records

_log = structlog.get_logger(__name__)

BEAT_SECONDS = 3.0
"""Seconds between two heartbeats of the process that holds a store."""

_WATCH_SECONDS = 2.5 * BEAT_SECONDS
_STAMP_MARGIN = 30_000_000
"""Microseconds that a restart adds to the last stored revision: more than later ones are ahead of it."""


class StoreLease:
    """Holds a store for this process, and stores how far its revisions have come.

    One process orders all writes of an owner, so a second one must not open the same store. A Lite file has a lock of
    its own; on a server a row with a heartbeat shows that a process holds the store.

    Attributes:
        released: Whether the former holder released the store, as one does that ends in good order.
        lost: Set when another process has taken the store.
    """

    def __init__(self, records: Records, clock: Clock, id_: str, *, exclusive: bool, released: bool) -> None:
        """Hold nothing yet; use `take`."""
        self.released = released
        self._records = records
        self._clock = clock
        self._id = id_
        self._exclusive = exclusive
        self._beats = 0
        self._written = 0
        self._task: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()

    @staticmethod
    async def take(records: Records, *, exclusive: bool) -> StoreLease:
        """Take the store, and start a clock after every revision that was given out.

        Raises:
            FailedPrecondition: Another process holds it.
        """
        record = await records.get("holder")
        body = json.loads(record.body) if record else {}
        if body.get("holder") and not exclusive:
            _log.info("store_lease_wait_started", seconds=_WATCH_SECONDS)
            await asyncio.sleep(_WATCH_SECONDS)
            again = await records.get("holder")
            if again is not None and again.body != (record.body if record else ""):
                raise reasons.in_use(
                    "another Memory process uses this store; stop it or use another database (memory.uri)",
                    resource="store",
                    name="memory.uri",
                )
        last = int(body.get("last_stamp", 0))
        clock = Clock(last + _STAMP_MARGIN if last else 0)
        holder = StoreLease(records, clock, new_id("memory"), exclusive=exclusive, released=not body.get("holder"))
        await holder._beat()
        holder._task = asyncio.create_task(holder._keep_beating())
        return holder

    @property
    def clock(self) -> Clock:
        """The clock that continues after the former holder's."""
        return self._clock

    async def release(self) -> None:
        """Release the store, so that the next process need not wait."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if not self.lost.is_set():
            try:
                await self._write("")
            except ServiceError as error:
                _log.info("store_lease_release_failed", error=str(error))

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if self._exclusive and self._clock.last == self._written:
                continue
            try:
                await self._beat()
            except ServiceError as error:
                _log.warning("store_lease_renewal_failed", error=str(error))

    async def _beat(self) -> None:
        if self._beats and not self._exclusive:
            record = await self._records.get("holder")
            if record is not None and json.loads(record.body)["holder"] not in ("", self._id):
                _log.critical("store_lease_lost", holder=json.loads(record.body)["holder"])
                self.lost.set()
                return
        self._beats += 1
        await self._write(self._id)

    async def _write(self, holder: str) -> None:
        last = self._clock.last
        body = json.dumps({"holder": holder, "beat": self._beats, "last_stamp": last})
        await self._records.put(Record("holder", "store", "", "", now(), body))
        self._written = last
        self._clock.limit = last + _STAMP_MARGIN // 2
