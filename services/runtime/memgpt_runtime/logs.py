"""Logging by structlog; lines of the standard library's loggers (grpc, pymilvus, openai, httpx) look the same.

Lines go to standard error, each with time, level, service and, within a call, request id, trace id, span id and method.
Secrets are redacted last, in keys, messages and tracebacks alike.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import TextIO

import stamina.instrumentation
import structlog
import structlog.typing
from structlog.types import EventDict, Processor, WrappedLogger

from memgpt_runtime import context, tracing

REDACTED = "[redacted]"

# `page_token` and counts such as `prompt_tokens` are not secrets.
_SECRET_KEY = re.compile(
    r"(?:.*[_-])?(?:authorization|cookie|password|passwd|secret|credentials?|(?:api|private|access)[_-]?key)"
    r"|(?:(?!page|next_page).*[_-])?token",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"\b(?:sk|pk|rk|hf|ghp|gho|xox[abp])[-_][A-Za-z0-9_-]{12,}"  # keys of model providers and forges
    r"|\bmgpt_[A-Za-z0-9_-]{12,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # JSON web tokens
    r"|(?<=bearer )[^\s\"',]{6,}"
    r"|(?<=basic )[A-Za-z0-9+/=]{8,}"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"  # user:password in a URI
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.IGNORECASE | re.DOTALL,
)

_SIGNS = ("k-", "k_", "f-", "f_", "ghp", "gho", "xox", "mgpt_", "eyj", "bearer ", "basic ", "://", "-----begin")
"""Every secret value contains one of these, in lower case."""


def redact(value: object) -> object:
    """Redact everything that looks like a secret, in text, mappings and sequences, at any depth."""
    if isinstance(value, str):
        return _SECRET_VALUE.sub(REDACTED, value)
    if isinstance(value, Mapping):
        return {
            key: REDACTED if isinstance(key, str) and inner and _is_secret(key) else redact(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value))


@lru_cache(1_024)
def _is_secret(key: str) -> bool:
    return _SECRET_KEY.fullmatch(key) is not None


def _redact(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    # Nearly every line has only short texts and numbers without a secret, so they are checked all at once.
    texts = "\n".join([value for value in event.values() if isinstance(value, str)]).lower()
    clean = not any(sign in texts for sign in _SIGNS)
    for key, value in event.items():
        if key in ("_record", "_from_structlog"):
            continue
        if value and _is_secret(key):
            event[key] = REDACTED
        elif not (clean and isinstance(value, str)):
            event[key] = redact(value)
    return event


def _add_request(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    request = context.current()
    if request is not None:
        event.setdefault("method", request.method)
        event.setdefault("request_id", request.request_id)
        trace_id, span_id, _ = tracing.ids() or (request.trace_id, request.span_id, "")
        event.setdefault("trace_id", trace_id)
        event.setdefault("span_id", span_id)
    return event


def configure(service: str, *, level: str = "info", fmt: str = "console", stream: TextIO | None = None) -> None:
    """Configure logging for this process; a second call replaces the first.

    Args:
        service: Name on every line.
        level: The lowest level to log: ``debug``, ``info``, ``warning`` or ``error``.
        fmt: ``json`` for one object per line, ``console`` for people (colored on a terminal).
        stream: The output; by default standard error.
    """
    out = stream or sys.stderr

    def add_service(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_service,
        _add_request,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [
        # Tracebacks become text before the redaction, so that no secret is left in one.
        structlog.processors.format_exc_info,
        _redact,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if fmt == "json"
        else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[*last, structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    adopt_loggers()
    stamina.instrumentation.set_on_retry_hooks([_log_retry])
    # Not through the standard library, which takes twice as long: every call writes a line.
    structlog.configure(
        processors=[*shared, structlog.processors.StackInfoRenderer(), *last, renderer],
        logger_factory=structlog.WriteLoggerFactory(file=out),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )


def _log_retry(details: stamina.instrumentation.RetryDetails) -> None:
    get_logger(__name__).warning(
        "retry_scheduled",
        attempt=details.retry_num,
        wait_seconds=round(details.wait_for, 2),
        error=type(details.caused_by).__name__,
        reason=getattr(details.caused_by, "reason", None),
    )


def adopt_loggers() -> None:
    """Route the loggers of libraries through ours, including those that have their own handlers.

    Some libraries add handlers when they are imported; a server calls this again after all imports.
    """
    root = logging.getLogger()
    least = logging.INFO if root.level <= logging.DEBUG else max(logging.WARNING, root.level)
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
    for name in _CHATTY:
        logging.getLogger(name).setLevel(least)


_CHATTY = ("asyncio", "grpc", "httpcore", "httpx", "milvus_lite", "openai", "pymilvus", "pypdf")
"""Libraries whose lines below WARNING only help in debugging."""


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return a logger: ``log.info("event_name", key=value)``. Values are redacted; the event is constant."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
    return logger
