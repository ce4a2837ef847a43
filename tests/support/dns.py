"""A DNS server for one name, whose addresses a test changes."""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import Self

_ADDRESS, _INTERNET = 1, 1
_AUTHORITATIVE_RESPONSE = 0x8400


class DnsServer:
    """Answers any question for IPv4 addresses with `addresses`, and any other with nothing. A context manager.

    Attributes:
        address: Address that it listens on, by UDP; gRPC asks it about ``dns://{address}/name:port``.
        addresses: The addresses.
    """

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.sendto(b"", self._socket.getsockname())  # ends the thread
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(4096)
            if not query:
                return
            self._socket.sendto(self._respond(query), sender)

    def _respond(self, query: bytes) -> bytes:
        end = query.index(b"\0", 12) + 1
        question = query[12 : end + 4]
        (kind,) = struct.unpack("!H", query[end : end + 2])
        found = self.addresses if kind == _ADDRESS else []
        name = b"\xc0\x0c"  # that of the question
        records = [
            name + struct.pack("!HHIH", _ADDRESS, _INTERNET, 0, 4) + socket.inet_aton(address) for address in found
        ]
        head = query[:2] + struct.pack("!HHHHH", _AUTHORITATIVE_RESPONSE, 1, len(records), 0, 0)
        return head + question + b"".join(records)
