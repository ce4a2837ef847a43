"""The probe of an endpoint, against one that plays several parts."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from memgpt.cli.endpoint_probe import Endpoint, ProbeError, _decoded

from scripts import probe_request

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
        return Endpoint(f"http://127.0.0.1:{server.server_address[1]}/v1", "sk-key", pauses=(0.0, 0.0))

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
        return _message(content='{"inner_thoughts": "", "call": {"function": "send_message", "arguments": {}}}')

    assert endpoint(answer).mode("m") == "json_schema"


def test_a_model_without_either(endpoint):
    with pytest.raises(ProbeError, match="does not call functions"):
        endpoint(lambda *_: _message(content="Hello!")).mode("m")


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"embedding": [0.0] * 7}]},
        {"data": [{"embedding": [[0.0] * 7]}]},
        {"data": [{"embedding": base64.b64encode(bytes(28)).decode()}]},
        {"embeddings": {"float": [[0.0] * 7]}},
        {"embeddings": [[0.0] * 7]},
        {"embedding": [0.0] * 7},
        {"embeddings": [{"values": [0.0] * 7}]},
        [[0.0] * 7],
    ],
    ids=["OpenAI", "nested", "base64", "Cohere", "Ollama", "Ollama, one", "Gemini", "TEI"],
)
def test_dimensions(endpoint, body):
    assert endpoint(lambda *_: (200, body)).embedding_dimension("e") == 7


@pytest.mark.parametrize(
    "body", [{}, [], {"data": []}, {"data": [{}]}, {"data": None}, {"data": [{"embedding": "x"}]}, {"data": [[]]}]
)
def test_a_response_without_a_vector(endpoint, body):
    with pytest.raises(ProbeError, match="does not return an embedding"):
        endpoint(lambda *_: (200, body)).embedding_dimension("e")


@pytest.mark.parametrize(
    ("code", "value", "words"),
    [
        (401, {}, "rejected the API key"),
        (404, {}, "HTTP 404"),
        (302, {}, "HTTP 302"),
        (200, b"<html>", "cannot be used"),
        (200, {"models": "x"}, "OpenAI"),
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


def test_it_asks_what_the_agent_asks(endpoint):
    """A short real history, all functions, the Agent's own options, and room for a model that thinks."""
    assert probe_request.TARGET.read_text(encoding="utf-8") == probe_request.text(), "run make generate"
    seen: list[dict[str, Any]] = []

    def answer(_path, body, _headers):
        seen.append(body)
        if "tools" in body:
            return 400, {"error": {"message": "this model does not support tools"}}
        return _message(content='{"inner_thoughts": "", "call": {"function": "send_message", "arguments": {}}}')

    assert endpoint(answer).mode("m") == "json_schema"
    tools, schema = seen
    assert [message["role"] for message in tools["messages"]] == ["system", "user", "assistant", "tool", "user"]
    assert len(tools["tools"]) == 8
    assert (tools["stream"], tools["tool_choice"], tools["parallel_tool_calls"]) == (True, "required", False)
    assert tools["max_tokens"] == schema["max_tokens"] == 2048
    assert schema["response_format"]["json_schema"]["schema"]["type"] == "object"


def test_a_stream_is_understood(endpoint):
    pieces = [{"name": "send_message", "arguments": ""}, {"arguments": '{"mess'}, {"arguments": 'age": "Hi"}'}]
    events = [{"choices": [{"delta": {"tool_calls": [{"index": 0, "function": piece}]}}]} for piece in pieces]
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    assert endpoint(lambda *_: (200, stream.encode())).mode("m") == "tools"


@pytest.mark.parametrize(
    ("refusal", "holds"),
    [
        ("Unsupported parameter: 'parallel_tool_calls'", lambda body: "parallel_tool_calls" not in body),
        ("Tool choice must be auto", lambda body: "tool_choice" not in body),
        ("Use 'max_completion_tokens' instead of 'max_tokens'", lambda body: "max_completion_tokens" in body),
        ("Unexpected role 'user' after role 'tool'", lambda body: body["messages"][-2]["role"] == "assistant"),
        (
            "* GenerateContentRequest.contents[2].parts[0].function_response.name: Name cannot be empty.",
            lambda body: body["messages"][3].get("name") == "send_message",
        ),
        ("Function call is missing a thought_signature", lambda body: "extra_content" in str(body["messages"])),
        (
            "The text field in the ContentBlock object at messages.2.content.0 is blank. Add text to the text field.",
            lambda body: all(message["content"] for message in body["messages"]),
        ),
        ("reasoning_content must be passed back", lambda body: "reasoning_content" in body["messages"][2]),
    ],
)
def test_what_is_refused_is_changed(endpoint, refusal, holds):
    call = {"function": {"name": "send_message", "arguments": '{"message": "Hi"}'}}

    def answer(_path, body, _headers):
        return _message(tool_calls=[call]) if holds(body) else (400, {"error": {"message": refusal}})

    assert endpoint(answer).mode("m") == "tools"


def test_the_endpoints_own_words(endpoint):
    with pytest.raises(ProbeError, match="no balance left: Insufficient Balance"):
        endpoint(lambda *_: (402, {"error": {"message": "Insufficient Balance"}})).mode("m")
    with pytest.raises(ProbeError, match="try pulling it first"):
        endpoint(lambda *_: (404, {"error": {"message": "model not found, try pulling it first"}})).mode("m")


