"""Files of the corpus that are not read, each with a reason."""

from __future__ import annotations

import gzip
import io
import random
import sqlite3
import tarfile
import zipfile
from collections.abc import Iterator

from tests.support import documents
from tests.support.corpus.sample import Sample, skipped


def samples() -> Iterator[Sample]:
    """All of them."""
    yield skipped("photo.png", lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image")
    yield skipped("photo.jpg", lambda: b"\xff\xd8\xff\xe0" + bytes(100), "a JPEG image")
    yield skipped("archive.zip", lambda: documents.archive({"a.txt": "Text."}), "a ZIP archive")
    yield skipped("zip bomb.zip", lambda: documents.archive({"a": bytes(20 << 20)}), "a ZIP archive")
    yield skipped("archive.tar.gz", lambda: gzip.compress(b"Text.", mtime=0), "a gzip archive")
    yield skipped("archive.tar", _tar, "a tar archive")
    yield skipped("program", lambda: b"\x7fELF" + bytes(100), "a program")
    yield skipped("data.sqlite", _database, "a database")
    yield skipped("letter.rtf", lambda: rb"{\rtf1\ansi A letter.}", "an RTF document")
    yield skipped("letter.odt", lambda: _open_document("text"), "an OpenDocument file")
    yield skipped("stock.ods", lambda: _open_document("spreadsheet"), "an OpenDocument file")
    yield skipped("random.bin", lambda: random.Random(1).randbytes(4096), "neither text")
    yield skipped("song.mp3", lambda: b"ID3\x03\0\0\0\0\0\0" + random.Random(2).randbytes(4096), "neither text")


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"), io.BytesIO(b""))
    return buffer.getvalue()


def _database() -> bytes:
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE animals (name)")
        return database.serialize()


def _open_document(kind: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("mimetype", f"application/vnd.oasis.opendocument.{kind}")
        packed.writestr("content.xml", "<x/>")
    return buffer.getvalue()
