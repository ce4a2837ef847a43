"""Free TCP ports."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """Return distinct free ports on loopback.

    For programs that need their ports beforehand; prefer port 0 if a program can choose its own. All ports are held
    until the last is found, so that none is returned twice.
    """
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def free_port() -> int:
    """Return a free port on loopback, for example for an address that must refuse connections."""
    return free_ports(1)[0]
