"""One trace from the client through every service to the model and the tool, as a collector receives it."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from memgpt.client import MemGPT
from memgpt.loader.v1.load_pb2 import FileManifest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.sdk.trace import TracerProvider

from tests.support.otlp_collector import CollectedSpan, OtlpCollector
from tests.support.ports import free_port
from tests.support.scripted_llm import ScriptedLLM, call
from tests.support.scripted_tool import ScriptedTool, result
from tests.support.suite import Suite

SECRETS = ("heron", "blueprint", "weather", "umbrella")
"""Words of the message, the file, the call and the answer."""

SCRIPT = [
    call("archival_memory_search", query="heron", request_heartbeat=True),
    call("forecast", request_heartbeat=True),
    call("send_message", message="Take an umbrella."),
]
TOOLS = {"forecast": result("weather: rain")}

AGENT, MEMORY, LOADER = "memgpt-agent", "memgpt-memory", "memgpt-loader"


@pytest.fixture
def collector() -> Iterator[OtlpCollector]:
    with OtlpCollector() as collector:
        yield collector


@pytest.fixture
def llm() -> Iterator[ScriptedLLM]:
    with ScriptedLLM(SCRIPT) as llm:
        yield llm


@pytest.fixture
def tool() -> Iterator[ScriptedTool]:
    with ScriptedTool(TOOLS) as tool:
        yield tool


def settings(collector: OtlpCollector, llm: ScriptedLLM, **more: str) -> dict[str, str]:
    return {
        "MEMGPT_SERVER_TRACES": "otlp",
        "MEMGPT_SERVER_TRACES_ENDPOINT": collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "MEMGPT_AGENT_MODEL": "scripted",
        "MEMGPT_AGENT_BASE_URL": llm.base_url,
        "MEMGPT_AGENT_TOOL_ADDRESSES": "127.0.0.1:*",
        "MEMGPT_AGENT_MODE": "tools",
        "MEMGPT_MEMORY_EMBEDDING": "openai",
        "MEMGPT_MEMORY_EMBEDDING_MODEL": "vectors",
        "MEMGPT_MEMORY_EMBEDDING_DIMENSION": str(llm.dimension),
        "MEMGPT_MEMORY_EMBEDDING_BASE_URL": llm.base_url,
        **more,
    }


def load(client: MemGPT, folder: Path) -> None:
    data = b"The blueprint of a heron.\n" * 20
    (folder / "bird.txt").write_bytes(data)
    manifest = FileManifest(name="bird.txt", size=len(data), sha256=hashlib.sha256(data).hexdigest())
    created = client.loads.create("birds", [manifest])
    client.loads.upload(created.load_id, "bird.txt", folder / "bird.txt")
    for _ in client.loads.watch(created.load_id):
        pass


def turn_of_the_client(suite: Suite, tool: ScriptedTool, folder: Path) -> str:
    """Load a file, register a tool, and run a turn within one trace; return the trace's id."""
    tracer = TracerProvider().get_tracer("client")
    incoming = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "tracestate": "vendor=kept"}
    above = baggage.set_baggage("project", "bridge", propagate.extract(incoming))
    token = context.attach(above)
    try:
        with tracer.start_as_current_span("client") as span, suite.client() as client:
            load(client, folder)
            agent = client.agents.create()
            agent.attach("birds")
            client.agents.register_tools(agent.agent_id, tool.address)
            assert agent.send("What about the heron?").reply() == "Take an umbrella."
            return trace.format_span_id(span.get_span_context().span_id)
    finally:
        context.detach(token)


class Trace:
    """The spans of one trace."""

    def __init__(self, spans: Sequence[CollectedSpan], root: str) -> None:
        self.spans, self.root = spans, root
        self._by_id = {span.span_id: span for span in spans}

    def named(self, name: str, service: str = "", kind: str = "") -> list[CollectedSpan]:
        return [s for s in self.spans if s.name == name and service in ("", s.service) and kind in ("", s.kind)]

    def above(self, span: CollectedSpan) -> list[tuple[str, str, str]]:
        """Return service, kind and name of the spans above one, nearest first, up to the client."""
        found = []
        while span.parent_id != self.root:
            span = self._by_id[span.parent_id]
            found.append((span.service, span.kind, span.name))
        return found


def traced(collector: OtlpCollector, root: str) -> Trace:
    spans = collector.wait_for(
        lambda spans: (
            {"invoke_agent", "load_file"} <= {span.name for span in spans}
            and sum(span.name.endswith("/SendMessage") for span in spans) == 1
            and {span.parent_id for span in spans if span.trace_id == "ab" * 16}
            <= {root, *(span.span_id for span in spans)}
        )
    )
    return Trace([span for span in spans if span.trace_id == "ab" * 16], root)


