"""Realistic files, loaded by the command line: the outcome of each, and whether it is found."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from memgpt.loader.v1.load_pb2 import FileState, LoadFile
from memgpt.loader.v1.loader_service_pb2 import GetLoadRequest, ListLoadsRequest
from memgpt.loader.v1.loader_service_pb2_grpc import LoaderServiceStub
from memgpt.memory.v1.archival_memory_service_pb2 import PassageScope, SearchPassagesRequest
from memgpt.memory.v1.archival_memory_service_pb2_grpc import ArchivalMemoryServiceStub
from memgpt.memory.v1.passage_pb2 import SEARCH_MODE_TEXT, PassageHit

from tests.support import corpus, resident
from tests.support.corpus.sample import Sample
from tests.support.suite import Suite

pytestmark = pytest.mark.linux("reads /proc")

_MOST_RESIDENT = 700_000_000


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with Suite(tmp_path_factory.mktemp("home")) as suite:
        yield suite


def label(sample: Sample) -> str:
    """Return its name in the source."""
    return sample.name.replace("\n", "\\x0a")


@contextmanager
def stubs(suite: Suite) -> Iterator[tuple[LoaderServiceStub, ArchivalMemoryServiceStub]]:
    with grpc.insecure_channel(suite.loader_address) as loader, grpc.insecure_channel(suite.memory_address) as memory:
        yield LoaderServiceStub(loader), ArchivalMemoryServiceStub(memory)


def load(suite: Suite, folder: Path, name: str, samples: list[Sample]) -> tuple[str, int, dict[str, LoadFile]]:
    """Load files by the command line; return its output, its exit code, and the outcome of each file."""
    corpus.write(folder, samples)
    arguments = [argument for sample in samples for argument in ("--input-files", str(folder / sample.name))]
    run = suite.run("load", "directory", "--name", name, *arguments, timeout=3600)
    with stubs(suite) as (loader, _):
        load_id = loader.ListLoads(ListLoadsRequest(page_size=1)).loads[0].load_id
        ended = loader.GetLoad(GetLoadRequest(load_id=load_id)).load
    return run.stdout + run.stderr, run.returncode, {file.manifest.name: file for file in ended.files}


def how(file: LoadFile) -> str:
    return FileState.Name(file.state).removeprefix("FILE_STATE_").lower()


def found(suite: Suite, name: str, needle: str) -> PassageHit:
    """Return the first hit of a keyword search."""
    with suite.client() as client, stubs(suite) as (_, memory):
        scope = PassageScope(source_id=client.sources.find(name).source_id)
        request = SearchPassagesRequest(scope=scope, query=needle, mode=SEARCH_MODE_TEXT, page_size=1)
        return memory.SearchPassages(request).hits[0]


@pytest.mark.timeout(600)
def test_every_file_ends_as_it_should_and_is_found(suite: Suite, tmp_path: Path) -> None:
    samples = corpus.samples()
    said, code, files = load(suite, tmp_path / "corpus", "corpus", samples)
    assert code == 1  # some have failed
    assert {name: how(file) for name, file in files.items()} == {label(each): each.state for each in samples}
    told = {
        each: files[label(each)].note if each.state == "loaded" else files[label(each)].failure_message
        for each in samples
    }
    assert {each.name: words for each, words in told.items() if each.says not in words} == {}
    for sample in samples:
        assert bool(sample.says) == bool(told[sample]), (sample.name, told[sample])
        assert label(sample) in said or not told[sample]
        if sample.needle:
            passage = found(suite, "corpus", sample.needle).passage
            assert sample.needle in passage.text, (sample.name, passage)
            assert (passage.citation.file_name, passage.citation.page) == (label(sample), sample.page)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ["5000 pages.pdf", "200 MB.txt"])
def test_a_large_file_is_found_and_memory_is_bounded(suite: Suite, tmp_path: Path, large: bool, name: str) -> None:
    if not large:
        pytest.skip("takes minutes: run with --large")
    (sample,) = (each for each in corpus.samples(large=True) if each.name == name)
    begin = time.monotonic()
    with resident.watched(suite.loader.popen.pid) as peak:
        said, code, files = load(suite, tmp_path / "large", name, [sample])
    sys.stdout.write(
        f"{name}: {files[name].passage_count:,} passages in {time.monotonic() - begin:.0f} s, "
        f"at most {peak.bytes / 1e6:.0f} MB resident in the Loader and its parsers\n"
    )
    assert (code, how(files[name])) == (0, "loaded"), said
    assert 0 < peak.bytes < _MOST_RESIDENT
    passage = found(suite, name, sample.needle).passage
    assert sample.needle in passage.text
    assert (passage.citation.file_name, passage.citation.page) == (name, sample.page)
