"""Which files a load takes, and what they are called."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from memgpt.cli.errors import CliError
from memgpt.cli.loading.find_files import find_files, received
from memgpt.cli.loading.load import manifest, parts
from memgpt.cli.loading.send import send_file, transfer
from memgpt.cli.terminal.progress import Progress, bar_line
from memgpt.client import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    Reason,
    ServiceError,
    Unavailable,
)
from memgpt.loader.v1.load_pb2 import FileManifest, FileState, Load, LoadFile
from memgpt_loader.formats import FORMATS

KNOWN = sorted(extension for each in FORMATS for extension in each.extensions)


@pytest.fixture
def folder(tmp_path):
    for name in ("b.txt", "a.PDF", "c.xyz", ".hidden.txt", "sub/d.md", ".git/e.txt"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
    return tmp_path


def test_a_folder(folder):
    assert [item.name for item in find_files(folder, [], extensions=KNOWN)] == ["a.PDF", "b.txt"]


def test_a_folder_and_its_folders(folder):
    assert [item.name for item in find_files(folder, [], recursive=True, extensions=KNOWN)] == [
        "a.PDF",
        "b.txt",
        "sub/d.md",
    ]


def test_other_extensions(folder):
    assert [item.name for item in find_files(folder, [], extensions=["xyz", " .TXT"])] == ["b.txt", "c.xyz"]


def test_what_is_excluded_or_ignored_is_passed_over(folder):
    for name in ("sub/keep.md", "drafts/f.md", "g.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)

    def names(*exclude: str) -> list[str]:
        return [item.name for item in find_files(folder, [], recursive=True, extensions=KNOWN, exclude=exclude)]

    assert names() == ["a.PDF", "b.txt", "drafts/f.md", "g.csv", "sub/d.md", "sub/keep.md"]
    assert names("*.md", "!keep.md", "/b.txt") == ["a.PDF", "g.csv", "sub/keep.md"]
    (folder / ".memgptignore").write_text("# not these\ndrafts/\n*.csv\n")
    assert names("sub/d.*") == ["a.PDF", "b.txt", "sub/keep.md"]
    assert names("!g.csv") == ["a.PDF", "b.txt", "g.csv", "sub/d.md", "sub/keep.md"]


def test_a_name_that_cannot_be_told_is_written_in_another_way(tmp_path):
    for name in (b"two\nlines.txt", '"it\'s" 🦊.txt'.encode(), b"latin-\xfc.txt"):
        (tmp_path / os.fsdecode(name)).write_text("x")
    assert [item.name for item in find_files(tmp_path, [], extensions=KNOWN)] == [
        '"it\'s" 🦊.txt',
        "latin-\\xfc.txt",
        "two\\x0alines.txt",
    ]
    for item in find_files(tmp_path, [], extensions=KNOWN):
        assert manifest(item).size == 1


class Terminal(io.RawIOBase):
    """Two lines, and Ctrl-D once."""

    def __init__(self) -> None:
        self.typed = [b"te", b"xt", b""]

    def readable(self):
        return True

    def readinto(self, buffer):
        line = self.typed.pop(0)
        buffer[: len(line)] = line
        return len(line)


def test_standard_input_is_a_file_for_a_while():
    with received(io.BufferedReader(Terminal()), "notes.md") as item:
        assert (item.name, item.path.read_bytes()) == ("notes.md", b"text")
    assert not item.path.exists()


def test_files_by_name_have_any_extension(folder):
    found = find_files(None, [folder / "c.xyz", folder / "sub" / "d.md", folder / "c.xyz"])
    assert [item.name for item in found] == ["c.xyz", "d.md"]


def test_equal_names_are_told_apart(folder):
    (folder / "sub" / "b.txt").write_text("other")
    found = find_files(None, [folder / "b.txt", folder / "sub" / "b.txt"])
    assert [item.name for item in found] == [(folder / "b.txt").as_posix(), (folder / "sub" / "b.txt").as_posix()]


@pytest.mark.parametrize(
    ("directory", "files", "words"),
    [
        (None, [], "nothing to load"),
        (".", ["x"], "exclude"),
        (None, ["nowhere.txt"], "does not exist"),
        (None, ["sub"], "--input-dir"),
        ("b.txt", [], "--input-files"),
        (".git", [], "--recursive"),
    ],
)
def test_nothing_to_load(folder, directory, files, words):
    if directory == ".git":
        (folder / ".git" / "e.txt").unlink()
    with pytest.raises(CliError, match=words):
        find_files(None if directory is None else folder / directory, [folder / name for name in files])


def test_a_manifest(folder):
    (item,) = find_files(None, [folder / "b.txt"])
    told = manifest(item)
    assert (told.name, told.size, told.sha256) == ("b.txt", 5, hashlib.sha256(b"b.txt").hexdigest())


def test_the_bar():
    assert bar_line("Loading files", Progress(1, 1), 0.2538) == (
        "Loading files: 100%|██████████████████████████████| 1/1 [00:00<00:00, 3.94file/s]"
    )
    half = bar_line("Loading files", Progress(1, 2, "7 passages"), 61)
    assert half == "Loading files:  50%|███████████████               | 1/2 [01:01<01:01, 0.02file/s, 7 passages]"
    assert bar_line("Loading files", Progress(0, 3), 3700).endswith("| 0/3 [1:01:40<?, ?file/s]")


def test_the_bar_rates_only_what_took_work():
    unchanged = Progress(1000, 1000, before=1000)
    assert bar_line("Loading files", unchanged, 0.5).endswith("| 1000/1000 [00:00<00:00, ?file/s]")
    # Of 100 files, 90 were there; 5 of the other 10 have come, with a tenth of the bytes.
    assert bar_line("Loading files", Progress(95, 100, "", 90, 0.1), 10).endswith("| 95/100 [00:10<01:30, 0.50file/s]")


STALLED = DeadlineExceeded(Reason.DEADLINE_EXCEEDED, "too slow")
AWAY = Unavailable(Reason.SERVICE_UNAVAILABLE, "starting anew")


class Uploads:
    """The client's part for loads: how each upload ends is given, what is asked is noted."""

    def __init__(self, *ends: ServiceError | None, lasting: Callable[[], None] = lambda: None) -> None:
        self.asked: list[str] = []
        self._ends = list(ends)
        self._lasting = lasting

    def upload(self, _load_id: str, name: str, _path: Path, *, resume_seconds: float) -> None:
        self.asked.append(f"upload {name}")
        self._lasting()
        if (end := self._ends.pop(0)) is not None:
            raise end

    def withdraw(self, _load_id: str, name: str, why: str) -> None:
        self.asked.append(f"withdraw {name}: {why}")


