"""Parser processes: started by exec (never forked from a process that runs gRPC), bounded, and replaced when spent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from memgpt_loader.failures import FailureReason, FileFailure, NoParser
from memgpt_loader.formats import Note, NoteKind
from memgpt_loader.parsing import frames
from memgpt_loader.parsing.fair_semaphore import Turns

# A parser of untrusted files sees no credentials: only what the interpreter needs.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
_START_SECONDS = 60.0
_CHARS_A_TIME = 1_000_000
"""For so many characters that it gives a file gets its time once more: a long one may take long, a stuck one not."""
_FILES_A_PROCESS = 200  # a process is replaced after so many, before leaks of a library add up


@dataclass(frozen=True)
class ParserLimits:
    """Bounds of parsing, for each file."""

    processes: int
    """Files that are parsed at a time, each in a process; one more while a load would have none, see `turns`."""
    memory_bytes: int
    """Address space of a parser process."""
    seconds: float
    """How long the Loader waits for the parser, and again for every million characters that it reads; time spent on
    storing passages does not count."""
    max_pages: int
    """Pages, slides, sheets or chapters of a file."""
    max_chars: int
    """Characters of text in a file."""
    max_unpacked_bytes: int
    """Bytes of all that is packed in a file."""
    max_tokens: int
    """Tokens of a passage."""
    overlap_tokens: int = 0
    """Tokens that a passage repeats of the one before it."""


@dataclass(frozen=True)
class Opened:
    """The file could be opened."""

    media_type: str
    documents: int
    """Number of its pages; 1 for a document without pages."""


@dataclass(frozen=True)
class ParsedPassage:
    """A passage: a piece of a page."""

    text: str
    page: int
    """From 1; 0 in a document without pages."""
    start: int
    """First character within the page's cleaned text, from 0."""
    end: int
    """One past the last character."""


@dataclass(frozen=True)
class PageRead:
    """Passages of a page: all, or a part of very many."""

    page: int
    passages: tuple[ParsedPassage, ...]
    last: bool
    """Whether the page ends here, or a piece of a long text without pages."""


@dataclass(frozen=True)
class Noted:
    """The file has been read to its end, and something was left out."""

    notes: tuple[Note, ...]


class ParserPool:
    """Parses files in processes of its own.

    A file that exhausts memory or time costs its own process, which is killed and replaced; other files go on.
    """

    def __init__(self, limits: ParserLimits) -> None:
        self._limits = limits
        self._turns = Turns(limits.processes)
        self._idle: list[_Parser] = []
        self._all: set[_Parser] = set()
        self._warming: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """Files that wait for a parser."""
        return self._turns.waiting

    def warm(self, files: int) -> None:
        """Starts parsers ahead of so many files, where there are none yet. Returns at once."""
        missing = min(files, self._limits.processes) - len(self._all)
        if missing > 0 and not self._closed and (self._warming is None or self._warming.done()):
            self._warming = asyncio.create_task(self._warm(missing))

    async def parse(self, path: Path, name: str, owner: str = "") -> AsyncGenerator[Opened | PageRead | Noted]:
        """Parses a file; close the generator if it is not read to its end.

        Args:
            path: Where the bytes are.
            name: The file's name, for its extension.
            owner: The load that it belongs to: loads take turns.

        Yields:
            `Opened` once, then the passages in the order of the file, then `Noted` if there is something to note.

        Raises:
            FileFailure: The file cannot be loaded.
            NoParser: There is nothing to read it with; another time there may be.
        """
        async with self._turns.turn(owner):
            parser = await self._take()
            spent = True
            try:
                async with contextlib.aclosing(parser.parse(path, name, self._limits)) as items:
                    async for item in items:
                        yield item
                spent = False
            except FileFailure:
                spent = not parser.usable
                raise
            finally:
                if spent or self._closed or parser.files >= _FILES_A_PROCESS:
                    await self._discard(parser)
                else:
                    self._idle.append(parser)

    async def close(self) -> None:
        """Ends all parsers; files that are being parsed fail."""
        self._closed = True
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        await asyncio.gather(*(self._discard(parser) for parser in list(self._all)))

    async def _warm(self, parsers: int) -> None:
        # A failure to start shows, and is reported, with the first file.
        with contextlib.suppress(NoParser):
            for _ in range(parsers):
                self._idle.append(await self._start())

    async def _take(self) -> _Parser:
        if not self._idle and self._warming is not None and not self._warming.done():
            await asyncio.wait([self._warming])
        while self._idle:
            parser = self._idle.pop()
            if parser.usable:
                return parser
            await self._discard(parser)
        return await self._start()

    async def _start(self) -> _Parser:
        parser = await _Parser.start(self._limits.memory_bytes)
        self._all.add(parser)
        try:
            await parser.ready()
        except BaseException:
            await self._discard(parser)
            raise
        return parser

    async def _discard(self, parser: _Parser) -> None:
        self._all.discard(parser)
        if parser in self._idle:
            self._idle.remove(parser)
        await parser.kill()


