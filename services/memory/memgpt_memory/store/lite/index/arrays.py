"""A file of named arrays that is read by mapping it into memory.

A header (JSON, with the place and the CRC-32 of each array) precedes the arrays, each aligned for its type. Opening a
file reads the header alone; `damaged_arrays` reads everything.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.generic]

_MAGIC = b"memgpt1\n"
_LENGTHS = struct.Struct("<II")
_ALIGNMENT = 64


class DamagedFileError(Exception):
    """A file is not what was written."""


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays to a file, durably: it appears as a whole or not at all."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    described: dict[str, list[object]] = {}
    place = 0
    for name, array in contiguous.items():
        described[name] = [array.dtype.str, list(array.shape), place, _checksum(array)]
        place += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    header = json.dumps(described).encode()
    draft = path.with_name(path.name + ".tmp")
    with draft.open("wb") as file:
        file.write(_MAGIC + _LENGTHS.pack(len(header), zlib.crc32(header)) + header)
        file.write(bytes(-file.tell() % _ALIGNMENT))
        for array in contiguous.values():
            file.write(array.data)
            file.write(bytes(-array.nbytes % _ALIGNMENT))
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def read_arrays(path: Path) -> dict[str, Array]:
    """Map the arrays of a file into memory.

    Raises:
        DamagedFileError: The header is damaged, or the file is too short.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < len(_MAGIC) + _LENGTHS.size:
            raise DamagedFileError(path.name)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    begin = len(_MAGIC) + _LENGTHS.size
    length, checksum = _LENGTHS.unpack_from(mapped, len(_MAGIC))
    header = mapped[begin : begin + length]
    if mapped[: len(_MAGIC)] != _MAGIC or zlib.crc32(header) != checksum:
        raise DamagedFileError(path.name)
    first = -(-(begin + length) // _ALIGNMENT) * _ALIGNMENT
    arrays: dict[str, Array] = {}
    for name, (dtype, shape, place, _) in json.loads(header).items():
        count = int(np.prod(shape, dtype=np.int64))
        if first + place + count * np.dtype(dtype).itemsize > size:
            raise DamagedFileError(path.name)
        arrays[name] = np.frombuffer(mapped, dtype, count, first + place).reshape(shape)
    return arrays


def is_intact(path: Path) -> bool:
    """Return whether every array of a file has the checksum that it was written with; reads the whole file."""
    try:
        arrays = read_arrays(path)
        with path.open("rb") as file:
            file.seek(len(_MAGIC))
            length, _ = _LENGTHS.unpack(file.read(_LENGTHS.size))
            described = json.loads(file.read(length))
    except (DamagedFileError, OSError, ValueError):
        return False
    return all(_checksum(array) == described[name][3] for name, array in arrays.items())


def _checksum(array: Array) -> int:
    return zlib.crc32(array.tobytes() if array.dtype.kind == "S" else array.data.cast("B")) if array.size else 0