def send(uploads: Any) -> list[str]:
    send_file(uploads, "load", "a.txt", Path("a.txt"), Event())
    return uploads.asked  # type: ignore[no-any-return]


class BlockedLoads:
    """Loads whose uploads wait until the load is cancelled, and whose watch is interrupted once they do."""

    def __init__(self) -> None:
        self.cancelled, self.uploading = Event(), Event()

    def upload(self, _load_id: str, name: str, _path: Path, *, resume_seconds: float) -> None:
        self.uploading.set()
        assert self.cancelled.wait(30), "the uploads were joined before the load was cancelled"
        raise FailedPrecondition("", f"{name} is not expected")

    def watch(self, *_: object) -> Iterator[object]:
        assert self.uploading.wait(30)
        raise KeyboardInterrupt
        yield

    def cancel(self, _load_id: str) -> None:
        self.cancelled.set()


def test_an_interrupt_cancels_a_load_whose_uploads_wait():
    loads: Any = BlockedLoads()
    waiting = LoadFile(manifest=FileManifest(name="a.txt"), state=FileState.FILE_STATE_AWAITING_UPLOAD)
    load = Load(load_id="load", files=[waiting])
    report: Any = None
    with pytest.raises(KeyboardInterrupt):
        transfer(report, loads, load, {"a.txt": Path("a.txt")})


def test_what_stalls_is_sent_again_and_given_up_alone():
    assert send(Uploads(STALLED, None)) == ["upload a.txt"] * 2
    assert send(Uploads(STALLED, STALLED, STALLED)) == [
        *["upload a.txt"] * 3,
        "withdraw a.txt: the file could not be sent in time: too slow",
    ]


@pytest.mark.parametrize("error", [Cancelled, Internal])
def test_an_upload_that_a_proxy_cut_off_is_sent_again(error):
    assert send(Uploads(error("", "stream terminated by RST_STREAM"), None)) == ["upload a.txt"] * 2
    with pytest.raises(error):
        send(Uploads(error("", "a bug of the Loader", request_id="req_1")))


def test_upload_retries_are_timed_from_the_interruption(monkeypatch):
    now = 0.0

    def lasting() -> None:
        nonlocal now
        now += 600

    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert send(Uploads(AWAY, None, lasting=lasting)) == ["upload a.txt"] * 2


def test_a_name_is_the_same_after_a_copy_from_a_mac(tmp_path):
    composed, decomposed = "Prüfung.txt", "Pru\u0308fung.txt"
    (tmp_path / decomposed).write_text("x")
    assert [item.name for item in find_files(tmp_path, [], extensions=KNOWN)] == [composed]
    assert [item.name for item in find_files(None, [tmp_path / decomposed])] == [composed]
    with pytest.raises(CliError, match="no files"):
        find_files(tmp_path, [], extensions=KNOWN, exclude=[composed])
    (tmp_path / ".memgptignore").write_text("Prü*\n")
    with pytest.raises(CliError, match="no files"):
        find_files(tmp_path, [], extensions=KNOWN)


def test_names_that_differ_only_in_their_unicode_form_stay_two(tmp_path):
    for name in ("Prüfung.txt", "Pru\u0308fung.txt"):
        (tmp_path / name).write_text(name)
    found = find_files(tmp_path, [], extensions=KNOWN)
    assert sorted(item.name for item in found) == sorted(["Prüfung.txt", "Pru\u0308fung.txt"])


def test_a_long_list_becomes_several_loads():
    names = [f"{number:05}" for number in range(10_001)]
    assert list(parts(names)) == [names[:10_000], names[10_000:]]
    assert list(parts([])) == []


def test_long_names_become_several_loads():
    names = [f"{number:04}{'ü' * 510}" for number in range(2_049)]
    made = list(parts(names))
    assert [name for part in made for name in part] == names
    assert [len(part) for part in made] == [2_048, 1]
