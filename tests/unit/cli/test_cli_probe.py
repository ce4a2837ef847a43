"""The probe of an endpoint, against one that plays several parts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from memgpt.cli.probe import Endpoint, ProbeError

Answer = Callable[[str, dict[str, Any], Any], tuple[int, Any]]


@pytest.fixture
def endpoint() -> Iterator[Callable[[Answer], Endpoint]]:
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> Endpoint:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply({})

            def do_POST(self) -> None:
                self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _reply(self, body: dict[str, Any]) -> None:
                code, value = answer(self.path, body, self.headers)
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(code)
                if 300 <= code < 400:
                    self.send_header("Location", "/v1/elsewhere")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return Endpoint(f"http://127.0.0.1:{server.server_address[1]}/v1", "sk-key")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _message(**message: Any) -> tuple[int, Any]:
    return 200, {"choices": [{"message": message}]}


def test_lists_models_with_the_key(endpoint):
    def answer(path, _body, headers):
        assert (path, headers["Authorization"]) == ("/v1/models", "Bearer sk-key")
        return 200, {"data": [{"id": "a"}, {"id": "b"}]}

    assert endpoint(answer).models() == ["a", "b"]


def test_a_model_with_tool_calls(endpoint):
    call = {"function": {"name": "say_hello", "arguments": '{"to": "Ada"}'}}
    assert endpoint(lambda *_: _message(content=None, tool_calls=[call])).mode("m") == "tools"


@pytest.mark.parametrize("refuses", [True, False])
def test_a_model_with_a_schema_only(endpoint, refuses):
    def answer(_path, body, _headers):
        if "tools" in body:
            return (400, {"error": "no tools"}) if refuses else _message(content="Hello Ada!")
        assert body["response_format"]["type"] == "json_schema"
        return _message(content='{"to": "Ada"}')

    assert endpoint(answer).mode("m") == "json_schema"


def test_a_model_without_either(endpoint):
    with pytest.raises(ProbeError, match="no functions"):
        endpoint(lambda *_: _message(content="Hello!")).mode("m")


def test_dimensions(endpoint):
    assert endpoint(lambda *_: (200, {"data": [{"embedding": [0.0] * 7}]})).embedding_dimension("e") == 7


@pytest.mark.parametrize(
    ("code", "value", "words"),
    [
        (401, {}, "refuses the key"),
        (404, {}, "HTTP 404"),
        (302, {}, "HTTP 302"),
        (200, b"<html>", "cannot be used"),
        (200, ["x"], "OpenAI"),
        (200, {"data": "x"}, "list of models"),
    ],
)
def test_what_is_no_endpoint(endpoint, code, value, words):
    with pytest.raises(ProbeError, match=words):
        endpoint(lambda *_: (code, value)).models()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "localhost:11434/v1", "http://127.0.0.1:9/v1"])
def test_what_is_no_address(url):
    with pytest.raises(ProbeError):
        Endpoint(url).models()


def test_the_key_is_not_shown():
    assert "sk-key" not in repr(Endpoint("http://h", "sk-key"))
