"""Backups of a Milvus Lite store, as tar files that standard tools can list.

A backup's members, in this order:

- ``memgpt-backup.json``: ``{"format": 1, "layout": …, "created": …, "milvus_lite": …}``.
- ``store/…``: the files of the store, as they were at one instant.
- ``checksums.json``: ``{"store/…": "<SHA-256 in hexadecimal digits>", …}`` of every file before it. It comes last, so
  that a backup can be streamed, and a truncated one is recognized.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tarfile
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from memgpt_runtime import clock

from memgpt_memory.store.layout import SCHEMA_VERSION

if TYPE_CHECKING:  # restoring does not need Milvus, whose import takes seconds
    from memgpt_memory.store import Store

FORMAT = 1
HEADER, FILES, CHECKSUMS = "memgpt-backup.json", "store/", "checksums.json"

_CHUNK = 256 * 1024
_BLOCK = tarfile.BLOCKSIZE


async def backup(store: Store) -> AsyncIterator[bytes]:
    """Yield a backup's bytes, in pieces of at most 256 KiB.

    Raises:
        FailedPrecondition: The store is on a server.
        Unavailable: A file cannot be read.
    """
    created = clock.seconds()
    checksums: dict[str, str] = {}
    async with store.snapshot() as files:
        about = {
            "format": FORMAT,
            "layout": SCHEMA_VERSION,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created)),
            "milvus_lite": store.capabilities.version,
        }
        yield _small(HEADER, about, created)
        for file in files:
            yield _head(FILES + file.name, file.size, created)
            digest = hashlib.sha256()
            left = file.size
            with file.path.open("rb") as source:
                while left:
                    chunk = await asyncio.to_thread(source.read, min(left, _CHUNK))
                    if not chunk:
                        raise EOFError(file.name)
                    digest.update(chunk)
                    left -= len(chunk)
                    yield chunk
            yield _padding(file.size)
            checksums[FILES + file.name] = digest.hexdigest()
    # The largest piece that is not part of a file: about 100 bytes for each file of the store.
    last = _small(CHECKSUMS, checksums, created) + bytes(2 * _BLOCK)
    for start in range(0, len(last), _CHUNK):
        yield last[start : start + _CHUNK]


def _small(name: str, body: object, created: float) -> bytes:
    data = json.dumps(body, indent=1).encode()
    return _head(name, len(data), created) + data + _padding(len(data))


def _head(name: str, size: int, created: float) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mtime = int(created)
    info.mode = 0o600
    return info.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)
