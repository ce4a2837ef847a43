"""Whether what the services need can be reached, found out before they are started."""

from __future__ import annotations

import os
import socket
import tomllib
from typing import Any
from urllib.parse import urlsplit

from memgpt.cli.errors import CliError
from memgpt.config import config_path

_CONNECT_SECONDS = 3.0
_MILVUS_PORT = 19530
_PORTS = {"http": 80, "https": 443}


def setting(section: str, key: str, default: str = "") -> str:
    """Return a setting of a service as the environment or the file has it.

    The service itself checks it: what cannot be read here is left to its error.
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
    """Return why nothing answers at the host and port of a URL; empty if something does, or it has none."""
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
    """Check that the Milvus server answers, if the store is one.

    Raises:
        CliError: It does not; the message has the remedy.
    """
    uri = setting("memory", "uri")
    if "://" not in uri:
        return
    problem = unreachable(uri, _MILVUS_PORT)
    if problem:
        raise CliError(
            f"Milvus cannot be reached at {_safe(uri)} ({problem}); start it, or choose another store with"
            " `memgpt configure`"
        )


def model_warning() -> str:
    """Return what to say of a model endpoint that does not answer; empty if it does, or none is configured."""
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
    """The URL without a user's name and password."""
    parts = urlsplit(url.strip())
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
