"""Spans: off by default and free of OpenTelemetry then; settings that cannot be used are errors."""

from __future__ import annotations

import subprocess
import sys
import time
from contextvars import copy_context

import pytest
from memgpt.config import ConfigError, ServerSettings
from memgpt_runtime import context, otlp, tracing
from memgpt_runtime.otlp import start_traces

from tests.support.otlp_collector import OtlpCollector
from tests.support.ports import free_port

ON = ServerSettings(traces="otlp", traces_endpoint="http://127.0.0.1:1")


def test_nothing_is_imported_while_traces_are_off() -> None:
    code = (
        "import sys, memgpt_runtime.server, memgpt_agent.__main__, memgpt_memory.__main__, memgpt_loader.__main__\n"
        "from memgpt.config import ServerSettings\n"
        "from memgpt_runtime.otlp import start_traces\n"
        "assert start_traces('agent', ServerSettings()) is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_spans_do_nothing_while_traces_are_off() -> None:
    with tracing.span("x", {"y": 1}) as span:
        span.set_contents(lambda: pytest.fail("contents were read"))
    assert span is tracing.NO_SPAN
    assert tracing.client_span("x") is tracing.NO_SPAN
    assert tracing.ids() is None


@pytest.mark.parametrize(
    "variables",
    [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}],
)
def test_standard_variables_switch_traces_off(variables: dict[str, str]) -> None:
    assert start_traces("agent", ON, variables) is None


def test_another_protocol_is_an_error() -> None:
    with pytest.raises(ConfigError, match="http/protobuf is not supported; set it to grpc"):
        start_traces("agent", ON, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})


def test_missing_packages_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"install memgpt-milvus-agent\[otel\]"):
        start_traces("agent", ON, {})


def test_stopping_does_not_wait_long_for_a_collector_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "_FLUSH_SECONDS", 0.1)
    stop = start_traces("agent", ON, {})
    assert stop is not None
    with tracing.span("x", {}):
        pass
    began = time.monotonic()
    stop()
    assert time.monotonic() - began < 5  # the exporter would try for 10 s


def test_the_environments_proxy_is_not_for_a_collector_in_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with OtlpCollector() as collector:
        stop = start_traces("agent", ServerSettings(traces="otlp", traces_endpoint=collector.endpoint), {})
        assert stop is not None
        with tracing.span("x", {}):
            pass
        stop()
        assert collector.raw


def test_only_services_of_the_suite_get_principal_and_baggage() -> None:
    def call() -> None:
        context.set_current(context.make_request("/x/y", {"baggage": "project=x"}))
        assert {"baggage", "x-memgpt-principal"} <= tracing.outgoing_metadata(internal=True).keys()
        assert tracing.outgoing_metadata(internal=False).keys() == {"x-request-id", "traceparent"}

    copy_context().run(call)
