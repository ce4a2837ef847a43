"""Migrations of a store's layout, run at start.

A step turns a store of layout `n` into one of `n + 1`. It must be repeatable: a crash may come before the store's row
names the new layout. Take a backup before a newer version opens a store: older versions refuse it afterwards.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog
from memgpt_runtime import reasons

from memgpt_memory.store import Store
from memgpt_memory.store.layout import SCHEMA_VERSION

_log = structlog.get_logger(__name__)

Step = Callable[[Store], Awaitable[None]]


async def _keep_rows(store: Store) -> None:
    """Layout 3: new collections on Milvus Lite have no sparse vectors; existing rows stay as they are."""


STEPS: Mapping[int, Step] = {2: _keep_rows}
"""The steps by the layout that they start from."""


async def migrate(
    store: Store,
    layout: int,
    note: Callable[[int], Awaitable[None]],
    *,
    to: int = SCHEMA_VERSION,
    steps: Mapping[int, Step] = STEPS,
) -> None:
    """Bring a store to the layout that this version knows.

    Args:
        store: The store.
        layout: The layout that it has.
        note: Records a layout that has been reached.
        to: The layout to reach.
        steps: The available steps.

    Raises:
        FailedPrecondition: The layout is newer, or older than every step; nothing was changed.
    """
    if layout > to or any(version not in steps for version in range(layout, to)):
        raise reasons.wrong_state(
            f"the store has layout {layout}, but this version knows layout {to}; use the version that made it"
            + (", a newer one" if layout > to else "")
            + " or another store (memory.uri)",
            resource="store",
            state="UNKNOWN_LAYOUT",
        )
    for version in range(layout, to):
        _log.warning("store_migration_started", layout=version, to=version + 1)
        await steps[version](store)
        await note(version + 1)
