"""The agents and sources that are being deleted or imported: one row, so that a start need not search for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from memgpt_memory.clock import now
from memgpt_memory.records._model import Record
from memgpt_memory.records._records import Records

_ID = "unfinished"


class Journal:
    """Work that a crash may leave half done.

    Attributes:
        pending: Kinds of what is being deleted or imported, by ids.
    """

    def __init__(self, records: Records) -> None:
        """Keep the row among `records`."""
        self._records = records
        self._lock = asyncio.Lock()
        self.pending: dict[str, str] = {}

    async def open(self) -> bool:
        """Read what the previous process left; return False if the store predates the journal."""
        record = await self._records.get(_ID)
        if record is not None:
            self.pending = dict(json.loads(record.body))
        return record is not None

    def of(self, kind: str) -> list[str]:
        """Return the ids of a kind."""
        return [id_ for id_, other in self.pending.items() if other == kind]

    @asynccontextmanager
    async def beginning(self, kind: str, id_: str) -> AsyncIterator[Record]:
        """Note work that begins with a write within the block; that write must include the row, as its first one."""
        async with self._lock:
            self.pending[id_] = kind
            yield self._record()

    async def end(self, id_: str) -> None:
        """Note that work is done.

        Raises:
            Unavailable: The store failed; the next start may search for the work although it is done.
        """
        self.pending.pop(id_, None)
        await self.write()

    async def end_if(self, id_: str, done: Callable[[], Awaitable[bool]]) -> bool:
        """Note that work is done if it is: no work begins before that is noted. Return whether it is done."""
        async with self._lock:
            if not await done():
                return False
            self.pending.pop(id_, None)
            await self._records.put(self._record())
            return True

    async def write(self) -> None:
        """Write the row."""
        async with self._lock:
            await self._records.put(self._record())

    def _record(self) -> Record:
        return Record(_ID, "store", "", "", now(), json.dumps(self.pending))
