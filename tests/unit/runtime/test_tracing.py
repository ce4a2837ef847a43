"""Spans: off by default and free of OpenTelemetry then; settings that cannot be used are errors."""

from __future__ import annotations

import subprocess
import sys
import time
from contextvars import copy_context
from functools import partial
from typing import Any

import grpc
import pytest
from memgpt.config import ConfigError, ServerSettings
from memgpt_runtime import context, otlp, tracing
from memgpt_runtime.otlp import start_traces
from opentelemetry.exporter.otlp.proto.grpc import exporter
from opentelemetry.sdk import trace

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


@pytest.mark.parametrize(
    ("endpoint", "variables", "proxied"),
    [
        ("", {}, False),
        ("http://collector:4317", {}, False),
        ("collector:4317", {"OTEL_EXPORTER_OTLP_INSECURE": "true"}, False),
        ("", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317"}, False),
        ("collector.example.com:4317", {}, True),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector.example.com:4317"}, True),
        ("https://collector.example.com", {"OTEL_EXPORTER_OTLP_INSECURE": "true"}, True),
        ("http://collector.example.com:4317", {"OTEL_EXPORTER_OTLP_TRACES_INSECURE": "false"}, True),
    ],
)
def test_the_environments_proxy_is_for_a_collector_over_tls(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, variables: dict[str, str], proxied: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    given: dict[str, Any] = {}
    for kind in ("insecure_channel", "secure_channel"):
        monkeypatch.setattr(exporter, kind, partial(_channel, given, kind))
    stop = start_traces("agent", ServerSettings(traces="otlp", traces_endpoint=endpoint), variables)
    assert stop is not None
    stop()
    ((kind, options),) = given.items()
    assert kind == ("secure_channel" if proxied else "insecure_channel")
    assert (("grpc.enable_http_proxy", 0) in options) is not proxied


def _channel(given: dict[str, Any], kind: str, target: str, *args: Any, **more: Any) -> grpc.Channel:
    given[kind] = more["options"]
    return grpc.insecure_channel(target)


@pytest.mark.parametrize(
    ("variables", "name", "version"),
    [
        ({}, "memgpt-agent", None),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.version=2026-a"}, "memgpt-agent", "2026-a"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "mesh.service.name=x"}, "memgpt-agent", None),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=x"}, "x", None),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=x", "OTEL_SERVICE_NAME": "y"}, "y", None),
    ],
)
def test_attributes_of_the_environment_take_precedence(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str, version: str | None
) -> None:
    monkeypatch.setattr(otlp, "_FLUSH_SECONDS", 0.1)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    resources = []
    provider = trace.TracerProvider

    def provide(*, resource: Any, **more: Any) -> Any:
        resources.append(resource)
        return provider(resource=resource, **more)

    monkeypatch.setattr(trace, "TracerProvider", provide)
    stop = start_traces("agent", ON, variables)
    assert stop is not None
    stop()
    assert resources[0].attributes["service.name"] == name
    assert version in (None, resources[0].attributes["service.version"])


def test_only_services_of_the_suite_get_principal_and_baggage() -> None:
    def call() -> None:
        context.set_current(context.make_request("/x/y", {"baggage": "project=x"}))
        assert {"baggage", "x-memgpt-principal"} <= tracing.outgoing_metadata(internal=True).keys()
        assert tracing.outgoing_metadata(internal=False).keys() == {"x-request-id", "traceparent"}

    copy_context().run(call)
