"""`memgpt load directory`: files found, hashed, sent and watched until they are passages."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from memgpt_runtime.errors import FailedPrecondition, ResourceExhausted, ServiceError

from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.progress import Bar
from memgpt.cli.ui import Ui
from memgpt.client import Loads, MemGPT
from memgpt.loader.v1.load_pb2 import FileManifest, FileState, Load, LoadFile, LoadState

EXTENSIONS = ".txt,.md,.pdf"
"""What is taken from a folder unless `--extensions` says otherwise."""

_UPLOADS = 4
_ENDED = {
    FileState.FILE_STATE_LOADED,
    FileState.FILE_STATE_UNCHANGED,
    FileState.FILE_STATE_EMPTY,
    FileState.FILE_STATE_SKIPPED,
    FileState.FILE_STATE_FAILED,
    FileState.FILE_STATE_CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Found:
    """A file to load: its name within the source, and where it lies."""

    name: str
    path: Path


def find_files(
    directory: Path | None, files: Sequence[Path], *, recursive: bool = False, extensions: str = EXTENSIONS
) -> list[Found]:
    """The files to load, in order of their names.

    Args:
        directory: Folder to look in; names are relative to it. Hidden files are passed over.
        files: Files named one by one, whatever their extension. Their own names count, or the paths as given where two
            files would have the same name.
        recursive: Whether to look in the folder's folders as well.
        extensions: What to take from the folder, separated by commas.

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
    wanted = {"." + part.strip().lower().lstrip(".") for part in extensions.split(",") if part.strip()}
    found = [Found(path.relative_to(directory).as_posix(), path) for path in _walk(directory, recursive=recursive)]
    chosen = sorted((item for item in found if item.path.suffix.lower() in wanted), key=lambda item: item.name)
    if not chosen:
        hint = "" if recursive else "; --recursive looks in its folders too"
        raise CliError(f"{directory} has no files that end with {', '.join(sorted(wanted))}{hint}")
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
    return [Found(name, path) for name, path in zip(names, paths, strict=True)]


def _walk(directory: Path, *, recursive: bool) -> Iterator[Path]:
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                yield path


def manifest(item: Found) -> FileManifest:
    """What the Loader is told of a file; OSError when it cannot be read."""
    with item.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileManifest(name=item.name, size=file.tell(), sha256=digest.hexdigest())


def load_directory(ui: Ui, memgpt: MemGPT, name: str, found: Sequence[Found], description: str = "") -> bool:
    """Loads files into a source and tells what became of each that failed.

    Returns:
        Whether every file is in.
    """
    paths: dict[str, Path] = {}
    manifests: list[FileManifest] = []
    failures: list[tuple[str, str]] = []
    with ui.busy("Reading files..."):
        for item in found:
            try:
                manifests.append(manifest(item))
                paths[item.name] = item.path
            except OSError as error:
                failures.append((item.name, f"cannot be read: {error.strerror}"))
    if manifests:
        load = memgpt.loads.create(name, manifests, description)
        try:
            load = _transfer(ui, memgpt.loads, load, paths)
        except KeyboardInterrupt:
            memgpt.loads.cancel(load.load_id)
            ui.note("Cancelled; the same command takes it up where it was.")
            raise
        failures += [
            (file.manifest.name, file.failure_message or "was not loaded")
            for file in load.files
            if file.state in (FileState.FILE_STATE_FAILED, FileState.FILE_STATE_CANCELLED)
        ]
        unchanged = sum(file.state == FileState.FILE_STATE_UNCHANGED for file in load.files)
        if unchanged:
            ui.note(f"{_files(unchanged)} of {len(load.files)} loaded before and unchanged")
        ui.line(f"Loaded {load.passage_count} passages and {load.document_count} documents from {name}", "bold green")
    for file_name, problem in failures:
        ui.error(f"{file_name}: {problem}")
    return not failures


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _transfer(ui: Ui, loads: Loads, load: Load, paths: dict[str, Path]) -> Load:
    """Uploads what is wanted and watches the load until it ends."""
    states: dict[str, LoadFile] = {file.manifest.name: file for file in load.files}
    wanted = [name for name, file in states.items() if file.state == FileState.FILE_STATE_WANTED]
    stop = Event()
    with Bar(ui, "Loading files", len(states)) as bar, ThreadPoolExecutor(_UPLOADS) as pool:

        def show() -> None:
            ended = sum(file.state in _ENDED for file in states.values())
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
