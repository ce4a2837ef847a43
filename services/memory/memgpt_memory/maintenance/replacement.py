"""Replacing a Lite store that nothing has open by another one next to it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memgpt_runtime import reasons


@contextmanager
def held(store: Path) -> Iterator[None]:
    """Hold the store's lock, so that no Memory opens it in the meantime.

    Raises:
        FailedPrecondition: The store is in use.
    """
    try:
        lock = (store / "LOCK").open("ab")
    except (FileNotFoundError, NotADirectoryError):
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise reasons.in_use(
                f"{store} is in use; stop Memory (`memgpt server`) first", resource="store", name=store.name
            ) from error
        yield


def put_in_place(staging: Path, store: Path, suffix: str) -> Path | None:
    """Rename a complete store to its place; return the new path of the former store, if there was one.

    Args:
        staging: The complete store, in the same folder.
        store: Its place.
        suffix: Ending of the former store's new name, before the time.
    """
    former = None
    if store.exists():
        former = store.with_name(f"{store.name}.{suffix}-{time.strftime('%Y%m%dT%H%M%S')}")
        store.rename(former)
    try:
        staging.rename(store)
    except OSError:
        if former is not None:
            former.rename(store)
        raise
    _sync(store.parent)
    return former


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
