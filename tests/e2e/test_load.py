"""`memgpt load` as a user runs it: a folder with unusual files, standard input, web pages."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pexpect
import pytest
from memgpt.cli.loading.find_files import find_files
from memgpt.cli.loading.load import load_files
from memgpt.cli.terminal.ui import Ui
from memgpt.loader.v1.load_pb2 import FILE_FAILURE_REASON_NOT_SENT, Load

from tests.support.suite import PAPER, Suite


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
    assert "empty.txt: empty: the file is empty; check" in said.stdout
    assert re.search("image.txt: skipped: .*a PNG image", said.stdout)
    assert "Files: 4 unchanged, 1 empty, 1 skipped" in said.stdout
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 nonsense")
    said = suite.run(*command)
    assert said.returncode == 1
    assert said.stderr.startswith("Error: broken.pdf: the PDF is damaged")
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
    assert "Removed from synced: 1 file no longer in the folder" in suite.cli(*command, "--sync")
    assert "Dropped" not in suite.cli(*command, "--sync")


def test_tags_are_searched_by_and_change_without_a_change_of_the_file(suite: Suite, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("The boat is moored at the pier.")
    command = ("load", "directory", "--name", "tagged", "--input-files", str(note))

    def found_by(tag: str) -> bool:
        said = suite.cli("search", "boat", "--source", "tagged", "--tag", tag, "--json")
        return "moored" in said

    suite.cli(*command, "--tag", "travel", "--tag", "2026")
    assert (found_by("travel"), found_by("2026"), found_by("home")) == (True, True, False)
    assert "Files: 1 unchanged" in suite.cli(*command)
    assert found_by("travel")
    assert "Loaded 1 passage" in suite.cli(*command, "--tag", "home")
    assert (found_by("travel"), found_by("home")) == (False, True)
    suite.cli(*command, "--untag")
    assert not found_by("home")
    both = suite.run(*command, "--tag", "x", "--untag")
    assert (both.returncode, "exclude each other" in both.stderr) == (2, True)


def test_standard_input(suite: Suite) -> None:
    for command in ("stdin", "-"):
        said = suite.run("load", command, "--name", "piped", "--file-name", "notes.md", stdin="# Notes\n\nPiped.")
        assert (said.returncode, said.stderr) == (0, "")
        assert "Loaded 1 passage and 1 document from piped" in said.stdout


def test_web_pages(suite: Suite, site: str) -> None:
    command = ("load", "webpage", "--name", "web", f"{site}/page.html")
    refused = suite.run(*command)
    assert refused.returncode == 1
    assert "--allow-private" in refused.stderr
    said = suite.run(*command, f"{site}/absent", "--allow-private")
    assert said.returncode == 1
    assert said.stderr == f"Error: {site}/absent: the server answered 404 File not found\n"
    assert "Loaded 1 passage and 1 document from web" in said.stdout
    assert "Files: 1 loaded, 1 failed" in said.stdout


def test_a_line_for_each_file_on_a_pipe(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 nonsense")
    said = suite.run("load", "directory", "--name", "lines", "--input-dir", str(tmp_path))
    assert said.returncode == 1
    *files, bar, loaded, counts = said.stdout.splitlines()
    first, second = sorted(files)
    assert first == "a.txt: loaded, 1 passage"
    assert second.startswith("broken.pdf: failed: the PDF is damaged")
    assert re.fullmatch(r"Loading files: 100%\|█{30}\| 2/2 \[00:\d\d<00:00, \d+\.\d\dfile/s, 1 passage\]", bar)
    assert loaded == "Loaded 1 passage and 1 document from lines"
    assert counts == "Files: 1 loaded, 1 failed"


def test_json_for_programs(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "image.txt").write_bytes(b"\x89PNG\r\n")
    command = ("load", "directory", "--name", "json", "--input-dir", str(tmp_path), "--json")
    for state in ("loaded", "unchanged"):
        said = suite.run(*command)
        assert (said.returncode, said.stderr) == (0, "")
        *files, summary = map(json.loads, said.stdout.splitlines())
        first, second = sorted(files, key=lambda file: str(file["name"]))
        told = {"type": "file", "name": "a.txt", "state": state, "documents": 1, "passages": 1, "reason": ""}
        assert first == {**told, "notes": []}
        assert (second["state"], "a PNG image" in second["reason"]) == ("skipped", True)
        assert summary.pop("seconds") >= 0
        counts = dict.fromkeys(("loaded", "unchanged", "empty", "skipped", "failed", "cancelled"), 0)
        assert summary == {
            "type": "summary",
            "source": "json",
            "documents": 1,
            "passages": 1,
            "files": {**counts, state: 1, "skipped": 1},
            "dropped": 0,
        }
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 nonsense")
    said = suite.run(*command)
    assert said.returncode == 1
    assert [file["name"] for file in map(json.loads, said.stdout.splitlines()) if file.get("state") == "failed"] == [
        "broken.pdf"
    ]
    assert "json\tcompleted\t1\t1\t" in suite.cli("list", "loads")


def test_a_bar_on_a_terminal(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "paper.pdf").write_bytes(PAPER.read_bytes())
    (tmp_path / "image.txt").write_bytes(b"\x89PNG\r\n")
    command = ["load", "directory", "--name", "bar", "--input-dir", str(tmp_path)]

    def typed() -> pexpect.spawn[str]:
        terminal = pexpect.spawn(
            suite.program,
            command,
            env={**suite.environment(), "TERM": "xterm-256color"},
            encoding="utf-8",
            timeout=90,
            dimensions=(50, 250),
        )
        terminal.delaybeforesend = None
        return terminal

    terminal = typed()
    terminal.expect(r"Loading files: 100%\|█{30}\| 2/2 \[00:\d\d<00:00, \d+\.\d\d(?:file/s|s/file), 71 passages\]")
    terminal.expect("Loaded 71 passages and 13 documents from bar")
    terminal.expect("image.txt: skipped: .*a PNG image")
    terminal.expect("Files: 1 loaded, 1 skipped")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    (tmp_path / "image.txt").unlink()
    terminal = typed()
    # Nothing was sent, so that there is no rate to tell.
    terminal.expect(r"Loading files: 100%\|█{30}\| 1/1 \[00:\d\d<00:00, \?file/s, 71 passages\]")
    terminal.expect("Files: 1 unchanged")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_a_file_that_changes_during_the_load_fails_alone(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("good.txt", "grows.txt", "is another.txt", "shrinks.txt", "unreadable.txt", "vanishes.txt")
    for name in names:
        (tmp_path / name).write_text(f"This is {name}.")

    with suite.client() as memgpt:
        create = memgpt.loads.create
        loads: list[str] = []

        def created(*arguments: Any, **settings: Any) -> Load:
            load = create(*arguments, **settings)
            loads.append(load.load_id)
            (tmp_path / "grows.txt").write_text("This is grows.txt, and more.")
            (tmp_path / "is another.txt").write_text("That is is another.txt.")
            (tmp_path / "shrinks.txt").write_text("This")
            (tmp_path / "unreadable.txt").unlink()
            (tmp_path / "unreadable.txt").mkdir()
            (tmp_path / "vanishes.txt").unlink()
            return load

        monkeypatch.setattr(memgpt.loads, "create", created)
        assert not load_files(Ui(), memgpt, "changing", find_files(tmp_path, [], extensions=[".txt"]))
        said = capsys.readouterr()
        assert "Loaded 1 passage and 1 document from changing" in said.out
        assert "Files: 1 loaded, 5 failed" in said.out
        for name in names[1:4]:
            assert f"Error: {name}: the file changed while it was being loaded; load it again\n" in said.err
        assert "Error: unreadable.txt: the file can no longer be read: Is a directory\n" in said.err
        assert "Error: vanishes.txt: the file can no longer be read: No such file or directory\n" in said.err
        # What is remembered says so, and withdrawing again is harmless.
        assert memgpt.loads.withdraw(loads[0], "grows.txt", "again").failure_reason == FILE_FAILURE_REASON_NOT_SENT
