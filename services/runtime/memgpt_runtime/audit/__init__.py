"""The audit log: one JSON line for every change and every refusal, in a sink of its own.

A line says who called what on which resources, and with what outcome; it never holds contents or secrets. The fields
are those of `AuditLine`, and ``docs/guides/quotas-and-audit.md`` describes them for readers of the log.
"""

from __future__ import annotations

from memgpt_runtime.audit._line import AuditLine, Event
from memgpt_runtime.audit._log import AuditLog, open_audit_log
from memgpt_runtime.audit._methods import is_change
from memgpt_runtime.audit._resources import IdCollector
from memgpt_runtime.audit._sinks import FileSink, Sink, StreamSink

__all__ = [
    "AuditLine",
    "AuditLog",
    "Event",
    "FileSink",
    "IdCollector",
    "Sink",
    "StreamSink",
    "is_change",
    "open_audit_log",
]
