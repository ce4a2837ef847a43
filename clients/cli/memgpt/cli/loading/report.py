"""Output of `memgpt load`: a progress bar on a terminal, a line per file elsewhere, or JSON for programs."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

from memgpt.cli.terminal.progress import Bar, Progress
from memgpt.cli.terminal.ui import Ui, plural
from memgpt.config.durations import duration_text
from memgpt.loader.v1.load_pb2 import FileState, Load, LoadFile

ENDS = {
    FileState.FILE_STATE_LOADED: "loaded",
    FileState.FILE_STATE_UNCHANGED: "unchanged",
    FileState.FILE_STATE_EMPTY: "empty",
    FileState.FILE_STATE_SKIPPED: "skipped",
    FileState.FILE_STATE_FAILED: "failed",
    FileState.FILE_STATE_CANCELLED: "cancelled",
}
"""Final states of a file."""
_BAD = ("failed", "cancelled")

_TOLD_SECONDS = 5.0
"""Minimum seconds of a wait that is reported."""


class _Waits:
    """The files that wait for another attempt, such as for a rate limit."""

    def __init__(self) -> None:
        self._ends: dict[str, tuple[float, str]] = {}

    def update(self, file: LoadFile) -> bool:
        """Note whether a file waits; return whether people should hear of it, since no other wait lasts as long."""
        self._ends.pop(file.manifest.name, None)
        seconds = file.wait.delay.ToTimedelta().total_seconds()
        if seconds < _TOLD_SECONDS:
            return False
        end, latest = time.monotonic() + seconds, max(self._ends.values(), default=(0.0, ""))[0]
        self._ends[file.manifest.name] = end, file.wait.message
        return end > latest + _TOLD_SECONDS

    def text(self) -> str:
        """Return why files wait, and for how long; empty if none does."""
        end, why = max(self._ends.values(), default=(0.0, ""))
        left = end - time.monotonic()
        return f"Waiting {duration_text(left)}: {why}" if left > 0 else ""


class Report:
    """Tracks the files of a command, and reports the result of each once and a summary.

    A terminal shows a bar instead of a line per file; failures and notes follow below it at the end.
    """

    def __init__(self, ui: Ui, source: str, total: int, *, as_json: bool) -> None:
        """Start an empty report.

        Args:
            ui: The terminal.
            source: Name of the source.
            total: Number of files to load.
            as_json: Whether to write only JSON objects, one per line.
        """
        self._ui = ui
        self._source = source
        self._total = total
        self._as_json = as_json
        self._start = time.monotonic()
        self._bar = None if as_json else Bar(ui, "Loading files")
        self._waits = _Waits()
        if self._bar is not None:
            self._bar.show_below(self._waits.text)
        self._files: dict[str, LoadFile] = {}
        self._counts: Counter[str] = Counter()
        self._remarks: list[str] = []
        self._noted: list[tuple[str, list[str]]] = []
        self._problems: list[tuple[str, str]] = []
        # Only files that are or were to be sent: the others take no work.
        self._idle = 0
        self._bytes = self._bytes_ended = 0
        self._removed = self._passages = self._documents = 0

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show the progress while the context is open."""
        self._show()
        with self._bar or nullcontext():
            yield

    def failed(self, name: str, problem: str) -> None:
        """Report a file that cannot be sent."""
        self._idle += 1
        self._tell(name, "failed", LoadFile(), problem)

    def begin(self, files: Iterable[LoadFile]) -> None:
        """Report the files of a load as it was created."""
        for file in files:
            if file.state in ENDS:
                self._idle += 1
            else:
                self._bytes += file.manifest.size
            self.update(file, show=False)
        self._show()

    def update(self, file: LoadFile, *, show: bool = True) -> None:
        """Report the current state of a file."""
        name = file.manifest.name
        before = self._files.get(name)
        self._files[name] = file
        self._passages += file.passage_count - (before.passage_count if before else 0)
        if self._waits.update(file):
            self._tell_wait(file)
        if file.state in ENDS and (before is None or before.state not in ENDS):
            if before is not None:
                self._bytes_ended += file.manifest.size
            self._tell(name, ENDS[file.state], file, file.failure_message or file.note)
        if show:
            self._show()

    def end(self, load: Load) -> None:
        """Report the end of a load."""
        for file in load.files:
            self.update(file, show=False)
        self._documents += load.document_count
        self._removed += load.removed_count
        self._show()

    def finish(self) -> bool:
        """Write the summary; return whether no file failed and at least one is loaded."""
        inside = [file for file in self._files.values() if ENDS.get(file.state) in ("loaded", "unchanged")]
        passages = sum(file.passage_count for file in inside)
        well = not self._problems and bool(inside)
        if self._as_json:
            counts = {state: self._counts[state] for state in ENDS.values()}
            summary = {"type": "summary", "source": self._source, "documents": self._documents, "passages": passages}
            seconds = round(time.monotonic() - self._start, 3)
            self._write({**summary, "files": counts, "dropped": self._removed, "seconds": seconds})
            return well
        if inside:
            counted = f"{_count(passages, 'passage')} and {_count(self._documents, 'document')}"
            self._ui.line(f"Loaded {counted} from {self._source}", "bold green")
        if self._removed:
            self._ui.note(f"Removed from {self._source}: {plural(self._removed, 'file')} no longer in the folder")
        for remark in sorted(self._remarks):
            self._ui.note(remark)
        for name, notes in sorted(self._noted):
            self._ui.note(f"{name} was loaded without:")
            for remark in notes:
                self._ui.line(f"  - {remark}", "dim", indent=4)
        if any(count for state, count in self._counts.items() if state != "loaded"):
            ends = (f"{self._counts[state]} {state}" for state in ENDS.values() if self._counts[state])
            self._ui.note("Files: " + ", ".join(ends))
        for name, problem in sorted(self._problems):
            self._ui.error(f"{name}: {problem}")
        if not well and not self._problems:
            self._ui.error("nothing was loaded")
        return well

    def note(self, text: str) -> None:
        """Write a remark for people."""
        if not self._as_json:
            self._ui.note(text)

    def _tell_wait(self, file: LoadFile) -> None:
        if self._as_json:
            seconds = round(file.wait.delay.ToTimedelta().total_seconds(), 3)
            self._write({"type": "wait", "name": file.manifest.name, "seconds": seconds, "reason": file.wait.message})
        elif not self._ui.terminal:
            self._ui.progress(self._waits.text())

    def _tell(self, name: str, state: str, file: LoadFile, text: str) -> None:
        self._counts[state] += 1
        if state in _BAD:
            text = text or "was not loaded"
            self._problems.append((name, text))
        notes = [note.message for note in file.notes]
        if self._as_json:
            told = {"type": "file", "name": name, "state": state, "documents": file.document_count}
            self._write({**told, "passages": file.passage_count, "reason": text, "notes": notes})
        elif self._ui.terminal:
            if notes:
                self._noted.append((name, notes))
            elif text and state not in _BAD:
                self._remarks.append(f"{name}: {state}: {text}")
        else:
            passages = f", {_count(file.passage_count, 'passage')}" if state in ("loaded", "unchanged") else ""
            reason = "; ".join(notes) or text
            self._ui.line(f"{name}: {state}{passages}" + (f": {reason}" if reason else ""))

    def _show(self) -> None:
        if self._bar is not None:
            done, passages = sum(self._counts.values()), _count(self._passages, "passage")
            work = self._bytes_ended / self._bytes if self._bytes else None
            self._bar.show(Progress(done, self._total, passages, self._idle, work))

    def _write(self, value: dict[str, object]) -> None:
        self._ui.line(json.dumps(value, ensure_ascii=False))


def _count(number: int, noun: str) -> str:
    """Return a count in machine-readable form, without commas."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
