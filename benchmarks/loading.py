"""Loading of files through the command line, Loader and Memory: throughput, sizes, and unchanged files.

Throughput is measured from the first byte read to the last passage found by a search, with warm services. The baseline
is one process of plain pypdf that only extracts the text of the same pages, without its start.
"""

from __future__ import annotations

import asyncio
import io
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from itertools import count
from pathlib import Path

from memgpt.cli.loading.find_files import FoundFile
from memgpt.cli.loading.load import load_files
from memgpt.cli.terminal.ui import Ui
from memgpt.client import MemGPT
from memgpt.memory.v1.archival_memory_service_pb2 import PassageScope, SearchPassagesRequest
from memgpt.memory.v1.passage_pb2 import SEARCH_MODE_DENSE
from pypdf import PdfReader, PdfWriter

from benchmarks.common import Options, Table, new_store, say, scratch
from tests.support import corpus, pdfs, resident
from tests.support.suite import PAPER, Suite

PAGES, FILES = 500, 20
"""Number of pages, which repeat those of the sample paper, and of files that contain them."""

SMALL_FILES = 1_000
"""Files of a folder that is loaded again."""

_QUICK_PAGES = 500
_QUICK_BYTES = 20 << 20

_PLAIN = """
import sys, time
from pypdf import PdfReader
start = time.perf_counter()
for path in sys.argv[1:]:
    for page in PdfReader(path).pages:
        page.extract_text()
print(time.perf_counter() - start)
"""


async def run(options: Options) -> Table:
    """Measure one large file, many files, very large files, and an unchanged folder."""
    table = Table("loading: from files to passages that are found")
    await asyncio.to_thread(_measure, options, table)
    return table


def _measure(options: Options, table: Table) -> None:
    with scratch() as home:
        settings = {"MEMGPT_MEMORY_URI": new_store(options, home / "store")}
        with Suite(home / "suite", **settings) as suite, suite.client() as memgpt:
            _load(memgpt, "warm", [PAPER])
            _throughput(options, table, memgpt, home)
            _again(options, table, suite, home / "small")
            _sizes(options, table, suite, memgpt, home)


def _throughput(options: Options, table: Table, memgpt: MemGPT, home: Path) -> None:
    pages = PAGES // 5 if options.quick else PAGES
    each = pages // FILES
    one = [_pdf(home / "one.pdf", range(pages))]
    many = [_pdf(home / f"{n}.pdf", range(n * each, (n + 1) * each)) for n in range(FILES)]
    numbers = count()
    for files, what in ((one, "one PDF"), (many, f"{FILES} PDFs")):
        ours, plain = [], []
        for _ in range(options.times(5)):
            say(f"loading: {pages} pages in {what}")
            plain.append(_plainly(files))
            start = time.perf_counter()
            _load(memgpt, f"pages {next(numbers)}", files)
            ours.append(time.perf_counter() - start)
        rates = [pages / statistics.median(taken) for taken in (ours, plain)]
        table.add(f"pages of {pages} in {what}", "/s", *rates, other_name="pypdf", least=1.7)


def _again(options: Options, table: Table, suite: Suite, folder: Path) -> None:
    files = SMALL_FILES // 10 if options.quick else SMALL_FILES
    say(f"loading: {files:,} files, and again")
    folder.mkdir()
    for number in range(files):
        (folder / f"{number}.txt").write_text(f"This is note {number} of {files}.")
    command = ("load", "directory", "--name", "small", "--input-dir", str(folder))
    start = time.perf_counter()
    first = suite.run(*command, timeout=3600)
    assert first.returncode == 0, first.stderr
    table.add(f"`memgpt load` of {files:,} small files", "s", time.perf_counter() - start)
    taken = []
    for _ in range(options.times(5)):
        start = time.perf_counter()
        assert f"{files} unchanged" in suite.cli(*command)
        taken.append(time.perf_counter() - start)
    table.add("the same again, unchanged", "s", statistics.median(taken), most=3)


def _sizes(options: Options, table: Table, suite: Suite, memgpt: MemGPT, home: Path) -> None:
    for path in _large(options, home):
        say(f"loading: {path.name}")
        start = time.perf_counter()
        with resident.watched(suite.loader.popen.pid) as peak:
            passages = _load(memgpt, path.name, [path])
        took = time.perf_counter() - start
        table.add(f"Loader and its parsers, most resident: {path.name}", "MB", peak.bytes / 1e6, most=700)
        table.notes.append(f"{path.name}: {passages:,} passages in {took:.0f} s.")
    table.notes.append("Pages that the Loader's processes share count for each of them.")


def _large(options: Options, home: Path) -> Iterator[Path]:
    if not options.quick:
        large = [sample for sample in corpus.samples(large=True) if sample.large]
        corpus.write(home / "large", large)
        yield from (home / "large" / sample.name for sample in large)
        return
    path = home / f"{_QUICK_PAGES} pages.pdf"
    path.write_bytes(pdfs.pdf_of_pages(f"Page {n}.\n" + "Few words of it.\n" * 20 for n in range(_QUICK_PAGES)))
    yield path
    path = home / "20 MB.txt"
    line = "A line of a text that is not as long as it could be, but long enough to see that all works.\n"
    path.write_text(line * (_QUICK_BYTES // len(line)))
    yield path


def _pdf(path: Path, pages: range) -> Path:
    """Return a PDF with repeated pages of the paper."""
    paper, made = PdfReader(PAPER).pages, PdfWriter()
    for number in pages:
        made.add_page(paper[number % len(paper)])
    made.write(path)
    return path


def _plainly(files: Sequence[Path]) -> float:
    """Return the seconds that plain pypdf takes for all text."""
    done = subprocess.run([sys.executable, "-c", _PLAIN, *map(str, files)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _load(memgpt: MemGPT, name: str, files: Sequence[Path]) -> int:
    """Load files and search all of their passages; return how many there are."""
    with redirect_stdout(io.StringIO()) as said:
        assert load_files(Ui(), memgpt, name, [FoundFile(path.name, path) for path in files]), said.getvalue()
    source = memgpt.sources.find(name)
    scope = PassageScope(source_id=source.source_id)
    request = SearchPassagesRequest(scope=scope, query="the end", mode=SEARCH_MODE_DENSE, page_size=1)
    found = memgpt.memory.search_passages(request).total_size
    assert found == source.passage_count > 0
    return found
