"""Loads as responses, which are cut so that they fit."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from memgpt_loader.failures import FailureReason
from memgpt_loader.loads import plan
from memgpt_loader.model import FileState, Load, LoadFile, Manifest
from memgpt_loader.notes import Note, NoteKind
from memgpt_loader.rpc.conversion import load_to_proto
from memgpt_runtime.errors import InvalidArgument

LIMIT = 3 << 20
NOTES = tuple(Note(NoteKind.PICTURE, number, "pages 3, 5-7", "pictures were not read") for number in range(1, 21))


def manifests(count: int, name_bytes: int) -> list[Manifest]:
    return [Manifest(f"{number:05}".ljust(name_bytes, "n"), 1 << 40, "f" * 64) for number in range(count)]


def load(files: dict[str, LoadFile]) -> Load:
    return Load("load_x", "default", "source_x", "papers", "", "", files, create_time=dt.datetime.now(dt.UTC))


def loaded(file: LoadFile) -> LoadFile:
    return replace(file, state=FileState.LOADED, documents=10_000, passages=1_000_000, notes=NOTES)


def failed(file: LoadFile) -> LoadFile:
    reason = FailureReason.NOT_SENT
    return replace(file, state=FileState.FAILED, documents=10_000, passages=1_000_000, reason=reason, message="m" * 200)


def test_a_small_load_has_everything() -> None:
    files = {name: loaded(file) for name, file in plan.files_by_name(manifests(3, 20)).items()}
    assert all(file.note and len(file.notes) == len(NOTES) for file in load_to_proto(load(files)).files)


def test_notes_are_left_out_first() -> None:
    by_name = plan.files_by_name(manifests(10_000, 20))
    files = {name: failed(file) if name < "00100" else loaded(file) for name, file in by_name.items()}
    converted = load_to_proto(load(files))
    assert converted.ByteSize() <= LIMIT
    assert not any(file.note or file.notes for file in converted.files)
    assert sum(bool(file.failure_message) for file in converted.files) == 100


def test_the_largest_load_fits() -> None:
    by_name = plan.files_by_name(manifests(10_000, plan.MAX_NAMES_BYTES // 10_000))
    converted = load_to_proto(load({name: failed(file) for name, file in by_name.items()}))
    assert converted.ByteSize() <= LIMIT
    assert [file.manifest.name for file in converted.files] == list(by_name)


def test_longer_names_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="2 MiB") as raised:
        plan.files_by_name(manifests(10_000, plan.MAX_NAMES_BYTES // 10_000 + 1))
    assert raised.value.reason == "TOO_LARGE"
