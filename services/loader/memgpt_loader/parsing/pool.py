"""A pool of parser processes: started by exec (never forked from a process that runs gRPC), bounded, and replaced."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from memgpt_runtime import tracing
from memgpt_runtime.fair_semaphore import FairSemaphore

from memgpt_loader.failures import FileFailure
from memgpt_loader.parsing import libreoffice
from memgpt_loader.parsing.parser_limits import ParserLimits
from memgpt_loader.parsing.process import ParserProcess, ParserUnavailable
from memgpt_loader.parsing.results import ParserResult

_FILES_PER_PROCESS = 200
"""A process is replaced after this many files, before leaks in a library add up."""


class ParserPool:
    """Parses files in separate processes.

    A file that exhausts memory or time costs its own process, which is killed and replaced; other files go on.

    Attributes:
        observe: Called with the time in seconds that parsing a file took, and whether it was parsed to its end.
    """

    def __init__(self, limits: ParserLimits) -> None:
        self._limits = limits
        self._slots = FairSemaphore(limits.processes)
        self._idle: list[ParserProcess] = []
        self._all: set[ParserProcess] = set()
        self._prestart: asyncio.Task[None] | None = None
        self._closed = False
        self.observe: Callable[[float, bool], None] = lambda _seconds, _parsed: None

    @property
    def waiting(self) -> int:
        """Number of files that wait for a parser."""
        return self._slots.waiting

    def prestart(self, files: int) -> None:
        """Start missing processes for this many files in the background."""
        missing = min(files, self._limits.processes) - len(self._all)
        if missing > 0 and not self._closed and (self._prestart is None or self._prestart.done()):
            self._prestart = asyncio.create_task(self._start_idle(missing))

    async def parse(self, path: Path, name: str, *owner: str) -> AsyncGenerator[ParserResult]:
        """Parse a file; close the generator if it is not read to its end.

        Args:
            path: Where the bytes are.
            name: The file's name, for its extension.
            owner: The tenant and the load that it belongs to; they share the processes fairly.

        Yields:
            `FileOpened` once, then the passages in the order of the file, then `NotesReported` if there is one.

        Raises:
            FileFailure: The file cannot be parsed.
            ParserUnavailable: No process could be started; retrying may help.
        """
        async with self._slots.slot(*owner or ("",)), libreoffice.parsable(path, name, self._limits) as (path, name):
            parser = await self._take()
            reusable, seconds, resumed = False, 0.0, time.perf_counter()
            span = tracing.span("parse_file", {})
            try:
                async with contextlib.aclosing(parser.parse(path, name, self._limits)) as results:
                    async for result in results:
                        # Without the time in which the caller stores a result.
                        seconds += time.perf_counter() - resumed
                        yield result
                        resumed = time.perf_counter()
                reusable = True
            except FileFailure as failure:
                reusable = parser.usable
                span.fail(str(failure.reason).lower())
                raise
            finally:
                self.observe(seconds, reusable)
                span.end()
                if reusable and not self._closed and parser.files < _FILES_PER_PROCESS:
                    self._idle.append(parser)
                else:
                    await self._discard(parser)

    async def close(self) -> None:
        """Kill all processes; files being parsed fail."""
        self._closed = True
        if self._prestart is not None:
            self._prestart.cancel()
            await asyncio.gather(self._prestart, return_exceptions=True)
        await asyncio.gather(*(self._discard(parser) for parser in list(self._all)))

    async def _start_idle(self, parsers: int) -> None:
        # If a start fails, the first file reports it.
        with contextlib.suppress(ParserUnavailable):
            for _ in range(parsers):
                self._idle.append(await self._start())

    async def _take(self) -> ParserProcess:
        if not self._idle and self._prestart is not None and not self._prestart.done():
            await asyncio.wait([self._prestart])
        while self._idle:
            parser = self._idle.pop()
            if parser.usable:
                return parser
            await self._discard(parser)
        return await self._start()

    async def _start(self) -> ParserProcess:
        parser = await ParserProcess.start(self._limits.memory_bytes)
        self._all.add(parser)
        try:
            await parser.wait_ready()
        except BaseException:
            await self._discard(parser)
            raise
        return parser

    async def _discard(self, parser: ParserProcess) -> None:
        self._all.discard(parser)
        if parser in self._idle:
            self._idle.remove(parser)
        await parser.kill()
