"""Archives, OpenDocument files, and unsupported files, each with the expected reason."""
# ruff: noqa: E501 - a line for each file

from __future__ import annotations

import gzip
import io
import random
import sqlite3
import tarfile
import zipfile
from collections.abc import Iterator

from tests.support import documents
from tests.support.corpus.sample import Sample, failed, good, skipped


def samples() -> Iterator[Sample]:
    """Yield all of these files."""
    yield skipped("photo.png", lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image")
    yield skipped("photo.jpg", lambda: b"\xff\xd8\xff\xe0" + bytes(100), "a JPEG image")
    yield good(
        "archive.zip",
        lambda: documents.archive({"a.txt": "The okapi sleeps in an archive."}),
        "The okapi sleeps in an archive.",
        1,
    )
    yield failed("zip bomb.zip", lambda: documents.archive({"a": bytes(20 << 20)}), "bomb")
    yield good(
        "packed.txt.gz",
        lambda: gzip.compress(b"The numbat was packed alone.", mtime=0),
        "The numbat was packed alone.",
        1,
    )
    yield failed("gzip bomb.gz", lambda: gzip.compress(b"0" * (9 << 20), mtime=0)[:-9], "damaged")
    yield good("archive.tar", _tar, "The quokka went on tape.", 1)
    yield skipped("program", lambda: b"\x7fELF" + bytes(100), "a program")
    yield skipped("data.sqlite", _database, "a database")
    yield good(
        "letter.rtf", lambda: rb"{\rtf1\ansi The dugong wrote a rich letter.}", "The dugong wrote a rich letter."
    )
    yield good("letter.odt", lambda: _open_document("text", _PARAGRAPH), "The fossa wrote an open letter.")
    yield good("stock.ods", lambda: _open_document("spreadsheet", _TABLE), "The tarsier counts open stock.", 1)
    yield skipped("random.bin", lambda: random.Random(1).randbytes(4096), "neither UTF-8 text")
    yield skipped("song.mp3", lambda: b"ID3\x03\0\0\0\0\0\0" + random.Random(2).randbytes(4096), "neither UTF-8 text")


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        data = b"The quokka went on tape."
        member = tarfile.TarInfo("a.txt")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _database() -> bytes:
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE animals (name)")
        return database.serialize()


_PARAGRAPH = "<text:p>The fossa wrote an open letter.</text:p>"
_TABLE = (
    "<table:table table:name='A'><table:table-row>"
    "<table:table-cell><text:p>The tarsier counts open stock.</text:p></table:table-cell></table:table-row></table:table>"
)


def _open_document(kind: str, body: str) -> bytes:
    names = "".join(
        f" xmlns:{name}='urn:oasis:names:tc:opendocument:xmlns:{name}:1.0'" for name in ("office", "text", "table")
    )
    content = f"<office:document-content{names}><office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("mimetype", f"application/vnd.oasis.opendocument.{kind}")
        packed.writestr("content.xml", content)
    return buffer.getvalue()
