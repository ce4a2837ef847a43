"""`memgpt load`: files found, hashed, sent and watched until they are passages."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import BinaryIO

from memgpt_runtime.errors import FailedPrecondition, ResourceExhausted, ServiceError

from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.progress import Bar
from memgpt.cli.ui import Ui
from memgpt.client import Loads, MemGPT
from memgpt.loader.v1.load_pb2 import FileManifest, FileState, Load, LoadFile, LoadState

EXTENSIONS = (
    ".csv,.docm,.docx,.eml,.epub,.htm,.html,.json,.jsonl,.markdown,.mbox,.md,.ndjson,.pdf,.ppsx,.pptm,.pptx,.text,.tsv,.txt,"
    ".xhtml,.xlsm,.xlsx"
)
"""What is taken from a folder unless `--extensions` says otherwise: all that the Loader knows by name."""

IGNORE_FILE = ".memgptignore"
"""Says what is passed over in the folder that it lies in, as .gitignore does."""

_FILES_A_LOAD = 10_000
_MAX_NAME_BYTES = 1024
# What a name cannot hold: controls, and bytes that are no UTF-8, which Python shows as lone surrogates.
_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

_UPLOADS = 4
_STATES = {
    FileState.FILE_STATE_LOADED: "loaded",
    FileState.FILE_STATE_UNCHANGED: "unchanged",
    FileState.FILE_STATE_EMPTY: "empty",
    FileState.FILE_STATE_SKIPPED: "skipped",
    FileState.FILE_STATE_FAILED: "failed",
    FileState.FILE_STATE_CANCELLED: "cancelled",
}
"""States that a file ends in."""
_ORDER = tuple(_STATES.values())


@dataclass(frozen=True, slots=True)
class Found:
    """A file to load: its name within the source, and where it lies."""

    name: str
    path: Path


def find_files(
    directory: Path | None,
    files: Sequence[Path],
    *,
    recursive: bool = False,
    extensions: str = "",
    exclude: Sequence[str] = (),
) -> list[Found]:
    """The files to load, in order of their names.

    Args:
        directory: Folder to look in; names are relative to it. Hidden files are passed over.
        files: Files named one by one, whatever their extension. Their own names count, or the paths as given where two
            files would have the same name.
        recursive: Whether to look in the folder's folders as well.
        extensions: What to take from the folder, separated by commas; `EXTENSIONS` if empty.
        exclude: Patterns of what to pass over in the folder, as in .gitignore; the folder's `IGNORE_FILE` has more.

    Raises:
        CliError: Nothing is asked for, or nothing is found.
    """
    if directory is None and not files:
        raise CliError("say what to load: --input-dir FOLDER or --input-files FILE", MISUSE)
    if directory is not None and files:
        raise CliError("--input-dir and --input-files exclude each other", MISUSE)
    if directory is None:
        return _named(files)
    if not directory.is_dir():
        problem = "is not a folder; --input-files loads single files" if directory.exists() else "does not exist"
        raise CliError(f"{directory} {problem}", MISUSE)
    wanted = {"." + part.strip().lower().lstrip(".") for part in (extensions or EXTENSIONS).split(",") if part.strip()}
    ignored = _ignored(directory, exclude)
    walk = _walk(directory, ignored, recursive=recursive)
    found = [Found(_label(path.relative_to(directory).as_posix()), path) for path in walk]
    chosen = sorted((item for item in found if item.path.suffix.lower() in wanted), key=lambda item: item.name)
    if not chosen:
        hint = "" if recursive else "; --recursive looks in its folders too"
        raise CliError(f"{directory} has no files to load that end with {', '.join(sorted(wanted))}{hint}")
    return chosen


def _named(files: Sequence[Path]) -> list[Found]:
    for path in files:
        if not path.is_file():
            problem = "is a folder; --input-dir loads one" if path.is_dir() else "does not exist"
            raise CliError(f"{path} {problem}", MISUSE)
    paths = list(dict.fromkeys(files))
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [path.as_posix() for path in paths]
    return [Found(_label(name), path) for name, path in zip(names, paths, strict=True)]


def _label(name: str) -> str:
    """A file's name as the source knows it: a character that a name cannot hold is written in hexadecimal digits."""
    return _UNSPEAKABLE.sub(lambda match: f"\\x{ord(match[0]) & 0xFF:02x}", name)


