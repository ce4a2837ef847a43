"""Data sources of other systems: loaded through the Loader, like files of the user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from memgpt.cli.imports import names
from memgpt.cli.imports.bounded import clean
from memgpt.cli.imports.conversation import split_bytes
from memgpt.cli.imports.pieces import Document, Source
from memgpt.cli.imports.report import Report
from memgpt.cli.loading.find_files import FoundFile, label
from memgpt.cli.loading.load import load_files
from memgpt.cli.terminal.ui import Ui
from memgpt.client import MemGPT, NotFound

_TEXTS = (".txt", ".md")
_MAX_NAME_BYTES = 1_000
_MAX_DESCRIPTION = 4_000


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """A data source that is to come, and the number of its documents."""

    source: Source
    name: str
    description: str
    tags: Sequence[str]
    count: int


def plan_sources(sources: Iterable[Source], report: Report) -> list[SourcePlan]:
    """Return the data sources to load, after a first pass over their documents."""
    plans: list[SourcePlan] = []
    for source in sources:
        name = names.numbered(
            names.display_name(source.name, "source"), [plan.name for plan in plans], names.MAX_NAME, "-"
        )
        where = f'data source "{name}"'
        if name != source.name:
            report.changed(where, "name of the data source does not fit or repeats", source.name)
        description = clean(source.description).strip()
        if len(description) > _MAX_DESCRIPTION:
            report.left_out(where, "rest of a description over 4,000 characters", description[_MAX_DESCRIPTION:])
        tags = [tag for each in source.tags[: names.MAX_TAGS] if (tag := names.tag(each))]
        count = sum(1 for _ in _documents(source, where, report))
        plans.append(SourcePlan(source, name, description[:_MAX_DESCRIPTION], tags, count))
    return plans


def load_source(ui: Ui, memgpt: MemGPT, plan: SourcePlan) -> tuple[str, bool]:
    """Load a data source. Documents that are there already are not loaded again.

    A source of the user that happens to have the name is left alone: the name gets a number then.

    Returns:
        The name of the source, and whether every document was loaded.
    """
    with _as_files(plan) as found:
        name = _free_name(memgpt, plan.name, {item.name for item in found})
        return name, load_files(ui, memgpt, name, found, plan.description, tags=plan.tags or None)


def _free_name(memgpt: MemGPT, wanted: str, ours: set[str]) -> str:
    """Return a name of no source, or of one with only such files, which an import before has loaded."""
    taken: list[str] = []
    while True:
        name = names.numbered(wanted, taken, names.MAX_NAME, "-")
        try:
            source = memgpt.sources.find(name)
        except NotFound:
            return name
        if all(file.version.name in ours for file in source.files()):
            return name
        taken.append(name)


@contextmanager
def _as_files(plan: SourcePlan) -> Iterator[list[FoundFile]]:
    """Yield the documents as files that exist while the context is open; their names are numbers."""
    found: list[FoundFile] = []
    with TemporaryDirectory(prefix="memgpt-") as folder, Report() as report:
        for number, document in enumerate(_documents(plan.source, plan.name, report)):
            path = Path(folder, str(number))
            path.write_text(document.text, encoding="utf-8", newline="")
            found.append(FoundFile(document.name, path))
        yield found


def _documents(source: Source, where: str, report: Report) -> Iterator[Document]:
    """Yield the documents that have text, each under a name of its own that ends like a text file."""
    taken: set[str] = set()
    for document in source.documents:
        text = clean(document.text)
        shown = label(clean(document.name)).strip() or "document"
        place = f'{where}, document "{shown[:80]}"'
        if not text.strip():
            report.left_out(place, "document without text")
            continue
        name = _file_name(shown, taken)
        if name != document.name:
            report.changed(place, "name of a document; its text is loaded, not the original file", document.name)
        taken.add(name)
        yield Document(name, text)


def _file_name(shown: str, taken: set[str]) -> str:
    stem, extension = (shown[:-4], ".txt") if shown.lower().endswith(_TEXTS[0]) else (shown, ".txt")
    if shown.lower().endswith(_TEXTS[1]):
        stem, extension = shown[:-3], ".md"
    stem, _ = split_bytes(stem, _MAX_NAME_BYTES)
    name, number = stem + extension, 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}{extension}"
    return name
