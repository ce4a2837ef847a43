"""What `memgpt load` shows while files wait for another attempt."""

from __future__ import annotations

import json

import pytest
from google.protobuf.duration_pb2 import Duration
from memgpt.cli.loading.report import Report
from memgpt.cli.terminal.ui import Ui
from memgpt.config.durations import duration_text
from memgpt.loader.v1.load_pb2 import FileManifest, FileState, LoadFile, Wait

WHY = "the embedding endpoint http://llm/v1 is rate limiting requests"


def file(name: str, wait: int = 0) -> LoadFile:
    found = LoadFile(manifest=FileManifest(name=name), state=FileState.FILE_STATE_PROCESSING)
    if wait:
        found.wait.CopyFrom(Wait(message=WHY, delay=Duration(seconds=wait)))
    return found


def test_a_wait_is_told_once_on_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(Ui(), "papers", 3, as_json=False)
    for each in (file("a.txt", 1), file("a.txt", 180), file("b.txt", 179), file("a.txt"), file("b.txt")):
        report.update(each)
    assert capsys.readouterr().err == f"Waiting 3 min: {WHY}\n"


def test_a_wait_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(Ui(), "papers", 1, as_json=True)
    report.update(file("a.txt", 90))
    told = json.loads(capsys.readouterr().out)
    assert told == {"type": "wait", "name": "a.txt", "seconds": 90.0, "reason": WHY}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (119, "119 s"), (121, "2 min"), (130, "3 min"), (602, "10 min"), (7200, "2 h"), (259200, "72 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
