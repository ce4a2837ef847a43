"""Files as people have them: good ones of every kind, and odd ones, each with what is to become of it.

    python -m tests.support.corpus FOLDER [--large]

| module | makes |
| --- | --- |
| `pdf_files` | PDFs: scripts, broken words, scans, passwords, bombs, loops |
| `office_files` | Word, PowerPoint, Excel, EPUB, and what looks like them |
| `text_files` | text in every encoding, tables, JSON, HTML, names that are hard to write |
| `mail_files` | messages, archives of messages, what is attached to them |
| `other_files` | what is not read, and what is nothing at all |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support.corpus.sample import Sample


def samples(*, large: bool = False) -> list[Sample]:
    """All files, by name; the ones that are large in bytes or pages only if asked for."""
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
    """Writes files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for sample in chosen:
        data = sample.make()
        with (folder / sample.name).open("wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