SEND = "memgpt.agent.v1.AgentService/SendMessage"
SEARCH = "memgpt.memory.v1.ArchivalMemoryService/SearchPassages"
UPLOAD = "memgpt.loader.v1.LoaderService/UploadFile"
STORE = "memgpt.memory.v1.SourceService/UpsertPassages"
TOOL = "memgpt.tool.v1.ToolService/CallTool"


@dataclass
class Run:
    """A load and a turn of the suite as they were traced, with what the other side received."""

    trace: Trace
    llm: ScriptedLLM
    tool: ScriptedTool
    exported: bytes
    log: str
    metrics: list[str]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("traces")
    with OtlpCollector() as collector, ScriptedLLM(SCRIPT) as llm, ScriptedTool(TOOLS) as tool:
        port = str(free_port())
        with Suite(folder / "home", **settings(collector, llm, MEMGPT_AGENT_METRICS_PORT=port)) as suite:
            found = traced(collector, turn_of_the_client(suite, tool, folder))
            log = suite.agent.log.read_text()
            metrics = open_metrics(port)
        yield Run(found, llm, tool, b"".join(collector.raw), log, metrics)


def open_metrics(port: str) -> list[str]:
    """Return the metrics as Prometheus gets them when it asks for exemplars."""
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=accept)) as response:
        lines: list[str] = response.read().decode().splitlines()
    return lines


IN_TURN = [(AGENT, "INTERNAL", "invoke_agent"), (AGENT, "SERVER", SEND)]


def test_a_turn_is_under_the_client(ran: Run) -> None:
    (invoked,) = ran.trace.named("invoke_agent", AGENT)
    assert ran.trace.above(invoked) == IN_TURN[1:]
    assert invoked.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert invoked.attributes["memgpt.turn.state"] == "completed"
    assert (invoked.attributes["gen_ai.usage.input_tokens"], invoked.attributes["gen_ai.usage.output_tokens"]) == (
        300, 30
    )  # fmt: skip
    assert invoked.trace_state == "vendor=kept"


def test_every_call_of_the_model_is_under_the_turn(ran: Run) -> None:
    chats = ran.trace.named("chat scripted", AGENT, "CLIENT")
    assert [ran.trace.above(chat) for chat in chats] == [IN_TURN] * 3
    for chat in chats:
        assert chat.attributes["gen_ai.operation.name"] == "chat"
        assert chat.attributes["gen_ai.provider.name"] == "openai"
        assert chat.attributes["gen_ai.request.model"] == "scripted"
        assert chat.attributes["gen_ai.usage.input_tokens"] == 100
        assert chat.attributes["gen_ai.usage.output_tokens"] == 10


def test_a_search_reaches_embeddings_and_milvus(ran: Run) -> None:
    found = ran.trace
    (searched,) = found.named("execute_tool archival_memory_search", AGENT)
    assert found.above(searched) == IN_TURN
    (query,) = found.named(SEARCH, MEMORY, "SERVER")
    in_search = [
        (MEMORY, "SERVER", SEARCH), (AGENT, "CLIENT", SEARCH), (AGENT, "INTERNAL", searched.name), *IN_TURN
    ]  # fmt: skip
    assert found.above(query) == in_search[1:]
    embedded = [span for span in found.named("embeddings vectors", MEMORY) if found.above(span) == in_search]
    assert [span.attributes["gen_ai.operation.name"] for span in embedded] == ["embeddings"]
    asked = [span for span in found.named("milvus search", MEMORY) if found.above(span) == in_search]
    assert {(span.attributes["db.system.name"], span.kind) for span in asked} == {("milvus", "CLIENT")}


def test_a_call_reaches_the_tool_server(ran: Run) -> None:
    (called,) = ran.trace.named("execute_tool forecast", AGENT)
    assert called.attributes["gen_ai.tool.name"] == "forecast"
    (rpc,) = ran.trace.named(TOOL, AGENT, "CLIENT")
    assert ran.trace.above(rpc) == [(AGENT, "INTERNAL", "execute_tool forecast"), *IN_TURN]
    assert rpc.attributes["rpc.system.name"] == "grpc"
    assert rpc.attributes["rpc.response.status_code"] == "OK"
    assert rpc.attributes["rpc.service"] == "memgpt.tool.v1.ToolService"
    assert rpc.attributes["rpc.grpc.status_code"] == 0


