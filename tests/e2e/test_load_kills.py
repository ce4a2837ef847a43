"""Loader, Memory and the command line killed at random during a load, which the same command then completes.

``--kills 20`` is the long run, of some minutes.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from threading import Event

import grpc
import pytest
from memgpt.memory.v1.archival_memory_service_pb2 import ListPassagesRequest, PassageScope
from memgpt.memory.v1.archival_memory_service_pb2_grpc import ArchivalMemoryServiceStub

from tests.support import corpus, pdfs
from tests.support.suite import Suite

_PAGES = 150
_OF_CORPUS = ("report.pdf", "password.pdf", "noise.pdf", "nothing.pdf", "reference loop.pdf")
_BEGINS = ("a", "l", "m", "s", "t")
"""First letters of additional files of the corpus, about a third."""


def _write(folder: Path) -> None:
    chosen = [each for each in corpus.samples() if each.name in _OF_CORPUS or each.name.startswith(_BEGINS)]
    # Bombs take long and are irrelevant for kills.
    corpus.write(folder, [each for each in chosen if "expands" not in each.says])
    lines = "\n".join(
        "The ships of the north carry timber, salt and letters to the harbours of the south." for _ in range(20)
    )
    (folder / "many pages.pdf").write_bytes(pdfs.pdf_of_pages(f"Page {n}. {lines}" for n in range(1, _PAGES + 1)))


def _passages(suite: Suite, source_id: str) -> list[tuple[str, str, str, int]]:
    """Return id, text, file and page of every passage of a source, ordered by id."""
    found: list[tuple[str, str, str, int]] = []
    with grpc.insecure_channel(suite.memory_address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        request = ListPassagesRequest(scope=PassageScope(source_id=source_id), page_size=1000)
        while True:
            response = ArchivalMemoryServiceStub(channel).ListPassages(request)
            for one in response.passages:
                found.append((one.passage_id, one.text, one.citation.file_name, one.citation.page))
            if not response.next_page_token:
                assert response.total_size == len(found)
                return sorted(found)
            request.page_token = response.next_page_token


@pytest.mark.timeout(0)
def test_killed_at_random_a_load_is_mended_by_the_same_command(tmp_path: Path, kills: int) -> None:
    luck = random.Random()
    keep, folder = tmp_path / "keep.txt", tmp_path / "folder"
    keep.write_text("The one file that is in the source all the time.")
    _write(folder)
    load = ("load", "directory", "--name", "killed", "--input-dir", str(folder), "--extensions", _extensions(folder))
    clear = ("load", "directory", "--name", "killed", "--input-files", str(keep), "--sync")
    with Suite(tmp_path / "home") as suite:
        for _ in range(2):  # the first one starts what the second finds warm
            suite.cli(*clear)
            begin = time.monotonic()
            undisturbed = suite.run(*load)
            takes = time.monotonic() - begin
        assert "many pages.pdf: loaded" in undisturbed.stdout, undisturbed.stderr
        with suite.client() as memgpt:
            source_id = memgpt.sources.find("killed").source_id
        expected = _passages(suite, source_id)
        assert len({each[0] for each in expected}) == len(expected) > _PAGES
        done: Counter[str] = Counter()
        ended: Counter[str] = Counter()
        for _ in range(kills or 2):
            suite.cli(*clear)
            assert len(_passages(suite, source_id)) == 1
            with (tmp_path / "said").open("wb") as said:
                client = subprocess.Popen([suite.program, *load], env=suite.environment(), stdout=said, stderr=said)
                try:
                    # At random within the load.
                    Event().wait(luck.uniform(0.1, 0.9) * takes)
                    victim = luck.choice(("loader", "memory", "client"))
                    done[victim] += 1
                    if victim == "loader":
                        suite.loader.kill9()
                        suite.restart_loader()
                    elif victim == "memory":
                        suite.memory.kill9()
                        suite.restart_memory()
                    else:
                        client.kill()
                    code = client.wait(300)
                finally:
                    client.kill()
                    client.wait()
            ended[f"{victim}: {code}"] += 1
            again = suite.run(*load, timeout=300)
            assert (again.returncode, again.stderr) == (undisturbed.returncode, undisturbed.stderr), again.stdout
            assert _passages(suite, source_id) == expected, victim
            with suite.client() as memgpt:
                assert memgpt.sources.find("killed").passage_count == len(expected)
        sys.stdout.write(f"kills: {dict(done)}; the client ended with {dict(ended)}; {len(expected)} passages\n")


def _extensions(folder: Path) -> str:
    return ",".join(sorted({file.suffix for file in folder.iterdir() if file.suffix}))
