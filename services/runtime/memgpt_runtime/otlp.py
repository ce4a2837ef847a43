"""Traces by OpenTelemetry's protocol (OTLP over gRPC), as the settings and the standard ``OTEL_*`` variables say.

OpenTelemetry is imported only if traces are on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from memgpt.config import ConfigError, ServerSettings

from memgpt_runtime import tracing

_FLUSH_SECONDS = 3.0
"""How long a server that stops waits for its collector."""


def start_traces(
    name: str, settings: ServerSettings, environ: Mapping[str, str] | None = None
) -> Callable[[], None] | None:
    """Record spans from now on.

    Args:
        name: The service, such as ``agent``.
        settings: The settings of every server.
        environ: Environment variables; by default the process's own.

    Returns:
        A function that sends what is left and stops; None if traces are off.

    Raises:
        ConfigError: OpenTelemetry is not installed, or the environment demands another protocol.
    """
    env = os.environ if environ is None else environ
    if settings.traces == "off" or _switched_off(env):
        return None
    protocol = env.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or env.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "grpc"
    if protocol != "grpc":
        raise ConfigError(f"environment: OTEL_EXPORTER_OTLP_PROTOCOL: {protocol} is not supported; set it to grpc")
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            f'server.traces needs OpenTelemetry; install memgpt-milvus-{name}[otel], or set server.traces to "off"'
        ) from error
    attributes = {"service.name": f"memgpt-{name}", "service.version": version("memgpt-milvus-runtime")}
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
    resource = Resource.create(attributes).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    # http_proxy in the environment is meant for the Internet, where no collector is called in plaintext.
    channel_options: Any = (("grpc.enable_http_proxy", 0),) if _in_plaintext(settings, env) else None
    exporter = OTLPSpanExporter(endpoint=settings.traces_endpoint or None, channel_options=channel_options)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("memgpt", attributes["service.version"])
    tracing.enable(tracing.Recorder(tracer, contents=settings.traces_contents))

    def stop() -> None:
        tracing.enable(None)
        # The flush of the batch processor ignores its limit: it repeats an export until the exporter is shut down.
        flush = threading.Thread(target=provider.force_flush, name="traces-flush", daemon=True)
        flush.start()
        flush.join(_FLUSH_SECONDS)
        if flush.is_alive():
            exporter.shutdown()
        provider.shutdown()

    return stop


def _switched_off(env: Mapping[str, str]) -> bool:
    return env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER") == "none"


def _in_plaintext(settings: ServerSettings, env: Mapping[str, str]) -> bool:
    """Return whether the exporter calls the collector without TLS, which it also decides by its variables."""
    endpoint = settings.traces_endpoint or _first(env, "ENDPOINT") or "http://localhost:4317"
    scheme, insecure = urlsplit(endpoint).scheme, _first(env, "INSECURE")
    return scheme != "https" and (insecure.lower() == "true" if insecure else scheme == "http")


def _first(env: Mapping[str, str], name: str) -> str:
    return env.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or env.get(f"OTEL_EXPORTER_OTLP_{name}") or ""
