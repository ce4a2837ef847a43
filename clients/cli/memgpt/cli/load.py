"""`memgpt load`: files found, hashed, sent and watched until they are passages."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from memgpt.cli.errors import MISUSE, CliError, explain
from memgpt.cli.load_report import Report
from memgpt.cli.ui import Ui
from memgpt.client import (
    RESUME_SECONDS,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    Loads,
    MemGPT,
    Reason,
    ResourceExhausted,
    RetryPolicy,
    ServiceError,
    Unavailable,
)
from memgpt.loader.v1.load_pb2 import FileManifest, FileState, Load, LoadFile, LoadState

EXTENSIONS = (
    ".adoc,.asciidoc,.asm,.bash,.bat,.bib,.c,.cc,.cfg,.clj,.cmake,.conf,.cpp,.cs,.css,.csv,.cxx,.dart,.diff,"
    ".docm,.docx,.dotm,.dotx,.eml,.env,.epub,.erl,.ex,.exs,.f90,.fs,.geojson,.go,.gradle,.graphql,.groovy,.h,"
    ".hpp,.hs,.htm,.html,.ical,.ics,.ini,.java,.jl,.js,.json,.json5,.jsonc,.jsonl,.jsx,.kt,.less,.lisp,.log,"
    ".lua,.m,.markdown,.mbox,.md,.mdx,.mjs,.ml,.mm,.ndjson,.nfo,.org,.pas,.patch,.pdf,.php,.pl,.pm,.po,.potx,"
    ".ppsm,.ppsx,.pptm,.pptx,.properties,.proto,.ps1,.py,.pyi,.r,.rb,.rs,.rst,.sass,.scala,.scm,.scss,.sh,"
    ".sol,.sql,.swift,.tab,.tcl,.text,.textile,.tf,.toml,.ts,.tsv,.tsx,.txt,.v,.vb,.vhd,.vue,.wiki,.xhtml,"
    ".xlsm,.xlsx,.xltm,.xltx,.yaml,.yml,.zig,.zsh"
)
"""What is taken from a folder unless `--extensions` says otherwise: all that the Loader knows by name."""

IGNORE_FILE = ".memgptignore"
"""Says what is passed over in the folder that it lies in, as .gitignore does."""

_FILES_A_LOAD = 10_000
_MAX_NAME_BYTES = 1024
# What a name cannot hold: controls, and bytes that are no UTF-8, which Python shows as lone surrogates.
_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

_MAX_TAGS, _MAX_TAG_CHARS = 32, 64
_UPLOADS = 4
_STALLS = 3
"""How often a file is sent that the Loader did not get fast enough: this process may have been stopped meanwhile."""

_LONG_SECONDS = 30.0
"""An upload that lasted so long had reached the Loader: only what comes after it tries patience."""


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


def tags_of(tags: Sequence[str], *, untag: bool) -> list[str] | None:
    """The labels that files are to have; None when nothing is said of them.

    Raises:
        CliError: Both, or what is no label.
    """
    if tags and untag:
        raise CliError("--tag and --untag exclude each other: --tag replaces what there is", MISUSE)
    for tag in tags:
        if not 1 <= len(tag) <= _MAX_TAG_CHARS:
            raise CliError(f"a tag has 1 to {_MAX_TAG_CHARS} characters, unlike {tag[:80]!r}", MISUSE)
    if len(tags) > _MAX_TAGS:
        raise CliError(f"a file has at most {_MAX_TAGS} tags", MISUSE)
    return list(tags) if tags or untag else None


def load_files(
    ui: Ui,
    memgpt: MemGPT,
    name: str,
    found: Sequence[Found],
    description: str = "",
    failures: Sequence[tuple[str, str]] = (),
    *,
    sync: bool = False,
    tags: Sequence[str] | None = None,
    as_json: bool = False,
) -> bool:
    """Loads files into a source and tells what became of each.

    Args:
        ui: The terminal.
        memgpt: The services.
        name: The source.
        found: The files.
        description: Of a source that is made.
        failures: What could not even be found, and why.
        sync: Whether files of the source that are not among these are dropped. Nothing is when one cannot be read.
        tags: Labels of the files; None leaves each those that it has.
        as_json: Whether a program reads what is said.

    Returns:
        Whether nothing has failed, and anything is in.

    Raises:
        CliError: More files than one load can have, which alone can drop others.
    """
    if sync and len(found) > _FILES_A_LOAD:
        raise CliError(f"--sync works with up to {_FILES_A_LOAD:,} files; {len(found):,} were found", MISUSE)
    report = Report(ui, name, len(found) + len(failures), as_json=as_json)
    ready: dict[str, tuple[Path, FileManifest]] = {}
    problems = list(failures)
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
    if sync and problems:
        report.note("Nothing is dropped from the source, since not every file could be read.")
        sync = False
    names = list(ready)
    with report.showing():
        for file_name, problem in problems:
            report.failed(file_name, problem)
        for first in range(0, len(names), _FILES_A_LOAD):
            part = {each: ready[each] for each in names[first : first + _FILES_A_LOAD]}
            load = memgpt.loads.create(name, [told for _, told in part.values()], description, sync=sync, tags=tags)
            report.begin(load.files)
            if load.state == LoadState.LOAD_STATE_RUNNING:
                try:
                    load = _transfer(report, memgpt.loads, load, {each: path for each, (path, _) in part.items()})
                except KeyboardInterrupt:
                    memgpt.loads.cancel(load.load_id)
                    report.note("Cancelled; the same command takes it up where it was.")
                    raise
                except Unavailable as error:
                    raise CliError(
                        f"given up {RESUME_SECONDS:g} s after the Loader's last sign of life: {explain(error)}. "
                        "What is loaded stays; the same command takes the rest up"
                    ) from error
            report.end(load)
    return report.finish()


def nothing_found(ui: Ui, name: str, failures: Sequence[tuple[str, str]], *, as_json: bool = False) -> bool:
    """Tells of a load of which nothing can even be sent, without any service; returns False."""
    report = Report(ui, name, len(failures), as_json=as_json)
    for file_name, problem in failures:
        report.failed(file_name, problem)
    return report.finish()


@contextmanager
def received(stream: BufferedIOBase, name: str) -> Iterator[Found]:
    """What comes from a stream, as a file that lasts as long as the context."""
    with TemporaryDirectory(prefix="memgpt-") as folder:
        path = Path(folder, "stdin")
        with path.open("wb") as file:
            # `read` would ask a terminal again after its end, and want Ctrl-D twice.
            while data := stream.read1(1 << 20):
                file.write(data)
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


def _transfer(report: Report, loads: Loads, load: Load, paths: dict[str, Path]) -> Load:
    """Uploads what is wanted and watches the load until it ends."""
    stop = Event()
    uploads: dict[str, Future[None]] = {}
    with ThreadPoolExecutor(_UPLOADS) as pool:

        def want(file: LoadFile) -> None:
            name = file.manifest.name
            # One that was sent is wanted again if the Loader was started anew before it had read it.
            if file.state == FileState.FILE_STATE_AWAITING_UPLOAD and (name not in uploads or uploads[name].done()):
                uploads[name] = pool.submit(_upload, loads, load.load_id, name, paths[name], stop)
                uploads[name].add_done_callback(lambda done: _cancel_if_failed(loads, load.load_id, done))

        for file in load.files:
            want(file)
        try:
            for event in loads.watch(
                load.load_id, lambda: report.note("The Loader does not answer. Waiting for it ...")
            ):
                if event.HasField("file"):
                    report.update(event.file)
                    want(event.file)
                elif event.HasField("ended"):
                    load = event.ended
        finally:
            stop.set()
            for upload in uploads.values():
                upload.cancel()
    for upload in uploads.values():
        problem = None if upload.cancelled() else upload.exception()
        if problem is not None and not isinstance(problem, FailedPrecondition):
            raise problem
    return load


def _upload(loads: Loads, load_id: str, name: str, path: Path, stop: Event) -> None:
    """Sends a file, or tells the load to go on without it."""
    policy, stalls = RetryPolicy(RESUME_SECONDS), 0
    while not stop.is_set():
        began = time.monotonic()
        try:
            loads.upload(load_id, name, path)
        except (ResourceExhausted, Unavailable) as error:  # It may be starting anew.
            if time.monotonic() - began > _LONG_SECONDS:
                policy.renew()
            stop.wait(policy.pause(error))
        except DeadlineExceeded as error:
            stalls += 1
            if stalls == _STALLS:
                loads.withdraw(load_id, name, f"The file could not be sent in time: {error.message}.")
                return
        except OSError as error:
            loads.withdraw(load_id, name, f"The file cannot be read any more: {error.strerror}.")
            return
        except InvalidArgument as error:
            if error.reason != Reason.UPLOAD_MISMATCH:
                raise
            loads.withdraw(load_id, name, "The file changed while it was being loaded. Load it again.")
            return
        else:
            return


def _cancel_if_failed(loads: Loads, load_id: str, upload: Future[None]) -> None:
    """A failure that is not one file's would leave the load waiting for ever: better to end it and say why."""
    problem = None if upload.cancelled() else upload.exception()
    # Not wanted any more: somebody else sent it, or the load has ended.
    if problem is not None and not isinstance(problem, FailedPrecondition):
        with suppress(ServiceError):
            loads.cancel(load_id)
