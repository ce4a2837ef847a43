"""`memgpt load`: hashes files, sends them, and reports the results."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from memgpt.cli.errors import MISUSE, CliError, explain
from memgpt.cli.loading.find_files import FoundFile
from memgpt.cli.loading.report import Report
from memgpt.cli.loading.send import transfer
from memgpt.cli.terminal.ui import Ui
from memgpt.client import RESUME_SECONDS, MemGPT, NotFound, ServiceError, Unavailable
from memgpt.loader.v1.load_pb2 import FileManifest, LoadState

_FILES_A_LOAD = 10_000
_NAME_BYTES_A_LOAD = 2 << 20
_MAX_NAME_BYTES = 1024
_MAX_TAGS, _MAX_TAG_CHARS = 32, 64


def extensions_of(memgpt: MemGPT) -> list[str]:
    """Return the file extensions that the Loader supports."""
    return sorted({extension for each in memgpt.loads.formats() for extension in each.extensions})


def manifest(item: FoundFile) -> FileManifest:
    """Return the manifest of a file for the Loader.

    Raises:
        OSError: The file cannot be read.
    """
    with item.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileManifest(name=item.name, size=file.tell(), sha256=digest.hexdigest())


def tags_of(tags: Sequence[str], *, untag: bool) -> list[str] | None:
    """Return the tags to set; None if each file keeps its tags.

    Raises:
        CliError: Both options are given, or a tag is invalid.
    """
    if tags and untag:
        raise CliError("--tag and --untag exclude each other; --tag replaces what there is", MISUSE)
    for tag in tags:
        if not 1 <= len(tag) <= _MAX_TAG_CHARS:
            raise CliError(f'a tag has 1 to {_MAX_TAG_CHARS} characters; this one has {len(tag)}: "{tag[:80]}"', MISUSE)
    if len(tags) > _MAX_TAGS:
        raise CliError(f"a file has at most {_MAX_TAGS} tags", MISUSE)
    return list(tags) if tags or untag else None


def parts(names: Iterable[str]) -> Iterator[list[str]]:
    """Yield the names of files in order, as many at a time as one load can have."""
    part: list[str] = []
    size = 0
    for name in names:
        length = len(name.encode())
        if len(part) == _FILES_A_LOAD or size + length > _NAME_BYTES_A_LOAD:
            yield part
            part, size = [], 0
        part.append(name)
        size += length
    if part:
        yield part


def load_files(
    ui: Ui,
    memgpt: MemGPT,
    name: str,
    found: Sequence[FoundFile],
    description: str = "",
    failures: Sequence[tuple[str, str]] = (),
    *,
    sync: bool = False,
    tags: Sequence[str] | None = None,
    as_json: bool = False,
) -> bool:
    """Load files into a source and report the result of each.

    Args:
        ui: The terminal.
        memgpt: The services.
        name: Name of the source.
        found: The files to load.
        description: Description of a source that is created.
        failures: Names that could not be fetched, with the reasons.
        sync: Whether other files of the source are removed. None is removed if a file cannot be read.
        tags: Tags of the files; None keeps them.
        as_json: Whether to write JSON for programs.

    Returns:
        Whether no file failed and at least one is loaded.

    Raises:
        CliError: `sync` was requested for more files than one load can have.
    """
    if sync and sum(1 for _ in parts([item.name for item in found])) > 1:
        raise CliError(
            f"--sync works with up to {_FILES_A_LOAD:,} files, whose names have up to {_NAME_BYTES_A_LOAD >> 20} MiB "
            f"together; {len(found):,} were found",
            MISUSE,
        )
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
        report.note("Nothing is removed from the source, because not every file could be read.")
        sync = False
    new = not _exists(memgpt, name)
    with report.showing():
        for file_name, problem in problems:
            report.failed(file_name, problem)
        for names in parts(ready):
            part = {each: ready[each] for each in names}
            load = memgpt.loads.create(name, [told for _, told in part.values()], description, sync=sync, tags=tags)
            report.begin(load.files)
            if load.state == LoadState.LOAD_STATE_RUNNING:
                try:
                    load = transfer(report, memgpt.loads, load, {each: path for each, (path, _) in part.items()})
                except KeyboardInterrupt:
                    memgpt.loads.cancel(load.load_id)
                    report.note("Cancelled; the same command resumes it.")
                    raise
                except Unavailable as error:
                    raise CliError(
                        f"gave up {RESUME_SECONDS:g} s after the last response of the Loader: {explain(error)}. "
                        "Loaded files are kept; run the same command to load the rest"
                    ) from error
            report.end(load)
    if new and ready and _removed_if_empty(memgpt, name):
        report.note(f"The data source {name} was not created, because nothing was loaded.")
    return report.finish()


def _exists(memgpt: MemGPT, source: str) -> bool:
    try:
        memgpt.sources.find(source)
    except NotFound:
        return False
    return True


def _removed_if_empty(memgpt: MemGPT, source: str) -> bool:
    """Remove a new data source that nothing was loaded into; return whether it was."""
    try:
        found = memgpt.sources.find(source)
        running = any(
            load.state == LoadState.LOAD_STATE_RUNNING
            for load in memgpt.loads.list()
            if load.source_id == found.source_id
        )
        if found.info.file_count or running:
            return False
        memgpt.sources.delete(found.source_id)
    except ServiceError:  # it stays, which does no harm
        return False
    return True


def nothing_found(ui: Ui, name: str, failures: Sequence[tuple[str, str]], *, as_json: bool = False) -> bool:
    """Report a load without files to send, which needs no service; return False."""
    report = Report(ui, name, len(failures), as_json=as_json)
    for file_name, problem in failures:
        report.failed(file_name, problem)
    return report.finish()