def test_an_embedding_is_asked_for_as_memory_does(endpoint):
    seen: list[dict[str, Any]] = []

    def answer(_path, body, _headers):
        seen.append(body)
        if "encoding_format" in body:
            return 400, {"detail": "encoding_format float is not valid"}
        if "input_type" not in body:
            return 400, {"error": "'input_type' parameter is required"}
        return 200, {"data": [{"embedding": [0.0] * 7}]}

    assert endpoint(answer).embedding_dimension("e") == 7
    assert (seen[0]["encoding_format"], seen[-1]["input_type"]) == ("float", "passage")


def test_addresses_as_people_write_them(endpoint):
    def answer(path, _body, headers):
        assert (path, headers["api-key"]) == ("/openai/deployments/d/chat/completions?api-version=1", "sk-key")
        return _message(tool_calls=[{"function": {"name": "f", "arguments": "{}"}}])

    root = endpoint(answer).base_url.removesuffix("/v1")
    azure = Endpoint(f"{root}/openai/deployments/d/chat/completions?api-version=1", "sk-key")
    assert azure.mode("m") == "tools"


def test_the_window_at_which_ollama_cuts(endpoint):
    def answer(path, _body, _headers):
        if path == "/api/ps":
            return 200, {"models": [{"name": "m:latest", "model": "m", "context_length": 4096}]}
        return (200, {"version": "0.12"}) if path == "/api/version" else (404, {})

    assert endpoint(answer).silent_window("m") == 4096
    assert endpoint(lambda *_: (404, {})).silent_window("m") == 0


CALL = {"function": {"name": "send_message", "arguments": '{"message": "Hi"}'}}


@pytest.mark.parametrize(
    "listed",
    [
        [{"id": "a"}, {"id": "b"}],
        {"data": [{"id": "a"}, {"id": "b"}]},
        {"models": [{"name": "a"}, {"name": "b"}]},
        {"models": [{"name": "models/a"}, {"name": "models/b"}]},
        {"data": ["a", "b"]},
        {"object": "list", "data": [{"id": "a", "capabilities": None}, {"id": None}, {"id": "b"}]},
    ],
)
def test_lists_of_models_in_other_shapes(endpoint, listed):
    assert endpoint(lambda *_: (200, listed)).models() == ["a", "b"]


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
        (503, {"error": "Model m is currently loading", "estimated_time": 0.01}),
        (429, {"error": {"message": "Rate limit reached for requests. Please try again in 10ms."}}),
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        (200, {"error": {"message": "Provider returned error", "code": 502}}),
    ],
)
def test_a_passing_failure_says_nothing_of_the_mode(endpoint, code, body):
    """The second request succeeds: the model calls functions in the first mode that is asked for."""
    seen: list[dict[str, Any]] = []

    def answer(_path, given, _headers):
        seen.append(given)
        return (code, body) if len(seen) == 1 else _message(tool_calls=[CALL])

    assert endpoint(answer).mode("m") == "tools"
    assert "tools" in seen[1]


def test_a_failed_generation_says_nothing_of_the_mode(endpoint):
    seen: list[dict[str, Any]] = []
    failed = {"message": "Failed to call a function. Please adjust your prompt.", "code": "tool_use_failed"}

    def answer(_path, given, _headers):
        seen.append(given)
        return (400, {"error": failed}) if len(seen) == 1 else _message(tool_calls=[CALL])

    assert endpoint(answer).mode("m") == "tools"


@pytest.mark.parametrize(
    ("listed", "window"),
    [
        ([{"name": "other:latest", "model": "other", "context_length": 2048}], 0),
        ([{"name": "hf.co/me/m:Q4_K_M", "model": "hf.co/me/m:Q4_K_M", "context_length": 4096}], 4096),
        ([{"name": "hf.co/me/m:Q4_K_M", "context_length": None}], 0),
        ([], 0),
        (None, 0),
    ],
)
def test_the_window_of_the_model_that_ollama_holds(endpoint, listed, window):
    """Ollama behind another port and a prefix of a proxy, with models that have a registry in their names."""

    def answer(path, _body, _headers):
        if path.endswith("/api/ps"):
            return 200, {"models": listed}
        return (200, {"version": "0.12"}) if path.endswith("/api/version") else (404, {})

    assert endpoint(answer).silent_window("hf.co/me/m:Q4_K_M") == window


def test_extra_headers_and_parameters_are_sent_with_every_request(endpoint):
    seen: list[tuple[str, str | None]] = []

    def answer(path, body, headers):
        seen.append((path, headers["X-Team"]))
        if path.startswith("/v1/models"):
            return 200, {"data": [{"id": "m"}]}
        return (200, {"data": [{"embedding": [0.0] * 7}]}) if "input" in body else _message(tool_calls=[CALL])

    probed = endpoint(answer)
    probed = Endpoint(probed.base_url, "sk-key", {"X-Team": "a"}, {"v": "1"})
    assert probed.models() == ["m"]
    assert probed.mode("m") == "tools"
    assert probed.embedding_dimension("e") == 7
    assert {header for _, header in seen} == {"a"}
    assert all(path.endswith("?v=1") for path, _ in seen)


def test_a_stream_with_malformed_event_frames():
    event = json.dumps({"choices": [{"delta": {"content": "Hi"}}]})
    body = f'data: keepalive\n\ndata: data: {event}\n\ndata: {json.dumps(event)}\n\ndata: "[DONE]"\n\n'
    assert _decoded(body.encode()) == [json.loads(event)] * 2
