"""Parsing of the addresses of endpoints, as people write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit, urlunsplit

OPENAI_URL = "https://api.openai.com/v1"
"""The address of OpenAI's own service."""

_OPERATION = re.compile(
    r"/(?:(?:chat/)?completions|text/chatcompletion(?:_v2)?|embeddings|models|responses|messages|rerank|audio/\w+|images/\w+|(?<=/v1/)chat"
    r"|api/(?:chat|generate|tags|embed|show))/*\Z"
)
"""An operation, also one of Ollama's own API, next to which it serves OpenAI's."""

_VERSION = re.compile(r"/(?:v\d+\w*|deployments)(?:/|\Z)")
_AZURE_RESOURCE = re.compile(r"\.(?:openai|cognitiveservices|services\.ai)\.azure\.(?:com|us|cn)\Z")
_AZURE_GATEWAY = re.compile(r"\.azure-api\.(?:com|us|cn|net)\Z")

_PATHS: tuple[tuple[re.Pattern[str], str], ...] = (
    (_AZURE_RESOURCE, "/openai/v1"),
    (re.compile(r"\bgenerativelanguage\.googleapis\.com\Z"), "/v1beta/openai"),
    (re.compile(r"\bopenrouter\.ai\Z"), "/api/v1"),
    (re.compile(r"\bapi\.groq\.com\Z"), "/openai/v1"),
    (re.compile(r"\Acoding(?:-intl)?\.dashscope\.aliyuncs\.com\Z"), "/v1"),
    (re.compile(r"\bdashscope(?:-intl|-us)?\.aliyuncs\.com\Z"), "/compatible-mode/v1"),
    (re.compile(r"\b(?:open\.bigmodel\.cn|api\.z\.ai)\Z"), "/api/paas/v4"),
    (re.compile(r"\bapi\.fireworks\.ai\Z"), "/inference/v1"),
    (re.compile(r"\bark\.[\w-]+\.volces\.com\Z"), "/api/v3"),
    (re.compile(r"\bapi\.cohere\.(?:com|ai)\Z"), "/compatibility/v1"),
    (re.compile(r"\bmodels\.github\.ai\Z"), "/inference"),
    (re.compile(r"\bqianfan\.baidubce\.com\Z"), "/v2"),
    (re.compile(r"\bbedrock-runtime\.[\w-]+\.amazonaws\.com(?:\.cn)?\Z"), "/openai/v1"),
    (re.compile(r"\bapi\.deepinfra\.com\Z"), "/v1/openai"),
    (re.compile(r"\b(?:api\.perplexity\.ai|api\.githubcopilot\.com)\Z"), ""),
    (re.compile(r"\bapi\.llama\.com\Z"), "/compat/v1"),
    (re.compile(r"\bapi\.friendli\.ai\Z"), "/serverless/v1"),
    (re.compile(r"\bapi\.ai21\.com\Z"), "/studio/v1"),
    (re.compile(r"\bapi\.novita\.ai\Z"), "/v3/openai"),
    (re.compile(r"\.(?:cloud\.databricks\.com|gcp\.databricks\.com|azuredatabricks\.net)\Z"), "/serving-endpoints"),
)
"""Hosts that serve OpenAI's protocol under another path than ``/v1``."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of an endpoint, and the parameters and headers of every request to it.

    Attributes:
        base_url: The address up to the operation, without a query or a trailing slash.
        query: Parameters of every request, such as Azure's ``api-version``.
        headers: Headers of every request, except the credential; values may be secret.
        key_header: Header of the key; ``Authorization`` takes it as a bearer token.
    """

    base_url: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    key_header: str = "Authorization"

    @property
    def host(self) -> str:
        """The host's name."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def shown(self) -> str:
        """The address for messages and logs, without credentials that it may contain."""
        parts = urlsplit(self.base_url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"

    @property
    def versioned(self) -> bool:
        """Whether the path already names a version of the API, so that ``/v1`` is not added."""
        return _VERSION.search(urlsplit(self.base_url).path) is not None

    def credential(self, api_key: str) -> dict[str, str]:
        """Return the header with ``api_key``; none for an empty key."""
        if not api_key:
            return {}
        return {self.key_header: f"Bearer {api_key}" if self.key_header == "Authorization" else api_key}


def parse_address(
    url: str, headers: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None
) -> Address:
    """Parse an address from the configuration.

    Args:
        url: Such as ``http://localhost:11434``; an operation at its end, such as ``/chat/completions``, is cut off, and
            ``/v1``, or the path of a known vendor, is added to a bare host. Empty for OpenAI's own service.
        headers: Further headers of every request.
        query: Further query parameters of every request; they override those in ``url``.

    Raises:
        ValueError: It is not the address of a web server. The message says what is wrong.
    """
    text = url.strip().strip("\"'<>") or OPENAI_URL
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{error}; write it as http://host:port/v1") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or any(c.isspace() for c in text) or port == 0:
        raise ValueError("must begin with http:// or https:// and a host, such as http://localhost:11434/v1")
    path = _path(parts.hostname, parts.path)
    parameters = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **(query or {})}
    known = _AZURE_RESOURCE.search(parts.hostname) or _AZURE_GATEWAY.search(parts.hostname)
    azure = bool(known) or "/deployments/" in path or "api-version" in parameters
    base = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    return Address(base, parameters, dict(headers or {}), "api-key" if azure else "Authorization")


def _path(host: str, given: str) -> str:
    """Return the path of the API on a host; a path that is incomplete or names an operation is corrected."""
    path = _OPERATION.sub("", re.sub(r"/{2,}", "/", given)).rstrip("/")
    whole = next((known for pattern, known in _PATHS if pattern.search(host)), "/v1")
    return whole if path == "/v1" or f"{whole}/".startswith(f"{path}/") else path
