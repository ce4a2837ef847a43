"""Which Loader works on a load: the one that the load's record names, as long as it keeps renewing the record.

Any Loader may read a record, but a write succeeds only if the etag is current. So of two Loaders that try to take over
a load only one succeeds, and a Loader that was wrongly believed dead learns from its next write that it has lost the
load. If both stored passages of a file in the meantime, they stored the same passages under the same ids.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import replace

from memgpt_runtime import clock, reasons
from memgpt_runtime.context import tenant
from memgpt_runtime.errors import Aborted, NotFound, Unavailable

from memgpt_loader.loads import records
from memgpt_loader.loads.live_load import LiveLoad
from memgpt_loader.loads.spool import Spool
from memgpt_loader.memory.port import Memory
from memgpt_loader.model import FileState, Load, LoadRecord, LoadState

RENEW_SECONDS = 8.0
"""Seconds between writes of a record while nothing changes."""

LEASE_SECONDS = 30.0
"""Seconds that a lease lasts after a write of the record; tolerates clocks that differ by a few seconds."""

_MOST_SKEW_SECONDS = 300.0
"""Seconds by which Memory's clock may be ahead of this one."""

TAKEOVER_WINDOW = dt.timedelta(hours=24)
"""How long an interrupted load can be taken over, which is also how long its CreateLoad can be repeated."""


class LoadLeases:
    """Takes, keeps and releases the leases of loads for this process."""

    def __init__(self, memory: Memory, spool: Spool) -> None:
        """Use the name of `spool` as the holder: its lock shows other Loaders on this machine that it is alive."""
        self._memory = memory
        self._spool = spool

    def load_of(self, record: LoadRecord) -> Load:
        """Return the load of a record.

        It is INTERRUPTED if it has not ended and no other Loader has its lease, and CANCELLED if it was not taken over
        in time.

        Raises:
            FailedPrecondition: See `read_record`.
        """
        load = read_record(record, tenant())
        for name, result in load.results.items():
            if not load.files[name].state.ended:
                load.files[name] = replace(result, sequence=load.files[name].sequence)
        if load.end_time is None and not self._is_leased_elsewhere(load, record):
            load.state = LoadState.INTERRUPTED
            expiry = record.update_time + TAKEOVER_WINDOW
            if expiry <= clock.now():
                _expire(load, expiry)
        return load

    async def get_record(self, load_id: str) -> LoadRecord:
        """Read the record of a load.

        Raises:
            NotFound: There is no such load.
        """
        record = await self._memory.find_record(load_id)
        if record is None:
            raise load_not_found(load_id)
        return record

    def take(self, record: LoadRecord) -> LiveLoad:
        """Return a load to work on; `save` acquires the lease.

        Raises:
            Unavailable: Another Loader has the lease.
        """
        load = self.load_of(record)
        if load.state is LoadState.RUNNING:
            raise load_elsewhere(load.load_id)
        if load.state is LoadState.INTERRUPTED:
            load = read_record(record, tenant())  # results become events when they are merged
        live = LiveLoad(load)
        live.etag = record.etag
        return live

    async def save(self, live: LiveLoad, *, release: bool = False) -> None:
        """Write the record of a load, and renew the lease or release it.

        Raises:
            Aborted: Another Loader has taken the load over.
        """
        while True:
            live.load.holder, live.load.lease_time = "" if release else self._spool.name, None
            try:
                stored_record = await self._memory.put_record(_record_of(live.load, live.etag))
                live.etag = stored_record.etag
                live.load.source_name = stored_record.source_name or live.load.source_name
                break
            except Aborted:
                # The response to an earlier write may have been lost, or another Loader has added a result.
                record = await self._memory.find_record(live.load.load_id)
                stored = None if record is None else read_record(record, live.load.tenant)
                if record is None or stored is None or stored.holder != self._spool.name:
                    raise
                live.merge(stored)
                live.etag = record.etag
        live.saved_at = time.monotonic()

    async def has_changed(self, live: LiveLoad) -> bool:
        """Whether another Loader has written the record."""
        record = await self._memory.find_record(live.load.load_id)
        return record is not None and record.etag != live.etag

    def _is_leased_elsewhere(self, load: Load, record: LoadRecord) -> bool:
        if not load.holder or load.holder == self._spool.name or self._spool.has_died(load.holder):
            return False
        renewed = load.lease_time or record.update_time
        # A renewal far in the future was written before a clock was set back; one in the near future by a clock that is
        # ahead of this one.
        return -_MOST_SKEW_SECONDS < (clock.now() - renewed).total_seconds() < LEASE_SECONDS


def read_record(record: LoadRecord, tenant: str) -> Load:
    """Return the load of a record as it was written.

    Raises:
        FailedPrecondition: It cannot be read: a later version wrote it, or it is damaged.
    """
    try:
        return records.from_record(record, tenant)
    except ValueError as error:
        raise reasons.wrong_state(
            f'the record of load "{record.load_id}" cannot be read: a later version of the Loader wrote it, or it is '
            "damaged; create a new load",
            resource="load",
            state="UNREADABLE",
        ) from error


def load_not_found(load_id: str) -> NotFound:
    """Return the error for a load that does not exist."""
    return reasons.load_not_found("unknown load; list loads to see their ids", load_id=load_id)


def load_elsewhere(load_id: str) -> Unavailable:
    """Return the error for a load whose coordination moves to another Loader during a call."""
    return reasons.load_held_elsewhere(
        "another Loader has taken over this load; retry on any Loader",
        load_id=load_id,
        retry_after=2.0,
    )


def _record_of(load: Load, etag: str) -> LoadRecord:
    try:
        return records.to_record(load, etag)
    except ValueError as error:
        raise reasons.too_large(
            "the list of files is too long to be stored; split it into several loads",
            field="files",
            limit_bytes=records.MAX_BYTES,
        ) from error


def _expire(load: Load, when: dt.datetime) -> None:
    for file in load.files.values():
        if not file.state.ended:
            load.sequence += 1
            file.state, file.sequence = FileState.CANCELLED, load.sequence
    load.sequence += 1
    load.state, load.end_time = LoadState.CANCELLED, when
