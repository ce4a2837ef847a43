"""A scripted model: a real HTTP server that speaks the OpenAI protocol.

    with ScriptedLLM([call("send_message", message="Hello."), Status(429, retry_after=1), say("A thought.")]) as llm:
        ... MEMGPT_AGENT_…=llm.base_url ...
        assert llm.requests[0].json["model"] == "scripted"

Chat requests are answered from the script, one reply per request; embeddings are computed deterministically from the
text and need no script.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import sys
import threading
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Completion:
    """An ordinary chat completion.

    Attributes:
        content: The text; None for none.
        tool_calls: Pairs of a function's name and its arguments as raw text, which may be invalid.
        finish_reason: Derived from the other fields by default.
        prompt_tokens: Number of prompt tokens in the usage.
        completion_tokens: Number of completion tokens in the usage.
        refusal: The model's refusal; None for none.
        pieces: Number of pieces into which a stream cuts the content and each call's arguments.
        drop_after: Number of stream events after which the connection breaks; None for never. Without a stream the
            connection breaks in the middle of the body.
        hang_after: Number of stream events after which the stream hangs until the server stops; None for never.
    """

    content: str | None = None
    tool_calls: tuple[tuple[str, str], ...] = ()
    finish_reason: str | None = None
    prompt_tokens: int = 100
    completion_tokens: int = 10
    refusal: str | None = None
    pieces: int = 4
    drop_after: int | None = None
    hang_after: int | None = None


@dataclass(frozen=True)
class Status:
    """An HTTP error.

    Attributes:
        code: Status code, such as 401, 429 or 500.
        message: Message of the error object in the body.
        error_code: The error object's ``code``, such as ``context_length_exceeded``.
        retry_after: Value of the header ``Retry-After``, in seconds or as a date; None for no header.
    """

    code: int
    message: str = "scripted failure"
    error_code: str | None = None
    retry_after: float | str | None = None


@dataclass(frozen=True)
class Raw:
    """A raw body, by default with status 200: broken JSON, no choices, an HTML page, a vendor's error."""

    body: str | bytes
    content_type: str = "application/json"
    code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """A stream of raw events, for responses that `Completion` cannot express; `chunk` builds one from a delta.

    A generator may wait for the test between two events.
    """

    events: Iterable[str]


@dataclass(frozen=True)
class Hang:
    """No response until the client gives up or the server stops."""


@dataclass(frozen=True)
class Drop:
    """A connection that is closed without a response."""


Reply = Completion | Status | Raw | Stream | Hang | Drop


@dataclass(frozen=True)
class Request:
    """A request of a client.

    Attributes:
        path: Path, such as ``/v1/chat/completions``.
        headers: Headers, with names in lower case.
        json: The decoded body.
        port: The client's port, which tells its connections apart.
    """

    path: str
    headers: Mapping[str, str]
    json: dict[str, Any]
    port: int = 0

    @property
    def operation(self) -> str:
        """The operation without the base path: ``/chat/completions`` or ``/embeddings``."""
        path = self.path.partition("?")[0]
        return next((known for known in ("/chat/completions", "/embeddings") if path.endswith(known)), path)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation of a chat request, without the note at its end."""
        found: list[dict[str, Any]] = self.json["messages"]
        before, note = _without_note(found[-1]) if found else ({}, "")
        return [*found[:-1], *([before] if before else [])] if note else found

    @property
    def note(self) -> str:
        """The note at the end of the prompt; empty if there is none."""
        return _without_note(self.json["messages"][-1])[1]

    @property
    def functions(self) -> list[str]:
        """Names of the functions that a chat request offers as tools."""
        return [tool["function"]["name"] for tool in self.json.get("tools") or []]


_NOTE = '{"type": "system_status"'


def _without_note(message: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Split a message into the part before the note, if there is one, and the note."""
    content = message.get("content")
    if message["role"] != "user" or not isinstance(content, str) or not content.splitlines()[-1:]:
        return message, ""
    *before, last = content.split("\n")
    if not last.startswith(_NOTE):
        return message, ""
    return ({**message, "content": "\n".join(before)} if before else {}), last


Script = Iterable[Reply] | Callable[[Request], Reply]

NO_CHOICES = Raw('{"id": "x", "object": "chat.completion", "created": 1, "model": "scripted", "choices": []}')
BROKEN_JSON = Raw('{"id": "x", "object": "chat.completion", "choices": [{"message"')


