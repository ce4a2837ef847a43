"""Checks that the dependencies of the services are reachable, before the services start."""

from __future__ import annotations

import os
import socket
import tomllib
from typing import Any
from urllib.parse import urlsplit

from memgpt.cli.errors import CliError
from memgpt.cli.setup.checks import check_uri
from memgpt.config import config_path

_CONNECT_SECONDS = 3.0
_MILVUS_PORT = 19530
_PORTS = {"http": 80, "https": 443}


def setting(section: str, key: str, default: str = "") -> str:
    """Return a service's setting from the environment or the file.

    The service itself validates the setting and reports an unreadable file.
    """
    found = os.environ.get(f"MEMGPT_{section}_{key}".upper())
    if found is not None:
        return found
    try:
        document: dict[str, Any] = tomllib.loads(config_path().read_text(encoding="utf-8"))
        return str(document.get(section, {}).get(key, default))
    except (OSError, ValueError, AttributeError):
        return default


def unreachable(url: str, default_port: int | None = None) -> str:
    """Return why the host and port of a URL cannot be reached; empty if they can, or the URL has none."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port or default_port or _PORTS.get(parts.scheme)
    except ValueError:
        return ""
    if not host or not port:
        return ""
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_SECONDS):
            return ""
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return (error.strerror or str(error)).lower()


def require_milvus() -> None:
    """Check that the Milvus server is reachable, if the store is on one.

    Raises:
        CliError: The URI is invalid, or the server is not reachable; the message has the remedy.
    """
    uri = setting("memory", "uri")
    if "://" not in uri:
        return
    check_uri(uri)
    problem = unreachable(uri, _MILVUS_PORT)
    if problem:
        raise CliError(
            f"Milvus cannot be reached at {_safe(uri)} ({problem}); start it, or choose another store with"
            " `memgpt configure`"
        )


def model_warning() -> str:
    """Return a warning about a model endpoint that does not respond; empty if it does, or none is configured."""
    url = setting("agent", "base_url")
    if not url or setting("agent", "model") == "offline":
        return ""
    problem = unreachable(url)
    if not problem:
        return ""
    return (
        f"the model cannot be reached at {_safe(url)} ({problem}); start its server, or choose another model with"
        " `memgpt configure`"
    )


def _safe(url: str) -> str:
    """Return the URL without user name and password."""
    parts = urlsplit(url.strip())
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
