"""One file on its way: parsed, cut into passages, stored."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memgpt_runtime.errors import (
    Aborted,
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)
from memgpt_runtime.logs import get_logger

from memgpt_loader.failures import FailureReason, FileFailure, NoParser
from memgpt_loader.formats import Note
from memgpt_loader.loads.retry import Patience
from memgpt_loader.memory.port import BATCH_BYTES, BATCH_PASSAGES, FileWriter, Memory
from memgpt_loader.model import FileVersion, Manifest, StoredFile
from memgpt_loader.parsing.pool import Noted, Opened, PageRead, ParsedPassage, ParserPool

_log = get_logger(__name__)

# Storing is idempotent, so whatever may pass by itself is tried again.
_PASSING = (Aborted, DeadlineExceeded, ResourceExhausted, Unavailable)
_NO_PARSER = (
    "The file was not read, for the Loader cannot start a parser; its log says why. Load it again when that is mended."
)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0

Progress = Callable[[int, int], None]
"""Told the documents read and the passages stored so far."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a file is read for."""

    load_id: str
    source_id: str
    tags: tuple[str, ...] = ()
    """Labels that it is to bear."""


class Pipeline:
    """Reads files and stores their passages."""

    def __init__(self, pool: ParserPool, memory: Memory, chunker_version: str, patience: float) -> None:
        """Puts the parts together.

        Args:
            pool: Reads files.
            memory: Keeps passages.
            chunker_version: Rules by which files are read; a file read by others is read anew.
            patience: Seconds for which a file is tried again while Memory is out of reach, or no parser can be started,
                from the first failure since it last got further.
        """
        self._pool = pool
        self._memory = memory
        self._patience = patience
        self.chunker_version = chunker_version

    async def run(
        self, job: Job, manifest: Manifest, path: Path, progress: Progress, finishing: Callable[[], None]
    ) -> StoredFile:
        """Reads a file and stores it.

        Args:
            job: The load and the source it belongs to.
            manifest: What it is.
            path: Where its bytes are.
            progress: Told how it goes.
            finishing: Called before the file becomes visible: from then on it should not be broken off.

        Raises:
            FileFailure: It could not be read or stored.
        """
        patience = Patience(self._patience)
        watched = patience.watching(progress)
        return await self._patiently(
            manifest, patience, watched, lambda: self._attempt(job, manifest, path, watched, finishing)
        )

    async def label(self, job: Job, manifest: Manifest, media_type: str) -> StoredFile:
        """Gives a file its job's labels that is stored already.

        Raises:
            FileFailure: It is not stored any more, or Memory fails.
        """
        version = FileVersion(manifest, media_type, self.chunker_version, job.tags)
        return await self._patiently(
            manifest, Patience(self._patience), lambda *_: None, lambda: self._memory.label(job.source_id, version)
        )

    async def _patiently(
        self,
        manifest: Manifest,
        patience: Patience,
        progress: Progress,
        attempt: Callable[[], Coroutine[Any, Any, StoredFile]],
    ) -> StoredFile:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await attempt()
            except _PASSING as error:
                # Memory, or the model behind it, may know how long it takes.
                wait = max(pause, error.retry_after or 0.0)
                if not patience.lasts(wait):
                    raise _not_stored(error) from error
                _log.warning("storing a file failed, trying again", file=manifest.name, reason=error.reason)
            except NoParser as error:
                wait = pause
                if not patience.lasts(wait):
                    raise FileFailure(FailureReason.UNAVAILABLE, _NO_PARSER, detail=str(error)) from error
                _log.warning("a parser cannot be started, trying again", file=manifest.name, why=str(error))
            except InvalidArgument as error:
                message = "The Loader sent something that Memory refused. This is a bug; the log has more."
                raise FileFailure(FailureReason.INTERNAL, message, detail=error.message) from error
            except ServiceError as error:
                raise _not_stored(error) from error
            progress(0, 0)
            await asyncio.sleep(wait * random.uniform(1.0, 1.2))  # noqa: S311 - spreads retries, guards nothing
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _attempt(
        self, job: Job, manifest: Manifest, path: Path, progress: Progress, finishing: Callable[[], None]
    ) -> StoredFile:
        try:
            return await self._load(job, manifest, path, progress, finishing)
        except FileFailure as failure:
            if failure.reason is FailureReason.EMPTY:
                # A version like any other, without passages: what the file held before is gone.
                version = FileVersion(manifest, "", self.chunker_version, job.tags)
                async with self._memory.store(job.source_id, version) as writer:
                    finishing()
                    await writer.finish(0)
            raise

    async def _load(
        self, job: Job, manifest: Manifest, path: Path, progress: Progress, finishing: Callable[[], None]
    ) -> StoredFile:
        async with aclosing(self._pool.parse(path, manifest.name, job.load_id)) as items:
            opened = await anext(items)
            if not isinstance(opened, Opened):
                raise TypeError("a parser begins with what it opened")
            version = FileVersion(manifest, opened.media_type, self.chunker_version, job.tags)
            async with self._memory.store(job.source_id, version) as writer:
                batches = _Batches(writer)
                documents = 0
                notes: tuple[Note, ...] = ()
                async for item in items:
                    match item:
                        case PageRead():
                            await batches.add(item.passages)
                            documents += item.last and item.page > 0
                            progress(documents, batches.passages)
                        case Noted():
                            notes = item.notes
                await batches.flush()
                finishing()
                return replace(await writer.finish(opened.documents, notes), notes=notes)


class _Batches:
    """Gathers passages into batches, across pages."""

    def __init__(self, writer: FileWriter) -> None:
        self._writer = writer
        self._pending: list[ParsedPassage] = []
        self._bytes = 0
        self.passages = 0

    async def add(self, passages: tuple[ParsedPassage, ...]) -> None:
        for passage in passages:
            size = len(passage.text.encode())
            if len(self._pending) == BATCH_PASSAGES or self._bytes + size > BATCH_BYTES:
                await self.flush()
            self._pending.append(passage)
            self._bytes += size
            self.passages += 1

    async def flush(self) -> None:
        if self._pending:
            await self._writer.write(self._pending)
            self._pending, self._bytes = [], 0


def _not_stored(error: ServiceError) -> FileFailure:
    return FileFailure(
        FailureReason.UNAVAILABLE,
        f"Memory did not store the file: {error.message.rstrip('.')}. Load it again when that is mended.",
        detail=error.reason,
    )
