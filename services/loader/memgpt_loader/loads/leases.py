"""Which Loader works on a load: the one whose name its record has, as long as it renews the record.

A record may be read by any Loader, but is written only over what was read (its etag): so of two that want to take a
load up one does, and one that was believed dead notices with its next write that it has lost the load. What both may
have written of a file meanwhile are the same passages under the same ids.
"""

from __future__ import annotations

import datetime as dt
import time

from memgpt_runtime.context import tenant
from memgpt_runtime.errors import Aborted, InvalidArgument, NotFound, Reason, Unavailable

from memgpt_loader.loads import records
from memgpt_loader.loads.live import LiveLoad
from memgpt_loader.loads.spool import Spool
from memgpt_loader.memory.port import Memory
from memgpt_loader.model import FileState, Load, LoadRecord, LoadState

RENEW_SECONDS = 8.0
"""How often a record is written while nothing changes."""

HELD_SECONDS = 30.0
"""How long a hold lasts after a write of the record, by Memory's clock and one's own, which may differ a little."""


INTERRUPTED_FOR = dt.timedelta(hours=24)
"""How long a load that nobody works on can be taken up: as long as its CreateLoad can be repeated."""


class Holds:
    """What this process has hold of, and what others have."""

    def __init__(self, memory: Memory, spool: Spool) -> None:
        """Holds by the name of `spool`, whose lock tells others on this machine at once when this process has died."""
        self._memory = memory
        self._spool = spool

    def load_of(self, record: LoadRecord) -> Load:
        """A load as its record has it: INTERRUPTED when no other Loader has hold of it and it has not ended.

        One that nobody has taken up in time has ended by that, whoever reads it: nobody needs to write it down.
        """
        load = records.from_record(record, tenant())
        if load.end_time is None and not self._is_elsewhere(load, record):
            load.state = LoadState.INTERRUPTED
            given_up = record.update_time + INTERRUPTED_FOR
            if given_up <= dt.datetime.now(dt.UTC):
                _give_up(load, given_up)
        return load

    async def find(self, load_id: str) -> LoadRecord:
        """The record of a load.

        Raises:
            NotFound: There is none.
        """
        record = await self._memory.record(load_id)
        if record is None:
            raise no_load(load_id)
        return record

    def take(self, record: LoadRecord) -> LiveLoad:
        """A load to be worked on here; it is held once it is `put`.

        Raises:
            Unavailable: Another Loader has hold of it.
        """
        load = self.load_of(record)
        if load.state is LoadState.RUNNING:
            raise _elsewhere(load.load_id)
        if load.state is LoadState.INTERRUPTED:
            load.state = LoadState.RUNNING
        live = LiveLoad(load)
        live.etag = record.etag
        return live

    async def put(self, live: LiveLoad, *, release: bool = False) -> None:
        """Remembers a load as it is, and keeps hold of it, or lets it go.

        Raises:
            Aborted: Another Loader has taken it up.
        """
        live.load.holder = "" if release else self._spool.name
        try:
            live.etag = await self._memory.put_record(record_of(live.load, live.etag))
        except Aborted:
            # The answer to a write may have been lost: then what is there is our own.
            there = await self._memory.record(live.load.load_id)
            if there is None or records.from_record(there, live.load.tenant).holder != self._spool.name:
                raise
            live.etag = await self._memory.put_record(record_of(live.load, there.etag))
        live.saved = time.monotonic()

    def lost(self, live: LiveLoad) -> Unavailable:
        """What those are told who follow a load that another Loader has taken up."""
        return _elsewhere(live.load.load_id)

    def _is_elsewhere(self, load: Load, record: LoadRecord) -> bool:
        if not load.holder or load.holder == self._spool.name or self._spool.has_died(load.holder):
            return False
        return (dt.datetime.now(dt.UTC) - record.update_time).total_seconds() < HELD_SECONDS


def record_of(load: Load, etag: str = "") -> LoadRecord:
    """The record of a load.

    Raises:
        InvalidArgument: It is too long.
    """
    try:
        return records.to_record(load, etag)
    except ValueError as error:
        raise InvalidArgument(
            Reason.TOO_LARGE,
            "the list of files is too long to be remembered; split it into several loads",
            field="files",
            metadata={"limit_bytes": records.MAX_BYTES},
        ) from error


def _give_up(load: Load, when: dt.datetime) -> None:
    for file in load.files.values():
        if not file.state.ended:
            load.sequence += 1
            file.state, file.sequence = FileState.CANCELLED, load.sequence
    load.sequence += 1
    load.state, load.end_time = LoadState.CANCELLED, when


def no_load(load_id: str) -> NotFound:
    """What is said of a load that does not exist."""
    return NotFound(
        Reason.LOAD_NOT_FOUND,
        "there is no such load; ListLoads shows those that there are",
        metadata={"load_id": load_id},
    )


def _elsewhere(load_id: str) -> Unavailable:
    return Unavailable(
        Reason.LOAD_ELSEWHERE,
        "another Loader works on this load; ask that one, or ask again: it lets the load go when nobody follows it and "
        "it has nothing to do",
        metadata={"load_id": load_id},
        retry_after=2.0,
    )
