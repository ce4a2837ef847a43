"""The audit log of a server."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from memgpt.config import ConfigError, ServerSettings

from memgpt_runtime.audit._line import AuditLine
from memgpt_runtime.audit._sinks import FileSink, Sink, StreamSink
from memgpt_runtime.logs import get_logger
from memgpt_runtime.metrics import ServerMetrics

_log = get_logger(__name__)


class AuditLog:
    """Writes lines, and counts them.

    A line that cannot be written goes to the server's own log instead, and is counted; the call goes on, because it may
    have taken effect already.
    """

    def __init__(self, service: str, sink: Sink, metrics: ServerMetrics) -> None:
        """Write to `sink` on behalf of a service."""
        self.service = service
        self._sink = sink
        self._written: Counter[str] = Counter({"change": 0, "refusal": 0})
        self._failed = 0
        metrics.counter("memgpt_audit_lines", "Lines of the audit log.", lambda: dict(self._written), label="event")
        metrics.counter(
            "memgpt_audit_lines_failed",
            "Lines that could not be written to the audit log; the server's log has them.",
            lambda: {"": float(self._failed)},
        )

    def write(self, line: AuditLine) -> None:
        """Write a line; a failure is logged and counted."""
        data = line.encode()
        try:
            self._sink.write(data)
        except OSError as error:
            self._failed += 1
            _log.error("audit_write_failed", error=error.strerror or str(error), line=data.decode().rstrip())
        else:
            self._written[line.event] += 1

    def close(self) -> None:
        """Close the sink."""
        self._sink.close()


def open_audit_log(service: str, settings: ServerSettings, home: Path, metrics: ServerMetrics) -> AuditLog | None:
    """Open the audit log that the settings describe; None if it is off.

    Raises:
        ConfigError: The file cannot be opened.
    """
    if settings.audit == "off":
        return None
    if settings.audit == "stdout":
        return AuditLog(service, StreamSink(sys.stdout.fileno()), metrics)
    path = (settings.audit_folder or home / "audit").expanduser() / f"{service}.jsonl"
    try:
        sink = FileSink(path, max_bytes=settings.audit_max_bytes, keep=settings.audit_keep)
    except OSError as error:
        raise ConfigError(
            f"cannot open the audit log {path}: {(error.strerror or str(error)).lower()}; set server.audit_folder to a "
            "folder that this service can write to, or server.audit to stdout or off"
        ) from error
    return AuditLog(service, sink, metrics)
