"""Discovery of the files and web pages to load."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from tempfile import TemporaryDirectory

from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.terminal.ui import Ui

IGNORE_FILE = ".memgptignore"
"""Name of the file that lists patterns to ignore in its folder, like .gitignore."""

# Not allowed in names: controls, and bytes that are not UTF-8, which Python represents as lone surrogates.
_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

_NAMED = 12


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to load: its name in the source, and its path."""

    name: str
    path: Path


def find_files(
    directory: Path | None,
    files: Sequence[Path],
    *,
    recursive: bool = False,
    extensions: Iterable[str] = (),
    exclude: Sequence[str] = (),
) -> list[FoundFile]:
    """Return the files to load, sorted by name.

    Args:
        directory: Folder to search; names are relative to it. Hidden files are skipped.
        files: Individual files, whatever their extension. They are named by their file names, or by the given paths
        if two files would have the same name.
        recursive: Whether to search subfolders.
        extensions: Extensions of the files to load from the folder, such as ``.md``.
        exclude: Patterns of files to skip in the folder, as in .gitignore, in addition to its `IGNORE_FILE`.

    Raises:
        CliError: No file was given, or none was found.
    """
    check_place(directory, files)
    if directory is None:
        return _named(files)
    wanted = {"." + part.strip().lower().lstrip(".") for part in extensions if part.strip()}
    ignored = _ignored(directory, exclude)
    walk = _walk(directory, ignored, recursive=recursive)
    found = _labelled((path.relative_to(directory).as_posix(), path) for path in walk)
    chosen = sorted((item for item in found if item.path.suffix.lower() in wanted), key=lambda item: item.name)
    if not chosen:
        hint = "" if recursive else "; --recursive looks in its folders too"
        named = sorted(wanted)
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        raise CliError(f"{directory} has no files that end with {', '.join(named[:_NAMED])}{more}{hint}")
    return chosen


def _named(files: Sequence[Path]) -> list[FoundFile]:
    for path in files:
        if not path.is_file():
            problem = "is a folder; --input-dir loads one" if path.is_dir() else "does not exist"
            raise CliError(f"{path} {problem}", MISUSE)
    paths = list(dict.fromkeys(files))
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [path.as_posix() for path in paths]
    return _labelled(zip(names, paths, strict=True))


def _labelled(files: Iterable[tuple[str, Path]]) -> list[FoundFile]:
    """Name files. Names that differ only in their Unicode form are kept as they are, and so stay distinct."""
    pairs = list(files)
    same = Counter(label(name) for name, _ in pairs)
    return [FoundFile(label(name) if same[label(name)] == 1 else _printable(name), path) for name, path in pairs]


def label(name: str) -> str:
    """Return the name of a file in its source.

    Characters that names must not contain are written in hexadecimal. Accents are composed (NFC): Macs may decompose
    them, and a file copied from there would get another name.
    """
    return unicodedata.normalize("NFC", _printable(name))


def _printable(name: str) -> str:
    return _UNSPEAKABLE.sub(lambda match: f"\\x{ord(match[0]) & 0xFF:02x}", name)


def _ignored(directory: Path, exclude: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that tells whether to skip a path in the directory; folders end with a slash."""
    ignore_file = directory / IGNORE_FILE
    lines = [*exclude]
    if ignore_file.is_file():
        lines = [*ignore_file.read_text(encoding="utf-8", errors="replace").splitlines(), *lines]
    if not lines:
        return lambda _: False
    from pathspec import GitIgnoreSpec

    try:
        patterns = GitIgnoreSpec.from_lines(unicodedata.normalize("NFC", line) for line in lines)
    except ValueError as error:
        raise CliError(f"invalid pattern of --exclude or {IGNORE_FILE}: {error}", MISUSE) from error
    return lambda path: patterns.match_file(unicodedata.normalize("NFC", path))


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


@contextmanager
def received(stream: BufferedIOBase, name: str) -> Iterator[FoundFile]:
    """Yield the content of a stream as a file that exists while the context is open."""
    with TemporaryDirectory(prefix="memgpt-") as folder:
        path = Path(folder, "stdin")
        with path.open("wb") as file:
            # `read` would read a terminal again after its end and so require Ctrl-D twice.
            while data := stream.read1(1 << 20):
                file.write(data)
        yield FoundFile(label(name), path)


@contextmanager
def downloaded(
    ui: Ui, urls: Sequence[str], *, allow_private: bool
) -> Iterator[tuple[list[FoundFile], list[tuple[str, str]]]]:
    """Yield web pages as files that exist while the context is open, and the failed ones with the reason."""
    from memgpt.cli.loading import web

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
            found.append(FoundFile(label(url), path))
        yield found, failures


def check_place(directory: Path | None, files: Sequence[Path]) -> None:
    """Check that the paths exist before starting any services.

    Raises:
        CliError: No path was given, or one does not exist.
    """
    if directory is None and not files:
        raise CliError("nothing to load; give --input-dir FOLDER or --input-files FILE", MISUSE)
    if directory is not None and files:
        raise CliError("--input-dir and --input-files exclude each other", MISUSE)
    if directory is not None and not directory.is_dir():
        problem = "is not a folder; --input-files loads single files" if directory.exists() else "does not exist"
        raise CliError(f"{directory} {problem}", MISUSE)


def split_paths(paths: Sequence[Path]) -> tuple[Path | None, list[Path]]:
    """Split the given paths into a folder and files.

    Raises:
        CliError: A folder was given together with other paths.
    """
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        return None, list(paths)
    if len(paths) > 1:
        raise CliError(f"{folders[0]} is a folder; load it with a command of its own", MISUSE)
    return folders[0], []


def source_name(name: str, paths: Sequence[Path]) -> str:
    """Return the name of the data source: the given one, or the name of the only file or folder.

    Raises:
        CliError: Several files were given, but no name.
    """
    if name:
        return name
    if len(paths) > 1:
        raise CliError("several files need --name, the name of their data source", MISUSE)
    found = paths[0].resolve()
    return label(found.name if found.is_dir() else found.stem)