def _ignored(directory: Path, exclude: Sequence[str]) -> Callable[[str], bool]:
    """Tells whether a path within the directory is to be passed over; folders end with a slash."""
    ignore_file = directory / IGNORE_FILE
    lines = [*exclude]
    if ignore_file.is_file():
        lines = [*ignore_file.read_text(encoding="utf-8", errors="replace").splitlines(), *lines]
    if not lines:
        return lambda _: False
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(lines).match_file
    except ValueError as error:
        raise CliError(f"a pattern of --exclude or {IGNORE_FILE} cannot be understood: {error}", MISUSE) from error


def _walk(directory: Path, ignored: Callable[[str], bool], *, recursive: bool) -> Iterator[Path]:
    for folder, folders, names in os.walk(directory):
        within = Path(folder).relative_to(directory)
        folders[:] = [
            name
            for name in folders
            if recursive and not name.startswith(".") and not ignored(f"{(within / name).as_posix()}/")
        ]
        for name in names:
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file() and not ignored((within / name).as_posix()):
                yield path


def manifest(item: Found) -> FileManifest:
    """What the Loader is told of a file; OSError when it cannot be read."""
    with item.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileManifest(name=item.name, size=file.tell(), sha256=digest.hexdigest())


def load_files(
    ui: Ui,
    memgpt: MemGPT,
    name: str,
    found: Sequence[Found],
    description: str = "",
    failures: Sequence[tuple[str, str]] = (),
    *,
    sync: bool = False,
) -> bool:
    """Loads files into a source and tells what became of each that is not in.

    Args:
        ui: The terminal.
        memgpt: The services.
        name: The source.
        found: The files.
        description: Of a source that is made.
        failures: What could not even be found, and why.
        sync: Whether files of the source that are not among these are dropped. Nothing is when one cannot be read.

    Returns:
        Whether nothing has failed, and anything is in.

    Raises:
        CliError: More files than one load can have, which alone can drop others.
    """
    if sync and len(found) > _FILES_A_LOAD:
        raise CliError(f"--sync works with up to {_FILES_A_LOAD:,} files; {len(found):,} were found", MISUSE)
    problems = list(failures)
    ready: dict[str, tuple[Path, FileManifest]] = {}
    with ui.busy("Reading files..."):
        for item in found:
            if len(item.name.encode()) > _MAX_NAME_BYTES:
                problems.append((item.name[:80] + "…", f"the name is longer than {_MAX_NAME_BYTES:,} bytes"))
            elif item.name in ready:
                problems.append((item.name, "another file has the same name"))
            else:
                try:
                    ready[item.name] = item.path, manifest(item)
                except OSError as error:
                    problems.append((item.name, f"cannot be read: {error.strerror}"))
    names = list(ready)
    ended: list[LoadFile] = []
    passages = documents = removed = 0
    if sync and problems:
        ui.note("Nothing is dropped from the source, since not every file could be read.")
        sync = False
    for first in range(0, len(names), _FILES_A_LOAD):
        part = {each: ready[each] for each in names[first : first + _FILES_A_LOAD]}
        load = memgpt.loads.create(name, [told for _, told in part.values()], description, sync=sync)
        try:
            load = _transfer(ui, memgpt.loads, load, {each: path for each, (path, _) in part.items()})
        except KeyboardInterrupt:
            memgpt.loads.cancel(load.load_id)
            ui.note("Cancelled; the same command takes it up where it was.")
            raise
        ended += load.files
        passages, documents = passages + load.passage_count, documents + load.document_count
        removed += load.removed_count
    if names:
        ui.line(f"Loaded {passages} passages and {documents} documents from {name}", "bold green")
    if removed:
        ui.note(f"Dropped from {name}: {removed} files that are not there any more")
    return _tell(ui, ended, problems)


