"""A command on its own pseudo-terminal, whose screen can be read."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pexpect
import pyte

ENTER, INTERRUPT, END = "\r", "\x03", "\x04"


class Terminal:
    """A program on a pseudo-terminal; a context manager.

    Attributes:
        code: Exit code; None while it runs.
    """

    def __init__(
        self, program: str, *arguments: str, env: Mapping[str, str], cwd: Path, width: int = 120, height: int = 400
    ) -> None:
        """Start the program.

        Args:
            program: The program.
            arguments: Its arguments.
            env: Its environment.
            cwd: Its working directory.
            width: Columns of the terminal.
            height: Lines of the terminal; by default enough that nothing scrolls away.
        """
        self._screen = pyte.Screen(width, height)
        self._stream = pyte.Stream(self._screen)
        self._spawned = pexpect.spawn(
            program,
            list(arguments),
            env={**env, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"},
            encoding="utf-8",
            codec_errors="replace",
            dimensions=(height, width),
            cwd=str(cwd),
            # Jobs of a background shell ignore Ctrl-C, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self._spawned.delaybeforesend = None
        self.code: int | None = None

    def lines(self) -> list[str]:
        """Return the lines on the screen without trailing blanks and blank lines."""
        lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def text(self) -> str:
        """Return the screen as one text."""
        return "\n".join(self.lines())

    def send(self, keys: str) -> None:
        """Type keys."""
        self._spawned.send(keys)

    def wait(self, found: str | Callable[[str], bool], timeout: float = 90) -> str:
        """Read until the screen shows a text or satisfies a condition; return the screen.

        Raises:
            AssertionError: It did not happen in time; the message has the screen.
        """
        wanted = found if callable(found) else lambda text: found in text
        deadline = time.monotonic() + timeout
        while not wanted(self.text()):
            assert time.monotonic() < deadline, f"{found!r} is not there after {timeout} s:\n{self.text()}"
            if not self._read(deadline):
                assert wanted(self.text()), f"it ended without {found!r}:\n{self.text()}"
        return self.text()

    def wait_end(self, timeout: float = 90) -> str:
        """Read until the program ends; return the screen."""
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            assert time.monotonic() < deadline, f"it did not end:\n{self.text()}"
        self._spawned.close()
        self.code = self._spawned.exitstatus
        return self.text()

    def _read(self, deadline: float) -> bool:
        try:
            self._stream.feed(self._spawned.read_nonblocking(65536, max(0.1, min(1.0, deadline - time.monotonic()))))
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spawned.close(force=True)
