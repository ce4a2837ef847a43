"""Metrics of Memory, in addition to ``grpc_server_*``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from memgpt_runtime.metrics import ServerMetrics
from prometheus_client import Gauge, Histogram

from memgpt_memory.core import Core
from memgpt_memory.ranking import SearchMode
from memgpt_memory.recall import RecallMode
from memgpt_memory.store import Operation, Store

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Seconds: from a read by key to a call that runs into its timeout."""

_ROWS = ("records", "messages", "passages", "recall")
"""Kinds of collections: the second word of their names."""


def milvus_seconds(metrics: ServerMetrics) -> Callable[[Operation, float], None]:
    """Return a function that records the duration of a call of Milvus."""
    histogram = Histogram(
        "memgpt_memory_milvus_seconds",
        "Time of calls of Milvus, without the wait for Milvus Lite's locks.",
        ("operation",),
        buckets=_BUCKETS,
        registry=metrics.registry,
    )
    times = {operation: histogram.labels(operation.value) for operation in Operation}
    return lambda operation, seconds: times[operation].observe(seconds)


def search_seconds(metrics: ServerMetrics) -> Callable[[str, str, float], None]:
    """Return a function that records the duration of a search of a memory in a mode."""
    histogram = Histogram(
        "memgpt_memory_search_seconds",
        "Time of searches, without the wait for a slot, by memory and mode.",
        ("memory", "mode"),
        buckets=_BUCKETS,
        registry=metrics.registry,
    )
    for mode in SearchMode:
        histogram.labels("archival", mode.value)
    for recall_mode in RecallMode:
        histogram.labels("recall", recall_mode.value)
    return lambda memory, mode, seconds: histogram.labels(memory, mode).observe(seconds)


def embedding_seconds(metrics: ServerMetrics) -> Callable[[str, float], None]:
    """Return a function that records the duration of a call of the embedding model."""
    histogram = Histogram(
        "memgpt_memory_embedding_seconds",
        "Time of calls of the embedding model, by the kind of their texts.",
        ("kind",),
        buckets=_BUCKETS,
        registry=metrics.registry,
    )
    times = {kind: histogram.labels(kind) for kind in ("query", "passage")}
    return lambda kind, seconds: times[kind].observe(seconds)


def watch_memory(metrics: ServerMetrics, store: Store, core: Callable[[], Core | None]) -> None:
    """Register the metrics of the store and of the rankings; `core` returns None until the store is open."""

    def rows_written() -> dict[str, float]:
        written = Counter(dict.fromkeys(_ROWS, 0))
        for collection, rows in list(store.rows_written.items()):
            written[collection.split("_")[1]] += rows
        return dict(written)

    def rankings() -> dict[str, float]:
        opened = core()
        kinds = (opened.archive.rankings, opened.recall.rankings) if opened else ()
        return {"hit": sum(each.hits for each in kinds), "miss": sum(each.misses for each in kinds)}

    metrics.counter("memgpt_memory_rows_written", "Rows written to Milvus.", rows_written, label="collection")
    metrics.counter("memgpt_memory_rankings", "Rankings that pages of searches were cut from.", rankings, label="cache")
    waiting = Gauge("memgpt_memory_rows_waiting", "Rows that wait to be written.", registry=metrics.registry)
    waiting.set_function(lambda: float(store.rows_waiting))
