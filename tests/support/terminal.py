"""A command on its own pseudo-terminal, whose screen can be read."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

import pexpect
import pyte

from tests.support.processes import service_environment
from tests.support.scripted_llm import ScriptedLLM

ENTER, INTERRUPT, END = "\r", "\x03", "\x04"

MEMGPT = str(Path(sys.executable).with_name("memgpt"))
PROMPT = "Enter your message:"


class Terminal:
    """A program on a pseudo-terminal; a context manager.

    Attributes:
        code: Exit code; None while it runs.
    """

    def __init__(
        self,
        program: str,
        *arguments: str,
        env: Mapping[str, str],
        cwd: Path,
        width: int = 120,
        height: int = 400,
        kind: str = "xterm-256color",
    ) -> None:
        """Start the program.

        Args:
            program: The program.
            arguments: Its arguments.
            env: Its environment.
            cwd: Its working directory.
            width: Columns of the terminal.
            height: Lines of the terminal; by default enough that nothing scrolls away.
            kind: Its kind, as in ``TERM``.
        """
        self._screen = pyte.Screen(width, height)
        self._stream = pyte.Stream(self._screen)
        self._spawned = pexpect.spawn(
            program,
            list(arguments),
            env={**env, "TERM": kind, "PROMPT_TOOLKIT_NO_CPR": "1"},
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

    def highlighted(self) -> list[str]:
        """Return the pieces of the screen in bold and in color, in order."""
        pieces = []
        for y in range(self._screen.lines):
            row = [self._screen.buffer[y][x] for x in range(self._screen.columns)]
            for style, cells in groupby(row, lambda cell: (cell.bold, cell.fg)):
                if style[0] and style[1] != "default":
                    pieces.append("".join(cell.data for cell in cells))
        return pieces

    def send(self, keys: str) -> None:
        """Type keys."""
        self._spawned.send(keys)

    def wait(self, found: str | Callable[[str], bool], timeout: float = 180) -> str:
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

    def wait_end(self, timeout: float = 180) -> str:
        """Read until the program ends; return the screen."""
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            assert time.monotonic() < deadline, f"it did not end:\n{self.text()}"
        self._spawned.close()
        self.code = self._spawned.exitstatus
        return self.text()

    def _read(self, deadline: float) -> bool:
        try:
            shown = self._spawned.read_nonblocking(65536, max(0.1, min(1.0, deadline - time.monotonic())))
            self._stream.feed(shown.replace("\ufe0f", ""))  # at a variation selector, pyte drops the rest of a line
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


class Home:
    """A home for one test, and commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "home"
        self.environment = service_environment(self.path, {})

    def terminal(self, *arguments: str, width: int = 120, kind: str = "xterm-256color", **variables: str) -> Terminal:
        """Start a command on a terminal, with more environment variables."""
        environment = {**self.environment, **variables}
        return Terminal(MEMGPT, *arguments, env=environment, cwd=self.folder, width=width, kind=kind)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command without a terminal, with more environment variables."""
        return subprocess.run(
            [MEMGPT, *arguments],
            env={**self.environment, **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def configure(self, llm: ScriptedLLM, *more: str) -> None:
        """Configure a scripted model, with more arguments."""
        flags = ["--model", "scripted", "--model-endpoint", llm.base_url, "--mode", "tools", *more]
        done = self.run("configure", *flags)
        assert done.returncode == 0, done.stderr
