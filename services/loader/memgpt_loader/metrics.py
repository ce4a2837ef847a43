"""The Loader's own Prometheus metrics, beside ``grpc_server_*``."""

from __future__ import annotations

from memgpt_runtime.metrics import ServerMetrics
from prometheus_client import Gauge, Histogram

from memgpt_loader.loads.stats import LoadStats
from memgpt_loader.model import FileState
from memgpt_loader.parsing.pool import ParserPool

_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
"""Seconds: from a note to a book."""


def export_metrics(metrics: ServerMetrics, stats: LoadStats, pool: ParserPool) -> None:
    """Export the counters and times of the loads and the parser pool."""

    def files() -> dict[str, float]:
        return {state.lower(): stats.files_ended[state] for state in FileState if state.ended}

    metrics.counter("memgpt_loader_files", "Files that ended here, by state.", files, label="state")
    metrics.counter("memgpt_loader_passages", "Passages stored.", lambda: {"": stats.passages_stored})
    file_seconds = Histogram(
        "memgpt_loader_file_seconds",
        "Time of files from their upload to their end, by state.",
        ("state",),
        buckets=_BUCKETS,
        registry=metrics.registry,
    )
    parse_seconds = Histogram(
        "memgpt_loader_parse_seconds",
        "Time of parsing a file, without the time in which its passages are stored.",
        ("outcome",),
        buckets=_BUCKETS,
        registry=metrics.registry,
    )
    times = {state: file_seconds.labels(state.lower()) for state in FileState if state.ended}
    outcomes = {parsed: parse_seconds.labels("parsed" if parsed else "failed") for parsed in (True, False)}
    stats.observe_file = lambda state, seconds: times[state].observe(seconds)
    pool.observe = lambda seconds, parsed: outcomes[parsed].observe(seconds)
    waiting = Gauge("memgpt_loader_files_waiting", "Uploaded files that wait for a parser.", registry=metrics.registry)
    waiting.set_function(lambda: float(pool.waiting))
