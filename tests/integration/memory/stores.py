"""Access to a store beyond its port, for tests."""

from __future__ import annotations

from memgpt_memory.store import Store
from memgpt_memory.store.lite.store import LiteStore
from memgpt_memory.store.server.store import ServerStore


def collection_names(store: Store, beginning: str) -> list[str]:
    """Return the names of all existing collections, opened or not."""
    if isinstance(store, LiteStore):
        names = store._open_engine._database.list_collections()
    else:
        assert isinstance(store, ServerStore)
        names = store._connected.list_collections()
    return [name for name in names if name.startswith(beginning)]
