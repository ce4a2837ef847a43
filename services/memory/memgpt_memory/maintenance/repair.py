"""``memgpt-memory repair``: find what is damaged in a Milvus Lite store, and make a store of what is whole.

It works on a copy next to the store; only when that opens do two renames put it in place. The damaged store is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
from memgpt.config import ConfigError, load_config
from memgpt_runtime import reasons
from memgpt_runtime.errors import FailedPrecondition, ServiceError
from memgpt_runtime.ids import new_id

from memgpt_memory.config import MemorySettings
from memgpt_memory.maintenance.reconciliation import Reconciliation
from memgpt_memory.maintenance.replacement import held, put_in_place
from memgpt_memory.store import new_store
from memgpt_memory.store.layout import MESSAGES, RECORDS, Collection
from memgpt_memory.store.lite import repair as lite_files


def repair(store: Path, *, change: bool) -> tuple[list[str], Path | None]:
    """Find what a store has lost, and drop what is damaged or incomplete.

    Args:
        store: The Lite file.
        change: Whether to put the repaired store in place; otherwise nothing is changed.

    Returns:
        What is lost, and the path of the former store if it was replaced.

    Raises:
        FailedPrecondition: There is no such store, or it is in use.
    """
    if not store.is_dir():
        raise reasons.wrong_state(
            f"there is no Milvus Lite file {store}; set memory.uri to the store", resource="store", state="MISSING"
        )
    with held(store):
        staging = store.with_name(f"{store.name}.{new_id('repairing')}")
        try:
            lite_files.copy(store, staging)
            losses = asyncio.run(_reconcile(staging, lite_files.mend(staging)))
            former = put_in_place(staging, store, "damaged") if losses and change else None
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return losses, former


async def _reconcile(path: Path, losses: list[str]) -> list[str]:
    """Drop collections that cannot be opened, and make the rows of the others agree; return all losses."""
    store = new_store(str(path))
    passages: list[Collection] = []
    try:
        for collection in lite_files.collections(path):
            try:
                await store.open([collection])
            except FailedPrecondition as error:
                losses.append(f"{collection.name}: all rows ({error.message})")
                shutil.rmtree(path / "collections" / collection.name)
                await store.open([collection])
            if collection.partitioned and "_passages_" in collection.name:
                passages.append(collection)
        await store.open([RECORDS, MESSAGES])
        reconciliation = Reconciliation(store, passages, losses)
        await reconciliation.run()
    finally:
        await store.close()
    return reconciliation.losses


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit code: 0 if the store is whole or was repaired, 1 if it is damaged."""
    os.umask(0o077)
    parser = argparse.ArgumentParser(
        prog="memgpt-memory repair",
        description="Find what is damaged in the Milvus Lite store that the configuration names (memory.uri), and drop "
        "it. The damaged store is kept under another name. Memory must be stopped.",
    )
    parser.add_argument("--check", action="store_true", help="only list what is lost")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file (~/.memgpt/config.toml)")
    arguments = parser.parse_args(argv)
    # Standard output is for what is lost; what Lite and the store say of the same damage is not.
    logging.getLogger("milvus_lite").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        config = load_config("memory", MemorySettings, path=arguments.config)
        store = config.service.lite_file(config.home)
        if store is None:
            raise reasons.wrong_state(
                f"memory.uri is a Milvus server ({config.service.uri}), which checks its own files",
                resource="store",
                state="SERVER",
            )
        losses, former = repair(store, change=not arguments.check)
    except ConfigError as error:
        return _fail(str(error), 2)
    except ServiceError as error:
        return _fail(error.message, 1)
    except OSError as error:
        remedy = "make its folder writable, or set another file (memory.uri)"
        return _fail(f"cannot use {error.filename or store} ({error.strerror or error}); {remedy}", 1)
    for loss in losses:
        sys.stdout.write(f"lost: {loss}\n")
    if former is not None:
        sys.stdout.write(f"Repaired {store}\nThe damaged store is now {former}; delete it when you no longer need it\n")
    elif not losses:
        sys.stdout.write(f"{store} is whole\n")
    return 1 if losses and former is None else 0


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"memgpt-memory: {message}\n")
    return code
