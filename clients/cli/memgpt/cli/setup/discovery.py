"""Finds model servers on this machine (Ollama, llama.cpp, LM Studio), their models, and their context windows."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from memgpt.cli.endpoint_probe import Endpoint, ProbeError, models_in
from memgpt.endpoints.address import Address, parse_address

_SECONDS = 2.0
_MAX_BYTES = 4 * 1024 * 1024

SERVERS = (("Ollama", 11434), ("llama.cpp", 8080), ("LM Studio", 1234))
"""Model servers and their default ports."""

# Fields in which servers report the size of a model's window: vLLM, OpenRouter and others, LM Studio.
_WINDOW_KEYS = ("max_model_len", "context_length", "loaded_context_length", "max_context_length", "context_window")

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_OPENER = urllib.request.build_opener()


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A model server on this machine.

    Attributes:
        name: Name of the server, guessed from its port.
        base_url: Base URL of its endpoint.
        models: The models that it serves.
    """

    name: str
    base_url: str
    models: list[str]


def local_servers() -> list[LocalServer]:
    """Return the model servers that respond on their default ports on this machine."""

    def look(place: tuple[str, int]) -> LocalServer | None:
        name, port = place
        url = f"http://localhost:{port}/v1"
        # Check the ports before sending requests, since most have no server.
        answer = _get(f"{url}/models")
        found = models_in(answer)
        return None if found is None else LocalServer(name, url, found)

    with ThreadPoolExecutor(len(SERVERS)) as pool:
        return [found for found in pool.map(look, SERVERS) if found is not None]


def models(endpoint: Endpoint) -> list[str]:
    """Return the models of an endpoint; empty if it does not list any."""
    try:
        return endpoint.models()
    except ProbeError:
        return []


def context_window(endpoint: Endpoint, model: str) -> int:
    """Return a model's context window in tokens, as reported by its server; 0 if unknown."""
    try:
        address = parse_address(endpoint.base_url, endpoint.headers, endpoint.query)
    except ValueError:
        return 0
    return next((tokens for tokens in _windows(address, endpoint.api_key, model) if tokens > 0), 0)


def _windows(address: Address, api_key: str, model: str) -> Iterator[int]:
    base_url = address.base_url
    root = base_url.removesuffix("/v1")
    headers = {**address.headers, **address.credential(api_key)}
    query = f"?{urlencode(address.query)}" if address.query else ""
    # llama.cpp: the window that it was started with, not the one that the model was trained with.
    settings = (_get(f"{root}/props{query}", headers) or {}).get("default_generation_settings")
    if isinstance(settings, dict):
        yield _number(settings.get("n_ctx"))
    # LM Studio: the window that the model was loaded with.
    yield _window_in(_get(f"{root}/api/v0/models/{quote(model, safe='/')}{query}", headers) or {})
    listed = (_get(f"{base_url}/models{query}", headers) or {}).get("data")
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict) and item.get("id") == model:
            yield _window_in(item)
    # Ollama.
    shown = (_get(f"{root}/api/show{query}", headers, {"model": model}) or {}).get("model_info")
    if isinstance(shown, dict):
        yield max((_number(value) for key, value in shown.items() if key.endswith(".context_length")), default=0)


def _window_in(item: dict[str, Any]) -> int:
    return next((_number(item[key]) for key in _WINDOW_KEYS if _number(item.get(key)) > 0), 0)


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _get(url: str, more: Mapping[str, str] | None = None, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Return the JSON object at a URL; None if there is none."""
    headers = {"Content-Type": "application/json", "User-Agent": "memgpt", **(more or {})}
    data = None if body is None else json.dumps(body).encode()
    try:
        if urlsplit(url).scheme not in ("http", "https"):
            return None
        request = urllib.request.Request(url, data, headers)  # noqa: S310 - the scheme is checked above
        opener = _DIRECT if urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1") else _OPENER
        with opener.open(request, timeout=_SECONDS) as response:
            answer = json.loads(response.read(_MAX_BYTES))
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None
