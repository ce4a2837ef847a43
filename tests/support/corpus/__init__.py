"""Realistic files: good and unusual ones of every kind, each with its expected outcome.

    python -m tests.support.corpus FOLDER [--large]

| module | makes |
| --- | --- |
| `pdf_files` | PDFs: scripts, broken words, scans, passwords, bombs, loops |
| `office_files` | Word, PowerPoint, Excel, EPUB, and files that look like them |
| `text_files` | text in every encoding, tables, JSON, HTML, names that are hard to write |
| `mail_files` | messages, archives of messages, attachments |
| `other_files` | unsupported and meaningless files |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support.corpus.sample import Sample


def samples(*, large: bool = False) -> list[Sample]:
    """Return all files by name; those with many bytes or pages only if requested."""
    from tests.support.corpus import mail_files, office_files, other_files, pdf_files, text_files

    groups: Sequence[Iterable[Sample]] = (
        pdf_files.samples(),
        office_files.samples(),
        text_files.samples(),
        mail_files.samples(),
        other_files.samples(),
    )
    found = [sample for group in groups for sample in group if large or not sample.large]
    assert len({sample.name for sample in found}) == len(found)
    return sorted(found, key=lambda sample: sample.name)


def write(folder: Path, chosen: Iterable[Sample]) -> None:
    """Write files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for sample in chosen:
        data = sample.make()
        with (folder / sample.name).open("wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
