"""A proxy before the model's endpoint that records what each request cost, and what was new in its prompt."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from memgpt_agent.models.answer.usage import read_usage
from memgpt_runtime.tokens import count_tokens

_NOTE = '{"type": "system_status"'
"""Begins the note at the end of a prompt, which no later prompt contains."""

_FORWARDED = ("content-type", "authorization", "accept")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request to the model.

    Attributes:
        prompt: Tokens of the prompt, as the endpoint counts.
        cached: Those that it had in its cache.
        completion: Tokens that the model wrote.
        seconds: How long it took.
        new: Tokens after what the previous request's prompt had in common with this one, in proportion to our own
            counts; None if that prompt was not the beginning of this one.
    """

    prompt: int
    cached: int
    completion: int
    seconds: float
    new: int | None

    def json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


class Recorder:
    """The proxy; a context manager."""

    def __init__(self, endpoint: str) -> None:
        """Listen on a free loopback port.

        Args:
            endpoint: The base URL of the endpoint, ending in ``/v1``.
        """
        self._endpoint = endpoint.rstrip("/")
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []
        self._before = ""
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                recorder._forward(self, "GET", b"")

            def do_POST(self) -> None:
                recorder._forward(self, "POST", self.rfile.read(int(self.headers.get("content-length", 0))))

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="recorder")

    @property
    def base_url(self) -> str:
        """The base URL of the proxy."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def begin_dialogue(self) -> None:
        """Forget the last prompt."""
        self._before = ""
        self.take()

    def take(self) -> list[Exchange]:
        """Return the exchanges since the last call."""
        with self._lock:
            taken, self._exchanges = self._exchanges, []
        return taken

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _forward(self, handler: BaseHTTPRequestHandler, method: str, body: bytes) -> None:
        headers = {name: handler.headers[name] for name in _FORWARDED if name in handler.headers}
        url = self._endpoint + handler.path.removeprefix("/v1")
        start, received = time.perf_counter(), bytearray()
        request = urllib.request.Request(url, body or None, headers, method=method)
        with _opened(request) as response:
            handler.send_response(response.status)
            handler.send_header("content-type", response.headers.get("content-type", "application/json"))
            handler.send_header("connection", "close")
            handler.end_headers()
            while piece := response.read1(65_536):
                received += piece
                handler.wfile.write(piece)
                handler.wfile.flush()
        if handler.path.endswith("/chat/completions") and response.status == 200:
            self._record(json.loads(body), bytes(received), time.perf_counter() - start)

    def _record(self, request: Mapping[str, Any], answer: bytes, seconds: float) -> None:
        usages = [reported.usage for chunk in _chunks(answer) if (reported := read_usage(chunk)) is not None]
        prompt, cached, completion = (
            (usages[-1].prompt_tokens, usages[-1].cached_tokens, usages[-1].completion_tokens) if usages else (0, 0, 0)
        )
        text = prompt_text(request["messages"])
        with self._lock:
            new = new_tokens(self._before, text, prompt)
            self._exchanges.append(Exchange(prompt, cached, completion, seconds, new))
            self._before = text


def _opened(request: urllib.request.Request) -> Any:
    """Send a request without a proxy, and return the response whatever its status is."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(request)
    except urllib.error.HTTPError as error:
        return error


def prompt_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return everything in a request's messages as one text, in order."""
    return "\0".join(
        f"{message['role']}\1{message.get('content') or ''}{json.dumps(message.get('tool_calls') or '')}"
        for message in messages
    )


def new_tokens(before: str, text: str, tokens: int) -> int | None:
    """Return how many of a prompt's tokens follow an earlier prompt, without the note at its end.

    None if the earlier prompt is empty, or not the beginning of this one.
    """
    kept = before.rpartition(_NOTE)[0].rstrip("\n") if _NOTE in before else before.rstrip('"')
    if not kept or not text.startswith(kept):
        return None
    whole = count_tokens(text)
    return round(tokens * count_tokens(text[len(kept) :]) / whole) if whole else 0


def _chunks(answer: bytes) -> Iterable[Mapping[str, Any]]:
    """Yield the JSON objects of an answer, streamed or whole."""
    lines = answer.decode(errors="replace").splitlines()
    texts = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")] or ["\n".join(lines)]
    for text in texts:
        try:
            chunk = json.loads(text)
        except ValueError:
            continue
        if isinstance(chunk, dict):
            yield chunk
