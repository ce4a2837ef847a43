"""One parser process, as seen from the Loader."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats import Note, NoteKind
from memgpt_loader.parsing import frames
from memgpt_loader.parsing.parser_limits import ParserLimits
from memgpt_loader.parsing.results import FileOpened, NotesReported, PageRead, ParsedPassage, ParserResult
from memgpt_loader.text_recognition import MOST_PAGES, PAGE_SECONDS

# A parser of untrusted files gets no credentials, only what the interpreter needs.
_ENVIRONMENT = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TESSDATA_PREFIX",
)
_ONE_THREAD = {"OMP_THREAD_LIMIT": "1"}  # of Tesseract, whose threads slow each other down
_START_SECONDS = 60.0
_CHARS_PER_TIME_LIMIT = 1_000_000
"""The time limit restarts after this many characters, so that it stops a stuck parser but not a long file."""


class ParserUnavailable(Exception):  # noqa: N818 - a condition, like a gRPC status
    """A parser process cannot be started, for example for lack of memory. The text is for the log only."""


class ParserProcess:
    """A process that parses one file after the other.

    Attributes:
        files: Number of files that it has been given.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._busy = False
        self.files = 0

    @classmethod
    async def start(cls, memory_bytes: int) -> ParserProcess:
        """Start a process; call `wait_ready` before `parse`.

        Raises:
            ParserUnavailable: The system refuses a new process.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "memgpt_loader.parsing.worker",
                str(memory_bytes),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={key: os.environ[key] for key in _ENVIRONMENT if key in os.environ} | _ONE_THREAD,
                start_new_session=True,  # Ctrl-C in a terminal goes to the Loader, which then stops its parsers
            )
        except OSError as error:
            raise ParserUnavailable(repr(error)) from error
        return cls(process)

    @property
    def usable(self) -> bool:
        """Whether it can parse another file."""
        return not self._busy and self._process.returncode is None

    async def wait_ready(self) -> None:
        """Wait until it has imported its libraries.

        Raises:
            ParserUnavailable: It exited, or took too long.
        """
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._receive()
        except TimeoutError as error:
            raise ParserUnavailable(f"not ready after {_START_SECONDS:g} s") from error
        except (EOFError, ConnectionError, ValueError) as error:
            raise ParserUnavailable(f"exited while starting; see its output above: {error!r}") from error

    async def parse(self, path: Path, name: str, limits: ParserLimits) -> AsyncGenerator[ParserResult]:
        """Parse a file; see `ParserPool.parse`."""
        self._busy = True
        self.files += 1
        try:
            await self._send(_request(path, name, limits))
            async with contextlib.aclosing(self._results(limits)) as results:
                async for result in results:
                    yield result
        except TimeoutError:
            raise FileFailure(
                FailureReason.TIMEOUT,
                f"reading the file takes longer than {limits.seconds:g} s for {_CHARS_PER_TIME_LIMIT:,} characters; "
                "split it, or raise loader.parser_seconds",
            ) from None
        except (EOFError, ConnectionError) as error:
            # Killed by the kernel, or crashed: out of memory below Python, or a fault in a library.
            raise FileFailure(
                FailureReason.TOO_LARGE,
                "the file makes the parser run out of memory or crash; if you trust it, print it to a new PDF or "
                "split it",
                detail=f"parser exited with {self._process.returncode}: {error!r}",
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            message = "internal error: the parser returned an invalid response"
            raise FileFailure(FailureReason.INTERNAL, message, detail=repr(error)) from error

    async def kill(self) -> None:
        """Kill the process and reap it."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        # Not `wait`: asyncio reports the exit only after the pipes have ended, and a pipe whose buffer is full ends
        # only when it is read.
        await self._process.communicate()

    async def _results(self, limits: ParserLimits) -> AsyncGenerator[ParserResult]:
        seconds_left = limits.seconds
        recognized = 0
        while True:
            started = time.monotonic()
            async with asyncio.timeout(seconds_left):
                frame = await self._receive()
            seconds_left -= time.monotonic() - started
            seconds_left += limits.seconds * _chars(frame) / _CHARS_PER_TIME_LIMIT
            if "recognized" in frame:
                recognized += 1
                seconds_left += PAGE_SECONDS if recognized <= MOST_PAGES else 0
                continue
            if "done" in frame:
                self._busy = False
                if frame["notes"]:
                    yield NotesReported(tuple(Note(NoteKind(kind), *rest) for kind, *rest in frame["notes"]))
                return
            if "reason" in frame:
                self._busy = frame["detail"] == "MemoryError"
                raise FileFailure(FailureReason(frame["reason"]), frame["message"], detail=frame["detail"])
            yield _result(frame)

    async def _send(self, frame: frames.Frame) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - requested when the process was started
        stdin.write(frames.encode(frame))
        await stdin.drain()

    async def _receive(self) -> frames.Frame:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - requested when the process was started
        size = int.from_bytes(await stdout.readexactly(frames.HEADER_BYTES), "big")
        if size > frames.MAX_BYTES:
            raise ValueError(f"frame of {size} bytes")
        return frames.decode(await stdout.readexactly(size))


def _request(path: Path, name: str, limits: ParserLimits) -> frames.Frame:
    return {
        "path": str(path),
        "name": name,
        "max_pages": limits.max_pages,
        "max_chars": limits.max_chars,
        "max_unpacked_bytes": limits.max_unpacked_bytes,
        "max_tokens": limits.max_tokens,
        "overlap_tokens": limits.overlap_tokens,
        "ocr_languages": limits.ocr_languages,
        "cpu_seconds": int(limits.seconds) + 5,
    }


def _chars(frame: frames.Frame) -> int:
    return sum(len(text) for text, _, _ in frame.get("passages", ()))


def _result(frame: frames.Frame) -> FileOpened | PageRead:
    if "documents" in frame:
        return FileOpened(frame["media_type"], frame["documents"])
    page = frame["page"]
    passages = tuple(ParsedPassage(text, page, start, end) for text, start, end in frame["passages"])
    return PageRead(page, passages, frame["last"])
