"""Free TCP ports."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """Distinct ports on loopback that nothing listens on.

    For programs that must be told their ports beforehand; where a program can choose for itself (port 0), let it. All
    are held until the last is found, so that none comes twice.
    """
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def free_port() -> int:
    """One port on loopback that nothing listens on, such as for an address that must refuse connections."""
    return free_ports(1)[0]