def say(content: str, **more: Any) -> Completion:
    """Return a plain text reply, which the loop treats as an inner thought."""
    return Completion(content=content, **more)


def call(function: str, /, *, thought: str | None = None, **arguments: Any) -> Completion:
    """Return a tool call; `thought` becomes the accompanying text."""
    return Completion(content=thought, tool_calls=((function, json.dumps(arguments, ensure_ascii=False)),))


def choose(function: str, /, *, inner_thoughts: str = "", **arguments: Any) -> Completion:
    """Return a reply with the single object that the mode `json_schema` requires."""
    chosen = {"inner_thoughts": inner_thoughts, "call": {"function": function, "arguments": arguments}}
    return Completion(content=json.dumps(chosen, ensure_ascii=False))


def chunk(finish: str | None = None, *, usage: Any = None, **delta: Any) -> str:
    """Return an event of a `Stream`; `usage` is a pair of prompt and completion tokens."""
    body: dict[str, Any] = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return json.dumps(body)


def embed(text: str, dimension: int) -> list[float]:
    """Return a unit vector to which each word adds a fixed direction, so texts with shared words are similar."""
    total = [0.0] * dimension
    for word in re.findall(r"\w+", text.lower()) or [""]:
        stream = hashlib.shake_128(word.encode()).digest(4 * dimension)
        for index, (number,) in enumerate(struct.iter_unpack("<i", stream)):
            total[index] += number / 2**31
    length = math.hypot(*total) or 1.0
    return [number / length for number in total]


@dataclass
class _State:
    script: deque[Reply] | Callable[[Request], Reply]
    dimension: int
    api_key: str | None
    requests: list[Request] = field(default_factory=list)
    embeddings: deque[Reply] = field(default_factory=deque)
    rule: Callable[[Request], Reply | None] | None = None
    before_hold: int | None = None
    embedding_count: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    stopping: threading.Event = field(default_factory=threading.Event)

    def record(self, request: Request) -> None:
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()

    def refused(self, request: Request) -> bool:
        return self.api_key is not None and request.headers.get("authorization") != f"Bearer {self.api_key}"

    def chat(self, request: Request) -> Reply:
        # A function may wait for the test, so it must not hold the lock.
        if callable(self.script):
            return self.script(request)
        with self.changed:
            if not self.script:
                return Status(500, f"the script is at its end, at request {len(self.requests)}")
            return self.script.popleft()

    def embedding(self, request: Request) -> Reply | None:
        if self.rule is not None and (refused := self.rule(request)) is not None:
            return refused
        with self.changed:
            self.embedding_count += 1
            number = self.embedding_count
            self.changed.notify_all()
            self.changed.wait_for(
                lambda: self.before_hold is None or number <= self.before_hold or self.stopping.is_set()
            )
            return self.embeddings.popleft() if self.embeddings else None


