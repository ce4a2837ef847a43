"""Legacy Word and PowerPoint files are converted by LibreOffice, within limits; a script stands in for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.formats.legacy_office import converted_extension
from memgpt_loader.parsing import libreoffice
from memgpt_loader.parsing.pool import ParserPool
from memgpt_loader.parsing.results import FileOpened, PageRead

from tests.support.compound_files import compound_file
from tests.support.documents import docx, paragraph, pptx, shape
from tests.support.missing import missing_tool
from tests.unit.loader.parsing.test_pool import LIMITS, read, spooled

_WORD = compound_file({"WordDocument": b"\0" * 600})
_SLIDES = compound_file({"PowerPoint Document": b"\0" * 600})


@pytest.fixture
async def pool() -> AsyncIterator[ParserPool]:
    pool = ParserPool(replace(LIMITS, processes=1, seconds=20))
    yield pool
    await pool.close()


def _install(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Put a program in the place of LibreOffice."""
    programs = folder / "programs"
    programs.mkdir()
    program = programs / "soffice"
    program.write_text(
        f"#!{sys.executable}\nimport os, pathlib, shutil, sys, time\nhere = pathlib.Path({str(folder)!r})\n{script}"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


def _left(folder: Path) -> list[Path]:
    return list(folder.glob("memgpt-convert-*"))


_CONVERT = """
kind, folder = sys.argv[sys.argv.index("--convert-to") + 1], pathlib.Path(sys.argv[sys.argv.index("--outdir") + 1])
profile = pathlib.Path(next(each for each in sys.argv if each.startswith("-env:"))[len("-env:UserInstallation=file://"):])
(here / "settings").write_text((profile / "user" / "registrymodifications.xcu").read_text())
(here / "given").write_bytes(pathlib.Path(sys.argv[-1]).read_bytes())
folder.mkdir()
shutil.copy(here / f"converted.{kind}", folder / f"file.{kind}")
"""


@pytest.mark.parametrize(
    ("name", "data", "kind"), [("a.doc", _WORD, "docx"), ("a.ppt", _SLIDES, "pptx"), ("a", _WORD, "docx")]
)
async def test_a_legacy_document_is_converted_and_read(
    pool: ParserPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, kind: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _install(monkeypatch, tmp_path, _CONVERT)
    (tmp_path / "converted.docx").write_bytes(docx(paragraph("An old letter.")))
    (tmp_path / "converted.pptx").write_bytes(pptx([shape("An old letter.")]))
    items = await read(pool, spooled(tmp_path, "upload", data), name)
    assert isinstance(items[0], FileOpened)
    assert [passage.text for item in items if isinstance(item, PageRead) for passage in item.passages] == [
        "An old letter."
    ]
    assert (tmp_path / "given").read_bytes() == data
    settings = (tmp_path / "settings").read_text()
    assert 'oor:name="DisableMacrosExecution"><value>true<' in settings
    assert not _left(tmp_path)


async def test_without_libreoffice_the_refusal_says_what_to_install(
    pool: ParserPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libreoffice, "_PROGRAMS", ("no-such-program",))
    with pytest.raises(FileFailure) as failure:
        await read(pool, spooled(tmp_path, "upload", _WORD), "a.doc")
    assert failure.value.reason is FailureReason.UNSUPPORTED
    assert "libreoffice-writer-nogui" in failure.value.message


async def test_a_document_that_cannot_be_converted_is_damaged(
    pool: ParserPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(monkeypatch, tmp_path, "sys.exit(1)")
    with pytest.raises(FileFailure) as failure:
        await read(pool, spooled(tmp_path, "upload", _WORD), "a.doc")
    assert failure.value.reason is FailureReason.BROKEN


async def test_a_conversion_that_does_not_end_is_killed_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libreoffice, "_START_SECONDS", 0.0)
    _install(monkeypatch, tmp_path, "os.mkfifo(here / 'fifo')\nos.fork()\nopen(here / 'fifo')")
    hurried = ParserPool(replace(LIMITS, processes=1, seconds=2))
    try:
        with pytest.raises(FileFailure) as failure:
            await read(hurried, spooled(tmp_path, "upload", _WORD), "a.doc")
    finally:
        await hurried.close()
    assert failure.value.reason is FailureReason.TIMEOUT
    assert "LibreOffice" in failure.value.message


def test_the_files_that_a_conversion_writes_are_limited(tmp_path: Path) -> None:
    write = "open('big', 'wb').write(b'x' * 5000)"
    command = [sys.executable, "-P", "-m", "memgpt_loader.parsing.limited", str(4 << 30), str(1 << 30), "20", "4096"]
    subprocess.run([*command, sys.executable, "-c", write], cwd=tmp_path, capture_output=True, check=False)
    assert (tmp_path / "big").stat().st_size == 4096


def test_other_compound_files_are_not_converted(tmp_path: Path) -> None:
    for name, data in (
        ("a.xls", compound_file({"Workbook": b"\0" * 600})),
        ("a.txt", b"text"),
        ("a.doc", b"{\\rtf1 x}"),
    ):
        with spooled(tmp_path, "upload", data).open("rb") as source:
            assert converted_extension(name, source) == ""


async def test_libreoffice_converts_a_legacy_word_document(tmp_path: Path) -> None:
    if shutil.which("soffice") is None:
        missing_tool("LibreOffice is not installed")
    data = (Path(__file__).parents[3] / "data" / "kinds" / "old_a.doc").read_bytes()
    pool = ParserPool(replace(LIMITS, processes=1))
    try:
        items = await read(pool, spooled(tmp_path, "upload", data), "a.doc")
    finally:
        await pool.close()
    assert [passage.text for item in items if isinstance(item, PageRead) for passage in item.passages] == [
        "Tide table of the harbour"
    ]