@pytest.mark.parametrize(
    "histogram",
    [
        'grpc_server_handling_seconds_bucket{grpc_method="SendMessage"',
        "memgpt_agent_model_seconds_bucket",
        "memgpt_agent_turn_seconds_bucket",
        'memgpt_agent_function_seconds_bucket{function="archival_memory_search"',
    ],
)
def test_histograms_lead_to_the_trace(ran: Run, histogram: str) -> None:
    trace_id = f'trace_id="{"ab" * 16}"'
    assert [line for line in ran.metrics if line.startswith(histogram) and trace_id in line]


def test_a_file_is_parsed_and_stored_under_its_upload(ran: Run) -> None:
    found = ran.trace
    (loaded,) = found.named("load_file", LOADER)
    assert found.above(loaded) == [(LOADER, "SERVER", UPLOAD)]
    assert loaded.attributes["memgpt.file.state"] == "loaded"
    (parsed,) = found.named("parse_file", LOADER)
    assert found.above(parsed)[0] == (LOADER, "INTERNAL", "load_file")
    (stored,) = found.named(STORE, MEMORY, "SERVER")
    assert found.above(stored) == [
        (LOADER, "CLIENT", STORE), (LOADER, "INTERNAL", "load_file"), (LOADER, "SERVER", UPLOAD)
    ]  # fmt: skip
    written = [found.above(span)[0] for span in found.named("milvus upsert", MEMORY)]
    assert (MEMORY, "SERVER", STORE) in written


def test_failed_spans_are_named_by_their_code(ran: Run) -> None:
    """A client whose lookup finds nothing has failed, in the words of the conventions."""
    failed = {(span.name, span.attributes["error.type"]) for span in ran.trace.spans if span.failed}
    # When a turn ends, the Agent closes the stream on which it was granted, unless Memory was first.
    failed -= {("memgpt.memory.v1.AgentStateService/BeginTurn", "CANCELLED")}
    assert {code for _, code in failed} <= {"NOT_FOUND"}


def test_no_contents_are_exported(ran: Run) -> None:
    assert not [word for word in SECRETS if word.encode() in ran.exported.lower()]


def test_endpoints_get_trace_and_request_id_and_no_baggage(ran: Run) -> None:
    llm = ran.llm
    sent = [request.headers for request in (*llm.requests, *llm.embedding_requests[-1:])] + [ran.tool.metadata[-1]]
    for headers in sent:
        assert headers["traceparent"].split("-")[1] == "ab" * 16
        assert headers["tracestate"] == "vendor=kept"
        assert "baggage" not in headers
        assert "x-memgpt-principal" not in headers
    (turn,) = ran.trace.named(SEND, AGENT)
    assert {headers["x-request-id"] for headers in (*sent[:3], sent[-1])} == {turn.attributes["memgpt.request_id"]}
    chats = ran.trace.named("chat scripted", AGENT, "CLIENT")
    assert [headers["traceparent"].split("-")[2] for headers in sent[:3]] == [chat.span_id for chat in chats]


def test_the_log_has_the_ids_of_trace_and_span(ran: Run) -> None:
    lines = [json.loads(line) for line in ran.log.splitlines() if line.startswith("{")]
    (line,) = (line for line in lines if line["event"] == "rpc" and line.get("method") == f"/{SEND}")
    assert line["trace_id"] == "ab" * 16
    assert line["span_id"] == ran.trace.named(SEND, AGENT)[0].span_id


def test_contents_are_recorded_if_enabled_and_standard_variables_count(
    tmp_path: Path, collector: OtlpCollector, llm: ScriptedLLM, tool: ScriptedTool
) -> None:
    more = {
        "MEMGPT_SERVER_TRACES_CONTENTS": "true",
        "MEMGPT_SERVER_TRACES_ENDPOINT": "",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    with Suite(tmp_path / "home", **settings(collector, llm, **more)) as suite:
        found = traced(collector, turn_of_the_client(suite, tool, tmp_path))

    first, *_, last = found.named("chat scripted", AGENT)
    assert "What about the heron?" in first.attributes["gen_ai.input.messages"]
    assert "Take an umbrella." in last.attributes["gen_ai.output.messages"]
    (called,) = found.named("execute_tool forecast")
    assert called.attributes["gen_ai.tool.call.result"] == "weather: rain"
    assert found.named("load_file")[0].attributes["memgpt.file.name"] == "bird.txt"
    assert b"deployment.environment.name" in b"".join(collector.raw)


def test_a_collector_that_is_away_delays_neither_calls_nor_the_end(tmp_path: Path, llm: ScriptedLLM) -> None:
    with OtlpCollector() as collector:
        away = settings(collector, llm)
    with Suite(tmp_path / "home", **away) as suite, suite.client(turn_seconds=30) as client:
        client.agents.create()
        suite.agent.terminate(timeout=10)
