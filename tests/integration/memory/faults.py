"""Failures injected between Memory and Milvus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from memgpt_memory.store import Store
from memgpt_memory.store.threaded import ThreadedStore
from memgpt_runtime.errors import Reason, Unavailable

When = Literal["before", "half", "after"]
"""How much of the failing write happens: nothing, a part, or all."""


@dataclass(frozen=True)
class FakeDisk:
    """What `os.statvfs` returns for a disk."""

    f_bavail: int
    f_frsize: int = 1
    f_flag: int = 0


def _failure() -> Unavailable:
    return Unavailable(Reason.STORE_UNAVAILABLE, "injected")


@contextmanager
def failing_upserts(
    store: Store, collection: str, when: When, *, times: int = 1, only: Callable[[Any], bool] = lambda _: True
) -> Iterator[list[str]]:
    """Make upserts of a collection fail.

    Args:
        store: The store.
        collection: Prefix of the collection's name.
        when: How much of the failing write happens.
        times: Number of upserts that fail.
        only: Predicate of rows that make an upsert fail.

    Yields:
        The keys of the first rows of the upserts that failed.
    """
    assert isinstance(store, ThreadedStore)
    original = store._upsert_now
    failed: list[str] = []

    async def upsert(target: Any, rows: Sequence[Any], partition: str | None) -> None:
        if not target.name.startswith(collection) or len(failed) >= times or not any(only(row) for row in rows):
            await original(target, rows, partition)
            return
        failed.append(rows[0].id)
        part = {"before": [], "half": rows[: (len(rows) + 1) // 2], "after": rows}[when]
        if part:
            await original(target, part, partition)
        raise _failure()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_upsert_now", upsert)
        yield failed


@contextmanager
def failing_deletes(store: Store, collection: str, *, times: int = 1) -> Iterator[list[str]]:
    """Make deletes in a collection fail before anything is deleted; yield the affected collections."""
    original = store.delete
    failed: list[str] = []

    async def delete(target: Any, ids: Sequence[str], **options: Any) -> None:
        if ids and target.name.startswith(collection) and len(failed) < times:
            failed.append(target.name)
            raise _failure()
        await original(target, ids, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "delete", delete)
        yield failed
