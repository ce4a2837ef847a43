"""The adapters that the suite runs on. For another one, add a fixture here and its name to `ADAPTERS`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from memgpt_memory.store import Store, new_store

from tests.support.memory_store import MemoryStore

ADAPTERS = ["memory_stores", "lite_stores", pytest.param("server_stores", marks=pytest.mark.milvus_server)]

Stores = Callable[[], Store]
"""Creates stores over the same data: a new one finds what an earlier, closed one has written."""


@pytest.fixture
def memory_stores() -> Stores:
    store = MemoryStore()
    return lambda: store


@pytest.fixture
def lite_stores(milvus_lite_uri: str) -> Stores:
    return lambda: new_store(milvus_lite_uri)


@pytest.fixture
def server_stores(milvus_server_uri: str) -> Stores:
    return lambda: new_store(milvus_server_uri, timeout=30.0)


@pytest.fixture(params=ADAPTERS)
def stores(request: pytest.FixtureRequest) -> Stores:
    made: Stores = request.getfixturevalue(request.param)
    return made


@pytest.fixture
async def store(stores: Stores) -> AsyncIterator[Store]:
    """An empty store, not yet open."""
    made = stores()
    yield made
    await made.close()