class _Parser:
    """One parser process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._busy = False
        self.files = 0

    @classmethod
    async def start(cls, memory_bytes: int) -> _Parser:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "memgpt_loader.parsing.worker",
                str(memory_bytes),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={key: os.environ[key] for key in _ENVIRONMENT if key in os.environ},
                start_new_session=True,  # an interrupt at the terminal is for the Loader, which then ends its parsers
            )
        except OSError as error:
            raise NoParser(repr(error)) from error
        return cls(process)

    @property
    def usable(self) -> bool:
        """Whether it can read another file."""
        return not self._busy and self._process.returncode is None

    async def ready(self) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._receive()
        except TimeoutError as error:
            raise NoParser(f"not ready after {_START_SECONDS:g} s") from error
        except (EOFError, ConnectionError, ValueError) as error:
            raise NoParser(f"it ended while it started, and may have said why above: {error!r}") from error

    async def parse(self, path: Path, name: str, limits: ParserLimits) -> AsyncGenerator[Opened | PageRead | Noted]:
        self._busy = True
        self.files += 1
        budget = limits.seconds
        try:
            await self._send(
                {
                    "path": str(path),
                    "name": name,
                    "max_pages": limits.max_pages,
                    "max_chars": limits.max_chars,
                    "max_unpacked_bytes": limits.max_unpacked_bytes,
                    "max_tokens": limits.max_tokens,
                    "overlap_tokens": limits.overlap_tokens,
                    "cpu_seconds": int(limits.seconds) + 5,
                }
            )
            while True:
                started = time.monotonic()
                async with asyncio.timeout(budget):
                    frame = await self._receive()
                budget -= time.monotonic() - started
                budget += limits.seconds * _chars(frame) / _CHARS_A_TIME
                if "done" in frame:
                    self._busy = False
                    if frame["notes"]:
                        yield Noted(tuple(Note(NoteKind(kind), *rest) for kind, *rest in frame["notes"]))
                    return
                if "reason" in frame:
                    self._busy = frame["detail"] == "MemoryError"
                    raise FileFailure(FailureReason(frame["reason"]), frame["message"], detail=frame["detail"])
                yield _item(frame)
        except TimeoutError:
            raise FileFailure(
                FailureReason.TIMEOUT,
                f"Reading the file takes longer than {limits.seconds:g} s for {_CHARS_A_TIME:,} characters. "
                "Split it, or raise loader.parser_seconds.",
            ) from None
        except (EOFError, ConnectionError) as error:
            # Killed by the kernel, or crashed: out of memory below Python, or a fault in a library.
            raise FileFailure(
                FailureReason.TOO_LARGE,
                "The file makes the parser run out of memory or crash. If it is to be trusted, print it to a new PDF "
                "or split it.",
                detail=f"the parser ended with {self._process.returncode}: {error!r}",
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            message = "The parser sent nonsense about this file. This is a bug of the Loader."
            raise FileFailure(FailureReason.INTERNAL, message, detail=repr(error)) from error

    async def kill(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        # Not `wait`: asyncio reports the end of a process only when its pipes have ended too, and the end of a pipe
        # whose buffer is full is never noticed unless somebody reads it.
        await self._process.communicate()

    async def _send(self, frame: frames.Frame) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - asked for when it was started
        stdin.write(frames.encode(frame))
        await stdin.drain()

    async def _receive(self) -> frames.Frame:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - asked for when it was started
        size = int.from_bytes(await stdout.readexactly(frames.HEADER_BYTES), "big")
        if size > frames.MAX_BYTES:
            raise ValueError(f"a frame of {size} bytes")
        return frames.decode(await stdout.readexactly(size))


def _chars(frame: frames.Frame) -> int:
    return sum(len(text) for text, _, _ in frame.get("passages", ()))


def _item(frame: frames.Frame) -> Opened | PageRead:
    if "documents" in frame:
        return Opened(frame["media_type"], frame["documents"])
    page = frame["page"]
    passages = tuple(ParsedPassage(text, page, start, end) for text, start, end in frame["passages"])
    return PageRead(page, passages, frame["last"])
