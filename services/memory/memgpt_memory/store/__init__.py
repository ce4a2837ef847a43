"""The store: typed rows in fixed collections on Milvus Lite or a Milvus server.

- `port`: what the domain may ask of a store. `rows`: what it gets. `filters`: conditions. `layout`: the collections.
- `lite` and `server`: the adapters. `threaded`, `batching`, `mapping` and `expressions` are shared by them.
- `locks`: a lock for many readers or one writer, which the domain uses too.

To add an adapter, implement `port.Store`, add it to `new_store`, and run ``tests/integration/memory/store`` on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from memgpt_memory.store.port import Capabilities, Match, Matches, Observe, Operation, Store, StoreFile


def new_store(
    uri: str,
    *,
    token: str = "",
    timeout: float = 10.0,
    sync: Literal["always", "interval", "never"] = "always",
    sync_seconds: float = 1.0,
    observe: Observe = lambda _operation, _seconds: None,
) -> Store:
    """Return the store at a URI; `Store.open` connects to it.

    Args:
        uri: A path for Milvus Lite, or the URI of a server.
        token: ``user:password`` or an API key of a server.
        timeout: Seconds that a call of a server may take.
        sync: When writes to a Lite file are on the disk; a server decides that itself.
        sync_seconds: The interval of ``sync="interval"``.
        observe: Called with the kind and the duration of every call.
    """
    # Each backend takes a second to import.
    if "://" in uri:
        from memgpt_memory.store.server.store import ServerStore

        return ServerStore(uri, token=token, timeout=timeout, observe=observe)
    from memgpt_memory.store.lite.store import LiteStore

    return LiteStore(Path(uri).expanduser(), observe=observe, sync=sync, sync_seconds=sync_seconds)


__all__ = ["Capabilities", "Match", "Matches", "Observe", "Operation", "Store", "StoreFile", "new_store"]
