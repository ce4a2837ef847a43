"""Random mutations of files and messages."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from random import Random

_WORTH = (
    b"\0",
    b"\xff",
    b"\r\n",
    b"-1",
    b"0",
    b"4294967296",
    b"99999999999999999999",
    b"1e400",
    b"<![CDATA[",
    b"<!ENTITY x SYSTEM 'file:///etc/passwd'>",
    b"&x;",
    b"</",
    b"<",
    b'"',
    b"[" * 300,
    b"{" * 300,
    b" 0 R",
    b"<<",
    b">>",
    b"endobj",
    b"stream",
    b"/Kids [1 0 R 2 0 R]",
    b"/Filter [/FlateDecode /LZWDecode /ASCII85Decode /RunLengthDecode]",
    b"Content-Type: multipart/mixed; boundary=x\n\n",
    b"=?utf-8?b?//8=?=",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xd8\x00",
    b"PK\x03\x04",
    b"%PDF-",
    "\u202e\u200d\ud83d".encode("utf-16-le", "surrogatepass"),
)
"""Keywords of parsers, and boundary values."""


def _span(random: Random, data: bytes) -> tuple[int, int]:
    first = random.randrange(len(data) + 1)
    return first, min(len(data), first + int(2 ** random.uniform(0, 10)))


def _flip(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.randint(1, 8) if data else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(random: Random, data: bytes) -> bytes:
    first, last = _span(random, data)
    return data[:first] + data[last:]


def _end(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _repeat(random: Random, data: bytes) -> bytes:
    first, last = _span(random, data)
    return data[:first] + data[first:last] * random.randint(2, 50) + data[last:]


def _insert(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    word = random.choice(_WORTH) if random.random() < 0.7 else random.randbytes(random.randint(1, 64))
    return data[:at] + word + data[at:]


def _overwrite(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    word = random.choice(_WORTH)
    return data[:at] + word + data[at + len(word) :]


def _number(random: Random, data: bytes) -> bytes:
    """Replace a number by another one."""
    digits = [at for at in range(len(data)) if data[at : at + 1].isdigit() and not data[at - 1 : at].isdigit()]
    if not digits:
        return data
    at = random.choice(digits)
    end = at
    while data[end : end + 1].isdigit():
        end += 1
    return data[:at] + str(random.choice((0, 1, 2, 3, 7, 255, 65536, 2**31, 2**63, 10**19))).encode() + data[end:]


_MUTATIONS: Sequence[Callable[[Random, bytes], bytes]] = (_flip, _cut, _end, _repeat, _insert, _overwrite, _number)


def mutated(random: Random, data: bytes) -> bytes:
    """Return bytes with a few changes."""
    for _ in range(random.randint(1, 4)):
        data = random.choice(_MUTATIONS)(random, data)
    return data


def mutated_part(random: Random, package: bytes) -> bytes:
    """Return an archive with changes in one part, which is otherwise valid."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = random.choice(old.namelist())
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, mutated(random, data) if name == chosen else data)
    return buffer.getvalue()
