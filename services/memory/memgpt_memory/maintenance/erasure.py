"""Erasure: removing what was deleted or replaced from the store's files, too.

Rows are deleted right after the write that made them invisible. If that fails, or a crash comes in between, they stay
until their owner is deleted, so erasure looks for them first. Then the files are rewritten without what was deleted
(see `Store.compact`).
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from memgpt_runtime import reasons

from memgpt_memory.agents import Agents
from memgpt_memory.maintenance.reembedding import Reembedding
from memgpt_memory.recall import Forgetting
from memgpt_memory.sources import Sources
from memgpt_memory.store import Store

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CompactionResult:
    """Bytes of the store's files before and after; 0 on a server."""

    before: int
    after: int


async def erase(
    store: Store, agents: Agents, sources: Sources, forgetting: Forgetting, reembedding: Reembedding
) -> CompactionResult:
    """Remove everything that was deleted or replaced from the store's files. Other calls go on in the meantime.

    It can be interrupted and repeated at any time.

    Raises:
        FailedPrecondition: The store is being moved to another embedding model, so its texts are stored twice.
        ResourceExhausted: The disk has no room for new files.
    """
    if reembedding.unfinished:
        raise reasons.wrong_state(
            "the store is being moved to another embedding model and holds every passage twice; finish the move "
            "(`memgpt reembed`) or abandon it (`memgpt reembed --abandon`), then retry",
            resource="store",
            state="MOVING",
        )
    before = await store.size()
    await agents.resume_deletions()
    await sources.resume_deletions()
    await agents.repository.shared.resume_deletions()
    await agents.sweep()
    await agents.repository.shared.sweep()
    await sources.sweep()
    await forgetting.sweep()
    await store.compact()
    after = await store.size()
    _log.info("store_compacted", bytes_before=before, bytes_after=after)
    return CompactionResult(before, after)
