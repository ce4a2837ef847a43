"""One file of each kind, and some odd ones, through the real Loader and Memory: found by search, with file and page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from memgpt.loader.v1 import load_pb2
from memgpt.memory.v1 import archival_memory_service_pb2 as archival_pb
from memgpt.memory.v1.archival_memory_service_pb2_grpc import ArchivalMemoryServiceStub
from memgpt.memory.v1.passage_pb2 import SEARCH_MODE_TEXT

from tests.integration.loader.processes import Service, service
from tests.integration.loader.test_loading import connected, create, states, upload, watch
from tests.unit.loader import documents, pdfs

GOOD: dict[str, tuple[bytes, str, int]] = {
    "paper.pdf": (pdfs.pdf(["First page.", "An aardvark eats ants."]), "aardvark", 2),
    "letter.docx": (documents.docx(documents.paragraph("A baboon lives in troops.")), "baboon", 0),
    "talk.pptx": (documents.pptx([documents.shape("Hi"), "", documents.shape("A capybara swims.")]), "capybara", 3),
    "table.xlsx": (documents.xlsx({"A": [["x", "y"]], "B": [["animal", "legs"], ["dromedary", 4]]}), "dromedary", 2),
    "book.epub": (documents.epub(["<p>One.</p>", "<p>An echidna lays eggs.</p>"]), "echidna", 2),
    "page.html": (b"<html><p>A flamingo stands on one leg.</p>", "flamingo", 0),
    "mail.eml": (b"From: a@example.org\nSubject: Zoo\nDate: today\n\nThe gnu has come.\n", "gnu", 0),
    "rows.csv": ("animal;home\nhippopotamus;river\n".encode("utf-16"), "hippopotamus", 0),
    "data.json": (b'{"animals": [{"name": "iguana"}]}', "iguana", 0),
    "lines.jsonl": (b'{"name": "jackal"}\n{"name": "other"}\n', "jackal", 0),
    "日本 'quoted' \"🦊\".txt": ("狐はキツネ科の動物です。A kingfisher dives.".encode("shift_jis"), "kingfisher", 0),
    "notes.md": (b"# Notes\n\nA lemur jumps.", "lemur", 0),
    "script.py": (b"print('mongoose')\n", "mongoose", 0),
}
ODD = {
    "nothing.docx": (b"", "EMPTY"),
    "blank.txt": (b" \n\n ", "EMPTY"),
    "picture.png": (b"\x89PNG\r\n\x1a\n", "SKIPPED"),
    "noise.txt": (b"\xff" * 1000, "SKIPPED"),
    "cut.docx": (documents.docx(documents.paragraph("x"))[:-30], "FAILED"),
    "bomb.docx": (documents.docx(documents.paragraph("a" * (17 << 20))), "FAILED"),
    "entities.epub": (documents.epub([], **{"META-INF/container.xml": documents.BOMB_DTD + "<x>&c;</x>"}), "FAILED"),
    "locked.pdf": (pdfs.pdf(["x"], password="secret"), "FAILED"),
}


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("home")
    with service("memory", home, uri=home / "milvus.db") as running:
        yield running


async def test_each_kind_is_found(memory: Service, tmp_path: Path) -> None:
    files = {name: data for name, (data, _, _) in GOOD.items()} | {name: data for name, (data, _) in ODD.items()}
    with service("loader", tmp_path, memory_address=memory.address) as loader:
        async with connected(loader, memory) as stubs, grpc.aio.insecure_channel(memory.address) as channel:
            load = await create(stubs, "zoo", files)
            await upload(stubs, load, files)
            end = (await watch(stubs, load.load_id))[-1].ended
            assert states(end) == dict.fromkeys(GOOD, "LOADED") | {name: state for name, (_, state) in ODD.items()}
            assert all(file.failure_message for file in end.files if file.state != load_pb2.FILE_STATE_LOADED)
            archive = ArchivalMemoryServiceStub(channel)
            for name, (_, word, page) in GOOD.items():
                found = await archive.SearchPassages(
                    archival_pb.SearchPassagesRequest(
                        scope=archival_pb.PassageScope(source_id=load.source_id), query=word, mode=SEARCH_MODE_TEXT
                    )
                )
                (hit,) = found.hits
                assert word in hit.passage.text
                assert (hit.passage.citation.file_name, hit.passage.citation.page) == (name, page)
            again = await create(stubs, "zoo", files)
            wanted = {file.manifest.name for file in again.files if file.state == load_pb2.FILE_STATE_WANTED}
            assert wanted == {name for name, (_, state) in ODD.items() if state not in ("LOADED", "EMPTY")}
