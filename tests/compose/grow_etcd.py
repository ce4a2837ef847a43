"""Writes keys into an etcd, each by a write of its own, so that its log grows as it does within hours of uptime.

grow_etcd.py ADDRESS COUNT     e.g. grow_etcd.py 127.0.0.1:2379 30000

Only grpc is needed, so that it runs in any image of the suite.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Any

import grpc

_AT_A_TIME = 64
_KEYS = 100
"""Different keys; each write is an entry of the log all the same."""


def put_request(key: bytes, value: bytes) -> bytes:
    """Return an ``etcdserverpb.PutRequest``: field 1 is the key and field 2 the value, both shorter than 128 bytes."""
    return b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value


def grow(address: str, count: int) -> None:
    """Write `count` entries."""
    with grpc.insecure_channel(address) as channel:
        put: Any = channel.unary_unary("/etcdserverpb.KV/Put", None, None)
        pending: deque[Any] = deque()
        for number in range(count):
            request = put_request(b"memgpt-grow/%d" % (number % _KEYS), b"%d" % number)
            pending.append(put.future(request, timeout=30, wait_for_ready=True))
            if len(pending) >= _AT_A_TIME:
                pending.popleft().result()
        for call in pending:
            call.result()


if __name__ == "__main__":
    began = time.monotonic()
    grow(sys.argv[1], int(sys.argv[2]))
    print(f"{int(sys.argv[2]):,} entries in {time.monotonic() - began:.1f} s")
