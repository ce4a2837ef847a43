"""Addresses of remote tools that the operator allows.

An entry is ``host:port``. A host that begins with ``*.`` stands for every name below the rest, ``*`` alone for every
host, a port of ``*`` for every port. With ``tls://`` before an entry, its addresses are called over TLS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_HOST = r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?|\[[0-9a-f:.]+\]"
_ADDRESS = re.compile(rf"(?P<host>{_HOST}):(?P<port>\d{{1,5}})")
_ENTRY = re.compile(rf"(?P<tls>tls://)?(?P<host>\*|(?:\*\.)?(?:{_HOST})):(?P<port>\d{{1,5}}|\*)")


@dataclass(frozen=True, slots=True)
class _Entry:
    host: str
    port: str
    tls: bool

    def covers(self, host: str, port: str) -> bool:
        if self.port not in ("*", port):
            return False
        return self.host in ("*", host) or (self.host.startswith("*.") and host.endswith(self.host[1:]))


class AllowedAddresses:
    """The allowed addresses; an empty list allows none."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Parse the list.

        Raises:
            ValueError: An entry is not an address. The message names it.
        """
        self._entries = tuple(map(_parse, entries))

    def tls(self, address: str) -> bool | None:
        """Whether to call an address over TLS, by the first entry that covers it; None if it is not allowed."""
        match = _ADDRESS.fullmatch(address)
        if match is None:
            return None
        return next((e.tls for e in self._entries if e.covers(match["host"], match["port"])), None)


def normal(address: str) -> str:
    """Return the address in the form in which it is compared and stored.

    Raises:
        ValueError: It is not an address.
    """
    match = _ADDRESS.fullmatch(address.strip().lower())
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ValueError(f'"{address[:80]}" is not an address; write host:port, such as tools.example.org:443')
    return f"{match['host']}:{int(match['port'])}"


def normal_or_same(address: str) -> str:
    """Return the normal form of an address; anything else as it is."""
    try:
        return normal(address)
    except ValueError:
        return address


def _parse(entry: str) -> _Entry:
    match = _ENTRY.fullmatch(entry.strip().lower())
    if match is None or not (match["port"] == "*" or 0 < int(match["port"]) < 65536):
        raise ValueError(
            f'"{entry}" is not an address; write host:port, *.domain:port or host:*, with tls:// before it for TLS'
        )
    return _Entry(match["host"], match["port"], match["tls"] is not None)
