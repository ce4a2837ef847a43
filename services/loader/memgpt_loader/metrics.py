"""What the Loader tells Prometheus of itself, beside ``grpc_server_*``."""

from __future__ import annotations

from memgpt_runtime.metrics import ServerMetrics
from prometheus_client import Gauge

from memgpt_loader.loads.registry import Loads
from memgpt_loader.model import FileState
from memgpt_loader.parsing.pool import ParserPool


def watch_loader(metrics: ServerMetrics, loads: Loads, pool: ParserPool) -> None:
    """Lets what the loads and the parsers count be read."""

    def files() -> dict[str, float]:
        return {state.lower(): loads.files_ended[state] for state in FileState if state.ended}

    metrics.counter("memgpt_loader_files", "Files that ended here, by how.", files, label="state")
    metrics.counter("memgpt_loader_passages", "Passages that were stored.", lambda: {"": loads.passages_stored})
    waiting = Gauge(
        "memgpt_loader_files_waiting", "Files that are here and wait for a parser.", registry=metrics.registry
    )
    waiting.set_function(lambda: float(pool.waiting))