def _tell(ui: Ui, files: Sequence[LoadFile], problems: list[tuple[str, str]]) -> bool:
    """Says how the files ended; returns whether nothing has failed, and anything is in."""
    counts = Counter(_STATES[file.state] for file in files)
    for file in files:
        match file.state:
            case FileState.FILE_STATE_FAILED | FileState.FILE_STATE_CANCELLED:
                problems.append((file.manifest.name, file.failure_message or "was not loaded"))
            case FileState.FILE_STATE_EMPTY | FileState.FILE_STATE_SKIPPED:
                ui.note(f"{_STATES[file.state].capitalize()}: {file.manifest.name}: {file.failure_message}")
            case _ if file.note:
                ui.note(f"{file.manifest.name}: {file.note}")
    counts["failed"] += len(problems) - counts["failed"] - counts["cancelled"]
    if any(counts[state] for state in _ORDER if state != "loaded"):
        ui.note("Files: " + ", ".join(f"{counts[state]} {state}" for state in _ORDER if counts[state]))
    for file_name, problem in problems:
        ui.error(f"{file_name}: {problem}")
    if not problems and not counts["loaded"] and not counts["unchanged"]:
        ui.error("nothing was loaded")
        return False
    return not problems


@contextmanager
def received(stream: BinaryIO, name: str) -> Iterator[Found]:
    """What comes from a stream, as a file that lasts as long as the context."""
    with TemporaryDirectory(prefix="memgpt-") as folder:
        path = Path(folder, "stdin")
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
        yield Found(_label(name), path)


@contextmanager
def downloaded(
    ui: Ui, urls: Sequence[str], *, allow_private: bool
) -> Iterator[tuple[list[Found], list[tuple[str, str]]]]:
    """Web pages as files that last as long as the context, and those that cannot be had, with the reason."""
    from memgpt.cli import web

    found, failures = [], []
    with TemporaryDirectory(prefix="memgpt-") as folder:
        for number, url in enumerate(dict.fromkeys(urls)):
            try:
                with ui.busy(f"Fetching {url} ..."):
                    data = web.fetch(url, allow_private=allow_private)
            except CliError as error:
                failures.append((url, error.message.removeprefix(f"{url}: ")))
                continue
            path = Path(folder, str(number))
            path.write_bytes(data)
            found.append(Found(_label(url), path))
        yield found, failures


def _transfer(ui: Ui, loads: Loads, load: Load, paths: dict[str, Path]) -> Load:
    """Uploads what is wanted and watches the load until it ends."""
    states: dict[str, LoadFile] = {file.manifest.name: file for file in load.files}
    wanted = [name for name, file in states.items() if file.state == FileState.FILE_STATE_WANTED]
    stop = Event()
    with Bar(ui, "Loading files", len(states)) as bar, ThreadPoolExecutor(_UPLOADS) as pool:

        def show() -> None:
            ended = sum(file.state in _STATES for file in states.values())
            bar.show(ended, f"{sum(file.passage_count for file in states.values())} passages")

        show()
        if load.state != LoadState.LOAD_STATE_RUNNING:
            return load
        uploads = [pool.submit(_upload, loads, load.load_id, name, paths[name], stop) for name in wanted]
        for upload in uploads:
            upload.add_done_callback(lambda done: _cancel_if_failed(loads, load.load_id, done))
        try:
            for event in loads.watch(load.load_id):
                if event.HasField("file"):
                    states[event.file.manifest.name] = event.file
                elif event.HasField("ended"):
                    load = event.ended
                    states.update({file.manifest.name: file for file in load.files})
                show()
        finally:
            stop.set()
            for upload in uploads:
                upload.cancel()
    for upload in uploads:
        problem = None if upload.cancelled() else upload.exception()
        if problem is not None and not isinstance(problem, FailedPrecondition):
            raise problem
    return load


def _upload(loads: Loads, load_id: str, name: str, path: Path, stop: Event) -> None:
    while not stop.is_set():
        try:
            loads.upload(load_id, name, path)
        except ResourceExhausted as error:  # The Loader's disk is full of files that it works on: it gets emptier.
            stop.wait(error.retry_after or 1.0)
        except OSError as error:
            raise CliError(f"{path} cannot be read any more: {error.strerror}") from error
        else:
            return


def _cancel_if_failed(loads: Loads, load_id: str, upload: Future[None]) -> None:
    """A file that cannot be sent would leave the load waiting for it for ever: better to end it and say why."""
    problem = None if upload.cancelled() else upload.exception()
    # Not wanted any more: somebody else sent it, or the load has ended.
    if problem is not None and not isinstance(problem, FailedPrecondition):
        with suppress(ServiceError):
            loads.cancel(load_id)
