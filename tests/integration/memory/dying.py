"""Memory that kills itself, as `kill -9` does, at an instant that a test has chosen.

``DIE_AT`` is ``before`` or ``after``, what is done, and for the how-manieth time, such as ``before:row:1``:

- ``row``: a write of the store's own row.
- ``copy``: an upsert of passages under another model than the bundled one.
- ``drop``: a collection is dropped.
- ``armed``: an upsert of records or messages, from when the file exists that ``DIE_ARMED`` names.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import memgpt_memory.__main__
from memgpt_memory.store.lite.store import LiteStore
from memgpt_memory.store.server.store import ServerStore
from memgpt_memory.store.threaded import ThreadedStore

_WHEN, _WHAT, _TIME = os.environ["DIE_AT"].split(":")
_seen = 0


def _is(what: str, collection: Any, rows: Any) -> bool:
    if what == "row":
        return any(row.id == "store" for row in rows)
    if what == "armed":
        ours = any(getattr(row, "kind", "") != "store" for row in rows)
        return ours and not collection.partitioned and Path(os.environ["DIE_ARMED"]).exists()
    return collection.name.startswith("memgpt_passages") and "wordllama" not in collection.name


def _dying(do: Callable[..., Awaitable[None]], what: str) -> Callable[..., Awaitable[None]]:
    async def done(self: ThreadedStore, collection: Any, rows: Any = (), *more: Any) -> None:
        global _seen
        last = False
        if what == _WHAT == "drop" or (what == "upsert" and _WHAT != "drop" and _is(_WHAT, collection, rows)):
            _seen += 1
            last = _seen == int(_TIME)
        if last and _WHEN == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        await (do(self, collection) if what == "drop" else do(self, collection, rows, *more))
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    return done


if __name__ == "__main__":
    for store in (LiteStore, ServerStore):
        store._upsert_now = _dying(store._upsert_now, "upsert")  # type: ignore[method-assign, assignment]
        store.drop = _dying(store.drop, "drop")  # type: ignore[method-assign, assignment]
    memgpt_memory.__main__.main()
