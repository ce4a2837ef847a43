"""What model servers tell of themselves."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from memgpt.cli.endpoint_probe import Endpoint
from memgpt.cli.setup import discovery


class Server:
    """A model server that answers paths with JSON; others with 404."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        answers = self.answers

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.dumps(answers.get(self.path, {})).encode()
                self.send_response(200 if self.path in answers else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - the library's name

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/props", {"default_generation_settings": {"n_ctx": 4096}}),
        ("/api/v0/models/m", {"loaded_context_length": 4096, "max_context_length": 131072}),
        ("/v1/models", {"data": [{"id": "other", "max_model_len": 1}, {"id": "m", "max_model_len": 4096}]}),
        ("/api/show", {"model_info": {"general.architecture": "qwen2", "qwen2.context_length": 4096}}),
    ],
)
def test_the_context_window_is_asked_for(server: Server, path: str, answer: dict[str, Any]) -> None:
    server.answers[path] = answer
    assert discovery.context_window(Endpoint(server.base_url), "m") == 4096


def test_a_server_that_tells_nothing_or_nonsense(server: Server) -> None:
    assert discovery.context_window(Endpoint(server.base_url), "m") == 0
    server.answers |= {
        "/props": [],
        "/v1/models": {"data": 3},
        "/api/show": {"model_info": {"x.context_length": "big"}},
    }
    assert discovery.context_window(Endpoint(server.base_url), "m") == 0
    assert discovery.context_window(Endpoint("file:///etc"), "m") == 0


def test_servers_of_this_machine_are_found(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "SERVERS", (("Ollama", server.port), ("llama.cpp", 9)))
    assert discovery.local_servers() == []
    server.answers["/v1/models"] = {"data": [{"id": "qwen"}]}
    (found,) = discovery.local_servers()
    assert (found.name, found.models) == ("Ollama", ["qwen"])
