"""Prometheus metrics of a server, under the names that gRPC dashboards know."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # the creation time of each series, which is not used

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 1800, 3600)
"""Seconds: from a cached read to a stream at the default deadline, such as that of a load."""


class ServerMetrics:
    """The ``grpc_server_*`` metrics and those of the process, in a registry to which services may add their own."""

    def __init__(self, registry: CollectorRegistry | None = None, *, service: str = "") -> None:
        """Register the metrics; with the name of a service, also its version and the figures of the process."""
        self.registry = registry or CollectorRegistry()
        if service:
            ProcessCollector(registry=self.registry)
            build = Gauge(
                "memgpt_build_info", "Version of the service.", ("service", "version", "python"), registry=self.registry
            )
            build.labels(service, version("memgpt-milvus-runtime"), platform.python_version()).set(1)
        labels = ("grpc_type", "grpc_service", "grpc_method")
        self._started = Counter("grpc_server_started", "RPCs started.", labels, registry=self.registry)
        self._handled = Counter(
            "grpc_server_handled", "RPCs completed, by status code.", (*labels, "grpc_code"), registry=self.registry
        )
        self._seconds = Histogram(
            "grpc_server_handling_seconds",
            "Time until an RPC was completed.",
            labels,
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._methods: dict[tuple[str, ...], tuple[Counter, Histogram]] = {}
        self.ready = Gauge("memgpt_ready", "1 while the server is ready to serve, else 0.", registry=self.registry)

    def counter(self, name: str, text: str, read: Callable[[], Mapping[str, float]], *, label: str = "") -> None:
        """Add a counter that a service keeps as plain numbers, which are read when the metrics are collected.

        Args:
            name: Its name, without ``_total``.
            text: Its description.
            read: Returns the count for each value of the label, of which there must be few; called in another thread.
            label: Name of the label; without one, `read` returns the count under the empty text.
        """
        self.registry.register(_CallbackCounter(name, text, read, label))

    def started(self, kind: str, service: str, method: str) -> None:
        """Count an RPC that has begun."""
        self._of(kind, service, method)[0].inc()

    def handled(
        self,
        kind: str,
        service: str,
        method: str,
        code: str,
        seconds: float,
        exemplar: dict[str, str] | None = None,
    ) -> None:
        """Count an RPC that has ended with a status such as ``OK`` or ``NOT_FOUND``; `exemplar` names its trace."""
        self._handled.labels(kind, service, method, code).inc()
        self._of(kind, service, method)[1].observe(seconds, exemplar)

    def _of(self, *method: str) -> tuple[Counter, Histogram]:
        # Looking a metric up by its labels takes longer than counting; a server has few methods.
        known = self._methods.get(method)
        if known is None:
            known = self._methods[method] = (self._started.labels(*method), self._seconds.labels(*method))
        return known


class _CallbackCounter(Collector):
    """A counter that reads its numbers from elsewhere."""

    def __init__(self, name: str, text: str, read: Callable[[], Mapping[str, float]], label: str) -> None:
        self._name = name
        self._text = text
        self._read = read
        self._labels = [label] if label else []

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return the current numbers."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for value, number in self._read().items():
            family.add_metric([value] if self._labels else [], number)
        yield family
