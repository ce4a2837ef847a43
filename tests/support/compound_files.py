"""Writes compound files (OLE), as legacy office programs do: enough of them to make test files."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

Storage: TypeAlias = "dict[str, bytes | Storage]"

_SECTOR, _MINI_SECTOR, _MINI_BELOW = 512, 64, 4096
_END, _FREE, _FAT = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD
_STORAGE, _STREAM, _ROOT = 1, 2, 5


class _Chains:
    """Sectors, and which one follows each."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.content = b""
        self.following: list[int] = []

    def add(self, data: bytes) -> int:
        """Add a stream; return its first sector."""
        first, count = len(self.following), -(-len(data) // self._size)
        self.content += data.ljust(count * self._size, b"\0")
        self.following += [*range(first + 1, first + count), _END]
        return first

    @property
    def table(self) -> bytes:
        """The table of sectors."""
        return struct.pack(f"<{len(self.following)}I", *self.following)


def compound_file(root: Storage) -> bytes:
    """Return a compound file."""
    entries: list[_Entry] = [_Entry("Root Entry", _ROOT)]
    _add(root, entries[0], entries)
    sectors, minis = _Chains(_SECTOR), _Chains(_MINI_SECTOR)
    for entry in entries:
        if entry.data:
            entry.start = (minis if len(entry.data) < _MINI_BELOW else sectors).add(entry.data)
    mini_count = -(-len(minis.table) // _SECTOR)
    mini_table = sectors.add(minis.table.ljust(mini_count * _SECTOR, b"\xff")) if minis.content else _END
    if minis.content:
        entries[0].data, entries[0].start = minis.content, sectors.add(minis.content)
    directory = sectors.add(b"".join(entry.packed() for entry in entries))
    fats = 1
    while (len(sectors.following) + fats) * 4 > fats * _SECTOR:
        fats += 1
    first_fat = len(sectors.following)
    sectors.following += [_FAT] * fats
    head = struct.pack(
        "<8s16xHHHHH6xIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6,
        0, fats, directory, 0, _MINI_BELOW, mini_table, mini_count, _END, 0,
    )  # fmt: skip
    listed = struct.pack("<109I", *range(first_fat, first_fat + fats), *[_FREE] * (109 - fats))
    return head + listed + sectors.content + sectors.table.ljust(fats * _SECTOR, b"\xff")


@dataclass
class _Entry:
    name: str
    kind: int
    data: bytes = b""
    start: int = _END
    right: int = _FREE
    child: int = _FREE

    def packed(self) -> bytes:
        name = self.name.encode("utf-16-le") + b"\0\0"
        return struct.pack(
            "<64sHBBIII36xIQ", name, len(name), self.kind, 1, _FREE, self.right, self.child, self.start, len(self.data)
        )


def _add(storage: Storage, parent: _Entry, entries: list[_Entry]) -> None:
    previous: _Entry | None = None
    for name, content in storage.items():
        entry = _Entry(name, _STREAM, content) if isinstance(content, bytes) else _Entry(name, _STORAGE)
        if previous is None:
            parent.child = len(entries)
        else:
            previous.right = len(entries)  # a tree with right children only
        previous = entry
        entries.append(entry)
        if not isinstance(content, bytes):
            _add(content, entry, entries)
