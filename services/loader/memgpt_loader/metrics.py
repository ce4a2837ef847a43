"""The Loader's own Prometheus metrics, beside ``grpc_server_*``."""

from __future__ import annotations

from memgpt_runtime.metrics import ServerMetrics
from prometheus_client import Gauge

from memgpt_loader.loads.stats import LoadStats
from memgpt_loader.model import FileState
from memgpt_loader.parsing.pool import ParserPool


def export_metrics(metrics: ServerMetrics, stats: LoadStats, pool: ParserPool) -> None:
    """Export the counters of the loads and the parser pool."""

    def files() -> dict[str, float]:
        return {state.lower(): stats.files_ended[state] for state in FileState if state.ended}

    metrics.counter("memgpt_loader_files", "Files that ended here, by state.", files, label="state")
    metrics.counter("memgpt_loader_passages", "Passages stored.", lambda: {"": stats.passages_stored})
    waiting = Gauge("memgpt_loader_files_waiting", "Uploaded files that wait for a parser.", registry=metrics.registry)
    waiting.set_function(lambda: float(pool.waiting))