_IDLE_SECONDS = 10.0
"""Seconds for which an idle connection may delay the server's stop."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log an error, unless a client has disconnected."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class ScriptedLLM:
    """The scripted server. A context manager; it listens from construction on."""

    def __init__(
        self,
        script: Script = (),
        *,
        dimension: int = 256,
        model: str = "scripted",
        api_key: str | None = None,
        keep_alive: bool = False,
    ) -> None:
        """Start the server on a free loopback port.

        Args:
            script: The replies in order, or a function that returns one for each chat request.
            dimension: Dimension of the embeddings.
            model: Name of the model in ``/v1/models``.
            api_key: The only accepted API key; None accepts any request.
            keep_alive: Whether a connection serves several requests, as on real endpoints.
        """
        self.model = model
        self._state = _State(script if callable(script) else deque(script), dimension, api_key)

        class Handler(_Handler):
            state = self._state
            model_name = model
            kept = keep_alive
            timeout = None if keep_alive else _IDLE_SECONDS

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="scripted-llm")
        self._thread.start()

    @property
    def base_url(self) -> str:
        """Base URL for clients; ends in ``/v1``."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def requests(self) -> list[Request]:
        """The chat requests so far."""
        with self._state.changed:
            return [request for request in self._state.requests if request.operation == "/chat/completions"]

    @property
    def embedding_requests(self) -> list[Request]:
        """The embedding requests so far."""
        with self._state.changed:
            return [request for request in self._state.requests if request.operation == "/embeddings"]

    def add(self, *replies: Reply) -> None:
        """Append replies to the script."""
        assert isinstance(self._state.script, deque), "the script is a function"
        with self._state.changed:
            self._state.script.extend(replies)

    def fail_embeddings(self, *replies: Reply) -> None:
        """Use these replies for the next embedding requests."""
        with self._state.changed:
            self._state.embeddings.extend(replies)

    def rule_embeddings(self, rule: Callable[[Request], Reply | None]) -> None:
        """Use the reply that ``rule`` returns for embedding requests; None means vectors."""
        self._state.rule = rule

    def fail_no_embeddings(self) -> None:
        """Discard the remaining replies of `fail_embeddings`."""
        with self._state.changed:
            self._state.embeddings.clear()

    @property
    def dimension(self) -> int:
        """Dimension of the embeddings."""
        return self._state.dimension

    @dimension.setter
    def dimension(self, dimension: int) -> None:
        self._state.dimension = dimension

    def hold_embeddings(self, after: int = 0) -> None:
        """Answer this many further embedding requests, and hold later ones until `release_embeddings`."""
        with self._state.changed:
            self._state.before_hold = self._state.embedding_count + after

    def release_embeddings(self) -> None:
        """Release the requests held by `hold_embeddings`."""
        with self._state.changed:
            self._state.before_hold = None
            self._state.changed.notify_all()

    def wait_for_held(self, timeout: float = 60) -> None:
        """Wait until an embedding request is held."""
        with self._state.changed:
            assert self._state.changed.wait_for(
                lambda: self._state.before_hold is not None and self._state.embedding_count > self._state.before_hold,
                timeout,
            ), f"no embedding request was held in {timeout} s"

    def wait_for_requests(self, count: int, timeout: float = 60) -> list[Request]:
        """Wait for this many chat requests, for example to kill a service while it waits for the model."""
        with self._state.changed:
            assert self._state.changed.wait_for(lambda: len(self.requests) >= count, timeout), (
                f"{len(self.requests)} requests in {timeout} s, not {count}"
            )
            return self.requests

    @property
    def unused(self) -> int:
        """Number of unused replies of the script."""
        return 0 if callable(self._state.script) else len(self._state.script)

    def close(self) -> None:
        """Stop the server and release hanging requests."""
        self._state.stopping.set()
        self.release_embeddings()
        self._server.shutdown()
        self._thread.join()
        # Joins the threads of the requests as well.
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Handler(BaseHTTPRequestHandler):
    state: _State
    model_name: str
    kept: bool
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_args: Any) -> None:
        """Write no access log into the tests' output."""

    def end_headers(self) -> None:
        """Usually allow one request per connection: a kept one could close just when a client reuses it."""
        if not self.kept:
            self.send_header("Connection", "close")
            self.close_connection = True
        super().end_headers()

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._send_json(
                {"object": "list", "data": [{"id": self.model_name, "object": "model", "owned_by": "tests"}]}
            )
        else:
            self._send_error(Status(404, f"no such path: {self.path}"))

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        read = self.rfile.read(length)
        if len(read) < length:
            return  # the client was killed while it wrote
        body, (_, port) = json.loads(read), self.client_address
        request = Request(self.path, {key.lower(): value for key, value in self.headers.items()}, body, port)
        self.state.record(request)
        if self.state.refused(request):
            self._send_error(Status(401, "Incorrect API key provided", "invalid_api_key"))
        elif request.operation == "/chat/completions":
            self._answer(request, self.state.chat(request))
        elif request.operation != "/embeddings":
            self._send_error(Status(404, f"no such path: {self.path}"))
        elif scripted := self.state.embedding(request):
            self._answer(request, scripted)
        else:
            self._send_embeddings(request)

    def _answer(self, request: Request, reply: Reply) -> None:
        match reply:
            case Completion():
                if request.json.get("stream"):
                    self._send_stream(request, reply)
                else:
                    self._send_completion(reply)
            case Status():
                self._send_error(reply)
            case Stream():
                self._send_events(reply.events)
            case Raw():
                body = reply.body if isinstance(reply.body, bytes) else reply.body.encode()
                self._send(reply.code, body, reply.content_type, reply.headers)
            case Hang():
                self._hang()
            case Drop():
                self.close_connection = True

    def _hang(self) -> None:
        self.close_connection = True
        self.state.stopping.wait()

    def _send(self, code: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:  # the client was cancelled
            self.close_connection = True

    def _send_json(self, body: dict[str, Any], code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self._send(code, json.dumps(body, ensure_ascii=False).encode(), "application/json", headers)

    def _send_error(self, status: Status) -> None:
        error = {"message": status.message, "type": "scripted", "param": None, "code": status.error_code}
        headers = {} if status.retry_after is None else {"Retry-After": str(status.retry_after)}
        self._send_json({"error": error}, status.code, headers)

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": f"chatcmpl-{len(self.state.requests)}", "object": kind, "created": 1, "model": self.model_name}

    @staticmethod
    def _calls(reply: Completion) -> list[dict[str, Any]]:
        return [
            {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for index, (name, arguments) in enumerate(reply.tool_calls)
        ]

    @staticmethod
    def _finish(reply: Completion) -> str:
        return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")

    @staticmethod
    def _usage(reply: Completion) -> dict[str, int]:
        return {
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "total_tokens": reply.prompt_tokens + reply.completion_tokens,
        }

    def _send_completion(self, reply: Completion) -> None:
        message: dict[str, Any] = {"role": "assistant", "content": reply.content, "refusal": reply.refusal}
        if reply.tool_calls:
            message["tool_calls"] = self._calls(reply)
        choice = {"index": 0, "message": message, "finish_reason": self._finish(reply), "logprobs": None}
        body = {**self._head("chat.completion"), "choices": [choice], "usage": self._usage(reply)}
        if reply.drop_after is None and reply.hang_after is None:
            self._send_json(body)
            return
        # Half of the declared body, then the end of the connection or silence.
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text[: len(text) // 2])
        self.wfile.flush()
        if reply.hang_after is not None:
            self._hang()

    def _deltas(self, reply: Completion) -> Iterable[dict[str, Any]]:
        yield {"role": "assistant", "content": "" if reply.content is not None else None}
        for piece in _cut(reply.content, reply.pieces):
            yield {"content": piece}
        if reply.refusal is not None:
            yield {"refusal": reply.refusal}
        for index, made in enumerate(self._calls(reply)):
            function = made["function"]
            yield {"tool_calls": [{**made, "index": index, "function": {"name": function["name"], "arguments": ""}}]}
            for piece in _cut(function["arguments"], reply.pieces):
                yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}

    def _events(self, request: Request, reply: Completion) -> Iterable[dict[str, Any]]:
        head = self._head("chat.completion.chunk")
        for delta in self._deltas(reply):
            yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": self._finish(reply)}]}
        if (request.json.get("stream_options") or {}).get("include_usage"):
            yield {**head, "choices": [], "usage": self._usage(reply)}

    def _send_stream(self, request: Request, reply: Completion) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, event in enumerate(self._events(request, reply)):
            if number == reply.drop_after:
                return
            if number == reply.hang_after:
                self._hang()
                return
            self._send_chunk(f"data: {json.dumps(event, ensure_ascii=False)}\n\n")
        self._send_chunk("data: [DONE]\n\n")
        self._send_chunk("")

    def _send_events(self, events: Iterable[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            self._send_chunk(f"data: {event}\n\n")
        self._send_chunk("")

    def _send_chunk(self, text: str) -> None:
        data = text.encode()
        try:
            self.wfile.write(f"{len(data):X}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        except ConnectionError:
            # The client was cancelled, which many tests do.
            self.close_connection = True

    def _send_embeddings(self, request: Request) -> None:
        given = request.json["input"]
        texts: list[str] = [given] if isinstance(given, str) else given
        dimension = request.json.get("dimensions") or self.state.dimension
        as_base64 = request.json.get("encoding_format") == "base64"
        data = []
        for index, text in enumerate(texts):
            vector = embed(text, dimension)
            packed = b64encode(struct.pack(f"<{dimension}f", *vector)).decode()
            data.append({"object": "embedding", "index": index, "embedding": packed if as_base64 else vector})
        tokens = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        self._send_json({"object": "list", "data": data, "model": request.json["model"], "usage": usage})


def _cut(text: str | None, pieces: int) -> list[str]:
    if not text:
        return []
    size = math.ceil(len(text) / pieces)
    return [text[start : start + size] for start in range(0, len(text), size)]
