"""Record the tutorial in a pseudo-terminal and write it as an animated SVG: docs/images/tutorial.svg.

Runs the real command line with the offline model in a temporary home. Each frame is the screen at one moment in the
colors of the terminal; pauses are shortened.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import pexpect
import pyte

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "images" / "tutorial.svg"
PAPER = next(ROOT.rglob("samples/memgpt_research_paper.pdf"))
QUESTION = "The paper I loaded into your archival memory is called MemGPT. Can you tell me more about it?"

COLUMNS, ROWS = 100, 30
CELL, LINE = 8.4, 18
_FRAME, _SHORT, _LONG = 0.3, 0.8, 4.0
_COLORS = {
    "default": "#d4d4d8",
    "black": "#3f3f46",
    "red": "#f87171",
    "green": "#4ade80",
    "brown": "#facc15",
    "blue": "#60a5fa",
    "magenta": "#c084fc",
    "cyan": "#22d3ee",
    "white": "#f4f4f5",
}


@dataclass
class Recorder:
    """A terminal that records its screens as frames.

    Attributes:
        frames: Each screen as SVG text, with the seconds for which it is shown.
        kept: Time of the last recorded screen, by the monotonic clock.
    """

    screen: pyte.Screen = field(default_factory=lambda: pyte.Screen(COLUMNS, ROWS))
    frames: list[tuple[str, float]] = field(default_factory=list)
    kept: float = 0.0

    def __post_init__(self) -> None:
        self._stream = pyte.Stream(self.screen)

    def feed(self, text: str) -> None:
        """Draw the output of a program."""
        self._stream.feed(text)

    def keep(self, seconds: float) -> None:
        """Record the current screen."""
        self.kept = time.monotonic()
        drawn = "".join(self._line(row) for row in range(ROWS))
        if self.frames and self.frames[-1][0] == drawn:
            drawn, before = self.frames.pop()
            seconds += before
        self.frames.append((drawn, seconds))

    def _line(self, row: int) -> str:
        runs: list[tuple[int, str, str, bool]] = []
        for column in range(COLUMNS):
            cell = self.screen.buffer[row][column]
            if cell.data in ("", " "):
                continue
            color = _COLORS.get(cell.fg, f"#{cell.fg}" if len(cell.fg) == 6 else _COLORS["default"])
            if runs and (runs[-1][0] + len(runs[-1][1]), *runs[-1][2:]) == (column, color, cell.bold):
                start, text, *_ = runs.pop()
                runs.append((start, text + cell.data, color, cell.bold))
            else:
                runs.append((column, cell.data, color, cell.bold))
        y = (row + 1) * LINE + 34
        return "".join(
            f'<text x="{16 + start * CELL:.1f}" y="{y}" fill="{color}" font-weight="{700 if bold else 400}">'
            f"{escape(text)}</text>"
            for start, text, color, bold in runs
        )


def record(recorder: Recorder, home: Path) -> None:
    """Run the commands of the tutorial."""
    environment = {**os.environ, "MEMGPT_HOME": str(home), "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    environment |= {f"MEMGPT_{service}_PORT": "0" for service in ("AGENT", "LOADER", "MEMORY")}
    program = str(Path(sys.executable).with_name("memgpt"))
    _run(recorder, program, ["quickstart"], environment, [])
    load = ["load", "directory", "--name", "memgpt_research_paper", f"--input-files={PAPER.relative_to(ROOT)}"]
    _run(recorder, program, load, environment, [])
    chat = [
        ("(will request first MemGPT message)", ""),
        ("Enter your message:", "/attach memgpt_research_paper"),
        ("Enter your message:", QUESTION),
        ("Enter your message:", "/exit"),
    ]
    _run(recorder, program, ["run", "--persona", "memgpt_doc"], environment, chat)


def _run(
    recorder: Recorder, program: str, arguments: list[str], environment: dict[str, str], chat: list[tuple[str, str]]
) -> None:
    recorder.feed(f"\x1b[32m$\x1b[0m memgpt {' '.join(arguments)}\r\n")
    recorder.keep(_SHORT)
    child = pexpect.spawn(
        program, arguments, env=environment, cwd=ROOT, dimensions=(ROWS, COLUMNS), encoding="utf-8", timeout=120
    )
    for prompt, answer in chat:
        _until(recorder, child, prompt)
        recorder.keep(_LONG if answer == "/exit" else _SHORT)
        child.sendline(answer)
    _until(recorder, child, None)
    recorder.keep(_SHORT)


def _until(recorder: Recorder, child: pexpect.spawn[str], prompt: str | None) -> None:
    """Feed the recorder until the prompt appears, or the program ends."""
    while True:
        try:
            text = child.read_nonblocking(4096, timeout=20)
        except pexpect.EOF:
            if prompt is not None:
                raise
            return
        recorder.feed(text)
        if time.monotonic() - recorder.kept >= _FRAME:
            recorder.keep(_FRAME)
        written = [line.rstrip() for line in recorder.screen.display if line.strip()]
        if prompt is not None and written[-1].endswith(prompt):
            return


def render(frames: list[tuple[str, float]]) -> str:
    """Return the frames as one SVG that plays them in a loop."""
    total = sum(seconds for _, seconds in frames)
    width, height = COLUMNS * CELL + 32, ROWS * LINE + 56
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" font-size="14" '
        'xml:space="preserve" '
        "font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\">",
        "<title>The tutorial in a terminal</title>",
        '<rect width="100%" height="100%" rx="10" fill="#18181b"/>',
        '<circle cx="20" cy="20" r="6" fill="#f87171"/><circle cx="40" cy="20" r="6" fill="#facc15"/>',
        '<circle cx="60" cy="20" r="6" fill="#4ade80"/>',
    ]
    start = 0.0
    for drawn, seconds in frames:
        begin, end = start / total, (start + seconds) / total
        times, values = [0.0, begin, end, 1.0], "0;1;0;0"
        if begin == 0:
            times, values = [0.0, end, 1.0], "1;0;0"
        elif end >= 1:
            times, values = [0.0, begin, 1.0], "0;1;1"
        shown = ";".join(f"{min(time, 1):.5f}" for time in times)
        still = "" if end < 1 else ' class="last"'
        parts.append(
            f'<g{still} opacity="{0 if end < 1 else 1}">{drawn}<animate attributeName="opacity" calcMode="discrete" '
            f'dur="{total:.1f}s" repeatCount="indefinite" keyTimes="{shown}" values="{values}"/></g>'
        )
        start += seconds
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Record and write."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as home:
        record(recorder, Path(home))
    TARGET.write_text(render(recorder.frames), encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {len(recorder.frames)} frames, {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
