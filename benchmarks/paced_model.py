"""A scripted chat model in a process of its own, which writes at a given pace to any number of streams.

A single thread serves all streams, so that a benchmark of a thousand turns measures the suite rather than its model.
Every response is a call of ``send_message`` whose text consists of the times at which its pieces were written.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import multiprocessing
import random
import time
from collections.abc import Mapping
from multiprocessing.sharedctypes import Synchronized
from types import TracebackType
from typing import Any, Self

_LISTENING = 30.0
"""Seconds within which it listens."""

_LOOK = 0.2
"""Seconds after which a stream notices another pace."""


class PacedModel:
    """The model; a context manager.

    Attributes:
        base_url: Its base URL, which ends in ``/v1``.
        pid: Id of its process.
    """

    base_url: str
    pid: int

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._interval: Synchronized[float] = context.Value(ctypes.c_double, 0.0)
        self._open: Synchronized[int] = context.Value(ctypes.c_int, 0)
        self._port: Synchronized[int] = context.Value(ctypes.c_int, 0)
        self._process = context.Process(target=_serve, args=(self._interval, self._open, self._port), daemon=True)

    @property
    def open(self) -> int:
        """Number of streams that wait or are being written."""
        return self._open.value

    def pace(self, interval: float) -> None:
        """Write a piece to every stream each `interval` seconds; 0 pauses."""
        self._interval.value = interval

    def finish(self) -> None:
        """End every stream, and those of later requests at once."""
        self._interval.value = -1.0

    def __enter__(self) -> Self:
        self._process.start()
        deadline = time.monotonic() + _LISTENING
        while not self._port.value:
            if not self._process.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the scripted model did not start")
            time.sleep(0.01)
        self.base_url = f"http://127.0.0.1:{self._port.value}/v1"
        assert self._process.pid is not None
        self.pid = self._process.pid
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()


def _serve(interval: Synchronized[float], open_streams: Synchronized[int], port: Synchronized[int]) -> None:
    asyncio.run(_Server(interval, open_streams).serve(port))


class _Server:
    def __init__(self, interval: Synchronized[float], open_streams: Synchronized[int]) -> None:
        self._interval, self._open = interval, open_streams

    async def serve(self, port: Synchronized[int]) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=4096)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve a request; return whether another may follow."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *lines = head.split("\r\n")
        headers = dict(each.lower().split(": ", 1) for each in lines if each)
        await reader.readexactly(int(headers.get("content-length", 0)))
        if not line.startswith("POST"):
            body = b'{"object": "list", "data": [{"id": "scripted", "object": "model"}]}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
            return True
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        self._open.value += 1
        try:
            await self._write_pieces(writer)
        finally:
            self._open.value -= 1
        return True

    async def _write_pieces(self, writer: asyncio.StreamWriter) -> None:
        call = {"index": 0, "id": "call_0", "type": "function", "function": {"name": "send_message", "arguments": ""}}
        _event(writer, {"role": "assistant", "tool_calls": [call]})
        _arguments(writer, '{"message": "')
        pace = due = 0.0
        while (interval := self._interval.value) >= 0:
            now = time.monotonic()
            if interval != pace:  # the streams' pieces are spread over the interval
                pace, due = interval, now + random.uniform(0, interval)
            if not interval or now < due:
                await asyncio.sleep(min(_LOOK, due - now) if interval else _LOOK)
                continue
            due += interval
            _arguments(writer, f"{now:.3f} ")
            await writer.drain()
        _arguments(writer, 'Done."}')
        _event(writer, {}, "tool_calls")
        _chunk(writer, "data: [DONE]\n\n")
        _chunk(writer, "")
        await writer.drain()


def _arguments(writer: asyncio.StreamWriter, text: str) -> None:
    _event(writer, {"tool_calls": [{"index": 0, "function": {"arguments": text}}]})


def _event(writer: asyncio.StreamWriter, delta: Mapping[str, Any], finish: str | None = None) -> None:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    _chunk(writer, f"data: {json.dumps({**head, 'choices': [choice]})}\n\n")


def _chunk(writer: asyncio.StreamWriter, text: str) -> None:
    data = text.encode()
    writer.write(b"%X\r\n%b\r\n" % (len(data), data))
