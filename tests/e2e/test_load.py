"""`memgpt load` as a person types it: a folder with odd files, standard input, web pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.suite import Suite


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with Suite(tmp_path_factory.mktemp("load")) as suite:
        yield suite


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "page.html").write_text("<p>A page of the <b>web</b>.")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_folder_with_odd_files(suite: Suite, tmp_path: Path) -> None:
    good = {"a.md": "# A", "b.csv": "x,y\n1,2\n", "sub/c.html": "<p>c", "drafts/d.txt": "d", "line\n'🦊'.txt": "e"}
    for name, text in good.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    command = ("load", "directory", "--name", "odd", "--input-dir", str(tmp_path), "--recursive", "--exclude", "drafts")
    said = suite.run(*command)
    assert (said.returncode, said.stderr) == (0, "")
    assert "Loaded 4 passages and 4 documents from odd" in said.stdout
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "image.txt").write_bytes(b"\x89PNG\r\n")
    said = suite.run(*command)
    assert (said.returncode, said.stderr) == (0, "")
    assert "Empty: empty.txt: The file is empty." in said.stdout
    assert "Skipped: image.txt: The file is a PNG image" in said.stdout
    assert "Files: 4 unchanged, 1 empty, 1 skipped" in said.stdout
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 nonsense")
    said = suite.run(*command)
    assert said.returncode == 1
    assert said.stderr.startswith("Error: broken.pdf: The file cannot be read as a PDF")
    assert "Files: 4 unchanged, 1 empty, 1 skipped, 1 failed" in said.stdout
    said = suite.run("load", "directory", "--name", "odd", "--input-files", str(tmp_path / "image.txt"))
    assert (said.returncode, said.stderr) == (1, "Error: nothing was loaded\n")


def test_a_folder_that_files_have_left(suite: Suite, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    command = ("load", "directory", "--name", "synced", "--input-dir", str(tmp_path))
    assert "Loaded 2 passages" in suite.cli(*command)
    (tmp_path / "b.txt").unlink()
    assert "Dropped" not in suite.cli(*command)
    assert "Dropped from synced: 1 files" in suite.cli(*command, "--sync")
    assert "Dropped" not in suite.cli(*command, "--sync")


def test_standard_input(suite: Suite) -> None:
    for command in ("stdin", "-"):
        said = suite.run("load", command, "--name", "piped", "--file-name", "notes.md", stdin="# Notes\n\nPiped.")
        assert (said.returncode, said.stderr) == (0, "")
        assert "Loaded 1 passages and 1 documents from piped" in said.stdout


def test_web_pages(suite: Suite, site: str) -> None:
    command = ("load", "webpage", "--name", "web", f"{site}/page.html")
    refused = suite.run(*command)
    assert refused.returncode == 1
    assert "--allow-private" in refused.stderr
    said = suite.run(*command, f"{site}/absent", "--allow-private")
    assert said.returncode == 1
    assert said.stderr == f"Error: {site}/absent: the server answered 404 File not found\n"
    assert "Loaded 1 passages and 1 documents from web" in said.stdout
    assert "Files: 1 loaded, 1 failed" in said.stdout
