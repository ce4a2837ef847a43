"""The pipeline of one file: parse it, chunk it into passages, store them in Memory, and retry temporary failures."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

from memgpt.config.durations import duration_text
from memgpt_runtime.context import tenant
from memgpt_runtime.errors import (
    Aborted,
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)
from memgpt_runtime.retry import RetryPolicy, is_rate_limit, is_spent

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import Note
from memgpt_loader.loads.rate_limit import RateLimit
from memgpt_loader.memory.port import BATCH_BYTES, BATCH_PASSAGES, FileWriter, Memory
from memgpt_loader.model import FileVersion, Manifest, StoredFile, Wait
from memgpt_loader.parsing.pool import ParserPool
from memgpt_loader.parsing.process import ParserUnavailable
from memgpt_loader.parsing.results import FileOpened, NotesReported, PageRead, ParsedPassage

# Storing is idempotent, so it is retried after every failure that may be temporary.
_TEMPORARY = (Aborted, DeadlineExceeded, ResourceExhausted, Unavailable, ParserUnavailable)


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class FileObserver:
    """Functions that the pipeline calls while it works on a file.

    Attributes:
        progress: Called with the documents parsed and the passages stored so far; with zeros before another attempt.
        waiting: Called with each pause before an attempt.
        finishing: Called before the file becomes visible; from then on it should not be cancelled.
    """

    progress: Callable[[int, int], None] = _ignore
    waiting: Callable[[Wait], None] = _ignore
    finishing: Callable[[], None] = _ignore


@dataclass(frozen=True, slots=True)
class Job:
    """The context in which a file is loaded."""

    load_id: str
    source_id: str
    manifest: Manifest
    tags: tuple[str, ...] = ()
    """Labels of the file."""
    rate_limit: RateLimit = field(default_factory=RateLimit)
    """The rate limit as other files of the load have met it."""


class FilePipeline:
    """Parses files and stores their passages.

    Attributes:
        chunker_version: Version of the chunking rules; a file that was chunked with another version is loaded again.
    """

    def __init__(
        self,
        pool: ParserPool,
        memory: Memory,
        chunker_version: str,
        *,
        retry_seconds: float,
        rate_limit_seconds: float = 3600,
    ) -> None:
        """Connect the parts.

        Args:
            pool: Parses files.
            memory: Stores passages.
            chunker_version: Version of the chunking rules.
            retry_seconds: How long a file is retried while Memory is unavailable or no parser can be started, from the
                first failure since the file last made progress.
            rate_limit_seconds: The same while the embedding endpoint is rate limiting requests.
        """
        self._pool = pool
        self._memory = memory
        self._retry_seconds = retry_seconds
        self._rate_limit_seconds = rate_limit_seconds
        self.chunker_version = chunker_version

    async def load(self, job: Job, path: Path, observer: FileObserver) -> StoredFile:
        """Parse a file and store it.

        Args:
            job: The file, and the load and source it belongs to.
            path: Path of its bytes.
            observer: Told of the progress.

        Raises:
            FileFailure: The file could not be parsed or stored.
        """
        policy = self._retry_policy(job, observer)
        tracked = replace(observer, progress=_tracking(policy, observer.progress))
        try:
            async for attempt in policy.attempts():
                with attempt:
                    if await job.rate_limit.passed(observer.waiting) or attempt.num > 1:
                        observer.progress(0, 0)
                    return await self._parse_and_store(job, path, tracked)
        except FileFailure as failure:
            if failure.reason is FailureReason.EMPTY:
                await self._store_empty(job, observer)
            raise
        except (ServiceError, ParserUnavailable) as error:
            raise _not_loaded(error) from error
        raise AssertionError("unreachable")

    async def relabel(self, job: Job, media_type: str) -> StoredFile:
        """Set the labels of a file that is already stored.

        Raises:
            FileFailure: The file is not stored any more, or Memory fails.
        """
        version = FileVersion(job.manifest, media_type, self.chunker_version, job.tags)
        try:
            async for attempt in self._retry_policy(job, FileObserver()).attempts():
                with attempt:
                    return await self._memory.relabel(job.source_id, version)
        except ServiceError as error:
            raise _not_loaded(error) from error
        raise AssertionError("unreachable")

    def _retry_policy(self, job: Job, observer: FileObserver) -> RetryPolicy:
        def waiting(error: Exception, seconds: float) -> None:
            wait = Wait(_why(error), time.monotonic() + seconds)
            if is_rate_limit(error):
                job.rate_limit.met(wait)
            observer.waiting(wait)

        return RetryPolicy(
            seconds=self._retry_seconds,
            retryable=_may_pass,
            initial=0.5,
            maximum=10.0,
            rate_limit_seconds=self._rate_limit_seconds,
            waiting=waiting,
        )

    async def _parse_and_store(self, job: Job, path: Path, observer: FileObserver) -> StoredFile:
        async with aclosing(self._pool.parse(path, job.manifest.name, tenant(), job.load_id)) as results:
            opened = await anext(results)
            if not isinstance(opened, FileOpened):
                raise TypeError("the first result of a parser must be Opened")
            version = FileVersion(job.manifest, opened.media_type, self.chunker_version, job.tags)
            async with self._memory.store(job.source_id, version) as writer:
                batches = _Batches(writer)
                documents = 0
                notes: tuple[Note, ...] = ()
                async for result in results:
                    match result:
                        case PageRead():
                            await batches.add(result.passages)
                            documents += result.last and result.page > 0
                            observer.progress(documents, batches.passages)
                        case NotesReported():
                            notes = result.notes
                await batches.flush()
                observer.finishing()
                return replace(await writer.finish(opened.documents, notes), notes=notes)

    async def _store_empty(self, job: Job, observer: FileObserver) -> None:
        """Store a version without passages: what the file held before is removed."""
        version = FileVersion(job.manifest, "", self.chunker_version, job.tags)
        try:
            async for attempt in self._retry_policy(job, observer).attempts():
                with attempt:
                    async with self._memory.store(job.source_id, version) as writer:
                        observer.finishing()
                        await writer.finish(0)
        except ServiceError as error:
            raise _not_loaded(error) from error


class _Batches:
    """Collects passages into batches across pages."""

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


def _tracking(policy: RetryPolicy, progress: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Wrap `progress` so that the policy is renewed when the file gets further than in any previous attempt."""
    furthest = 0

    def tracked(documents: int, passages: int) -> None:
        nonlocal furthest
        if passages > furthest:
            furthest = passages
            policy.progressed()
        progress(documents, passages)

    return tracked


def _may_pass(error: Exception) -> bool:
    return isinstance(error, _TEMPORARY) and not is_spent(error)


def _why(error: Exception) -> str:
    """Return why a file waits: the message of an error without its advice."""
    return error.message.partition("; ")[0] if isinstance(error, ServiceError) else "the Loader cannot start a parser"


def _not_loaded(error: ServiceError | ParserUnavailable) -> FileFailure:
    if isinstance(error, ParserUnavailable):
        message = "The Loader cannot start a parser; its log says why. Load the file again when that is fixed."
        return FileFailure(FailureReason.UNAVAILABLE, message, detail=str(error))
    if isinstance(error, InvalidArgument):
        message = "internal error: Memory refused the Loader's request; the Loader's log has the details"
        return FileFailure(FailureReason.INTERNAL, message, detail=error.message)
    wait = error.retry_after if is_rate_limit(error) else None
    when = "when that is fixed" if wait is None else f"in {duration_text(wait)}"
    message = f"Memory did not store the file: {error.message.rstrip('.')}. Load it again {when}."
    return FileFailure(FailureReason.UNAVAILABLE, message, detail=error.reason)
