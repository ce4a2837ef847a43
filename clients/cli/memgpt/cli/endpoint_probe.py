"""Probes of an OpenAI-compatible endpoint during configuration: its models, and how they call functions.

The requests are the same as those of the services: a chat request with a short real history, all functions and the
options that the Agent sends (`probe_request.json`, written by `make generate`), and an embedding request as Memory
sends it. They use plain HTTP, so the command line needs no model client.
"""

from __future__ import annotations

import copy
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode, urlsplit

from memgpt.endpoints.address import OPENAI_URL, Address, parse_address
from memgpt.endpoints.embeddings import embedding_in, items_in
from memgpt.endpoints.refusals import PASSING, Meaning, Refusal, error_in, understand

__all__ = ["OPENAI_URL", "Endpoint", "ProbeError"]

_LIST_TIMEOUT = 10.0
_ANSWER_TIMEOUT = 180.0  # A local model may have to be read from disk first.
_MAX_BYTES = 16 * 1024 * 1024
_MAX_ADAPTATIONS = 12
_PAUSES = (0.5, 2.0, 4.0)
_LONGEST_PAUSE = 30.0
_FILLER = "."
_NO_SIGNATURE = {"google": {"thought_signature": "skip_thought_signature_validator"}}
_EMPTY = re.compile(r"non-?empty|is (?:blank|empty)|(?:cannot|must not|can't) be (?:blank|empty)")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which would send the API key to another server."""

    def redirect_request(self, *_: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)
_DIRECT = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


class ProbeError(Exception):
    """The endpoint cannot be used. The message is one line for people.

    Attributes:
        refusal: What the endpoint said; its status is 0 if there was no response.
    """

    def __init__(self, message: str, refusal: Refusal | None = None) -> None:
        super().__init__(message)
        self.refusal = refusal or Refusal(Meaning.UNAVAILABLE)


class _RefusedError(ProbeError):
    """The endpoint rejects this request, but may accept a different one."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible endpoint.

    Attributes:
        base_url: Its base URL, as entered.
        api_key: Its API key; never shown.
        headers: Additional headers of every request; values may be secret.
        query: Additional query parameters of every request.
        pauses: Seconds before each retry of a test message that failed for a reason that passes.
    """

    base_url: str
    api_key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    pauses: tuple[float, ...] = _PAUSES

    def models(self) -> list[str]:
        """Return the names of the models that it lists."""
        answer = self._call("/models", None, _LIST_TIMEOUT)
        names = models_in(answer)
        if names is None:
            raise ProbeError(f"{self.base_url} does not return a list of models, as an OpenAI endpoint does")
        return names

    def mode(self, model: str) -> str:
        """Return the mode in which the model calls functions here: ``tools``, or else ``json_schema``.

        Raises:
            ProbeError: Neither mode works, or the endpoint cannot be reached.
        """
        problem = ""
        for mode, called in (("tools", _has_tool_call), ("json_schema", _has_json_call)):
            try:
                if called(self._answer(mode, model)):
                    return mode
            except _RefusedError as error:
                problem = f": {error}"
        raise ProbeError(
            f"{model} at {self.base_url} does not call functions, neither with tools nor with a JSON schema{problem}"
        )

    def embedding_dimension(self, model: str) -> int:
        """Return the dimensions of an embedding model's vectors."""
        body: dict[str, Any] = {"model": model, "input": ["hello"], "encoding_format": "float"}
        for _ in range(_MAX_ADAPTATIONS):
            try:
                return _dimension(self._patiently("/embeddings", body))
            except _RefusedError as error:
                text = error.refusal.text
                if "encoding_format" in body and "encoding_format" in text:
                    del body["encoding_format"]
                elif "input_type" not in body and "input_type" in text:
                    body["input_type"] = "search_document" if "search_document" in text else (
                        "document" if "document" in text else "passage"
                    )  # fmt: skip
                else:
                    raise
            except (KeyError, IndexError, TypeError):
                break
        raise ProbeError(f"{self.base_url} does not return an embedding for {model}")

    def silent_window(self, model: str) -> int:
        """Return the context window at which Ollama silently truncates a loaded model's prompts; 0 elsewhere."""
        root = self.base_url.split("/v1")[0].rstrip("/")
        try:
            self._fetch(f"{root}/api/version", None, _LIST_TIMEOUT)
            loaded = self._fetch(f"{root}/api/ps", None, _LIST_TIMEOUT)
        except ProbeError:
            return 0
        models = loaded.get("models") if isinstance(loaded, dict) else None
        for item in models if isinstance(models, list) else ():
            if isinstance(item, dict) and model in (item.get("name"), item.get("model")):
                size = item.get("context_length")
                return size if isinstance(size, int) else 0
        return 0

    def _answer(self, mode: str, model: str) -> dict[str, Any]:
        """Return the model's reply to the Agent's request."""
        body: dict[str, Any] = {**copy.deepcopy(_requests()[mode]), "model": model}
        for _ in range(_MAX_ADAPTATIONS):
            try:
                return _message(self._patiently("/chat/completions", body))
            except _RefusedError as error:
                if not _adapt(body, error.refusal):
                    raise
        return {}

    def _patiently(self, path: str, body: dict[str, Any]) -> Any:
        """Return the response to a request, which is repeated after a failure that passes.

        A model that is still being loaded, or a limit of requests, says nothing about what the model can do.
        """
        for pause in self.pauses:
            try:
                return self._call(path, body, _ANSWER_TIMEOUT)
            except ProbeError as error:
                wait = pause if error.refusal.retry_after is None else error.refusal.retry_after
                if not error.refusal.status or error.refusal.meaning not in PASSING or wait > _LONGEST_PAUSE:
                    raise
                time.sleep(wait)
        return self._call(path, body, _ANSWER_TIMEOUT)

    def _call(self, path: str, body: dict[str, Any] | None, timeout: float) -> Any:
        try:
            address = parse_address(self.base_url, self.headers, self.query)
        except ValueError as error:
            raise ProbeError(f'"{self.base_url}" is not the address of an endpoint: it {error}') from None
        query = f"?{urlencode(address.query)}" if address.query else ""
        try:
            return self._fetch(f"{address.base_url}{path}{query}", body, timeout, address)
        except _RefusedError as error:
            if error.refusal.status != 404 or address.versioned:
                raise
            return self._fetch(f"{address.base_url}/v1{path}{query}", body, timeout, address)

    def _fetch(self, url: str, body: dict[str, Any] | None, timeout: float, address: Address | None = None) -> Any:
        """Return the decoded response; for a stream, the list of its chunks."""
        headers = {"Content-Type": "application/json", "User-Agent": "memgpt", **self.headers}
        if address is not None:
            headers |= address.credential(self.api_key)
        data = None if body is None else json.dumps(body).encode()
        shown = url.partition("?")[0]
        if urlsplit(url).scheme not in ("http", "https"):
            raise ProbeError(f"{shown} is not the address of an endpoint: it must begin with http:// or https://")
        request = urllib.request.Request(url, data, headers)  # noqa: S310 - the scheme is checked above
        try:
            # Calls to this machine itself must not go through a proxy.
            opener = _DIRECT if urlsplit(url).hostname in _LOOPBACK else _OPENER
            with opener.open(request, timeout=timeout) as response:
                answer = _decoded(response.read(_MAX_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(_MAX_BYTES).decode(errors="replace")
                names = {name.lower(): value for name, value in error.headers.items()}
            raise self._refused(shown, self._understood(error.code, text, names)) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or "no answer that can be read"
            raise ProbeError(f"{shown} cannot be used: {reason}") from error
        if (problem := error_in(answer)) is not None:
            raise self._refused(shown, self._understood(200, problem, {}))
        return answer

    def _understood(self, status: int, body: object, headers: Mapping[str, str]) -> Refusal:
        return understand(status, body, headers, secrets=[self.api_key, *self.headers.values()])

    def _refused(self, url: str, refusal: Refusal) -> ProbeError:
        said = f": {refusal.quote}" if refusal.quote else ""
        status = f"HTTP {refusal.status}"
        match refusal.meaning:
            case Meaning.BAD_KEY | Meaning.FORBIDDEN:
                return ProbeError(f"{url} rejected the API key ({status}){said}")
            case Meaning.OUT_OF_BALANCE:
                return ProbeError(f"the account at {url} has no balance left{said}")
            case Meaning.COUNTRY:
                return ProbeError(f"{url} is not available in this country{said}")
            case Meaning.RATE_LIMITED:
                return ProbeError(f"{url} is rate limiting requests; retry later{said}", refusal)
            case Meaning.LOADING:
                return ProbeError(f"{url} is still loading the model; retry later{said}", refusal)
            case Meaning.UNAVAILABLE | Meaning.REDIRECTED if refusal.status not in (200, 500):
                return ProbeError(f"{url} returned status {status}; check the base URL{said}", refusal)
            case Meaning.UNKNOWN_MODEL:
                return _RefusedError(
                    f"{url} does not know the model ({status}); check the base URL and the model's name{said}", refusal
                )
        return _RefusedError(f"{url} rejected the request ({status}); check the name of the model{said}", refusal)


def models_in(answer: Any) -> list[str] | None:
    """Return the names in a list of models, in the shapes that servers use; None if it is no such list.

    Together returns a bare list, and Ollama and Gemini in their own form list ``models`` with a ``name``.
    """
    items = answer.get("data", answer.get("models")) if isinstance(answer, dict) else answer
    if not isinstance(items, list):
        return None
    named = [item.get("id") or item.get("name") if isinstance(item, dict) else item for item in items]
    return [name.removeprefix("models/") for name in named if isinstance(name, str) and name]


@lru_cache(maxsize=1)
def _requests() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(
        (files("memgpt.cli") / "probe_request.json").read_text(encoding="utf-8")
    )
    return found


def _adapt(body: dict[str, Any], refusal: Refusal) -> bool:
    """Change one option that an error message rejects, as the Agent does; return False if it names none."""
    text = refusal.text.lower()
    if refusal.meaning is Meaning.NO_TOOLS:
        return False
    if "max_completion_tokens" in text and "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
        return True
    for option in ("parallel_tool_calls", "stream_options", "tool_choice", "max_tokens", "stream"):
        if option in body and (option in text or option.replace("_", " ") in text):
            del body[option]
            return True
    messages = body["messages"]
    called = [message for message in messages if message.get("tool_calls")]
    if "reasoning_content" in text and called and "reasoning_content" not in called[0]:
        called[0]["reasoning_content"] = _FILLER
        return True
    results = [message for message in messages if message["role"] == "tool"]
    if called and "response.name" in text and any("name" not in message for message in results):
        for message in results:
            message["name"] = called[0]["tool_calls"][0]["function"]["name"]
        return True
    if "thought_signature" in text and called and "extra_content" not in called[0]["tool_calls"][0]:
        called[0]["tool_calls"][0]["extra_content"] = _NO_SIGNATURE
        return True
    if _EMPTY.search(text) and any(message.get("content") == "" for message in messages):
        for message in messages:
            message["content"] = message.get("content") or _FILLER
        return True
    after = next(
        (n for n, m in enumerate(messages[:-1]) if m["role"] == "tool" and messages[n + 1]["role"] == "user"), -1
    )
    if refusal.meaning is Meaning.TEMPLATE and after >= 0:
        messages.insert(after + 1, {"role": "assistant", "content": _FILLER})
        return True
    return False


_FIELD_NAME = re.compile(r"\A(?:data:\s*)+")


def _decoded(data: bytes) -> Any:
    """Return the JSON of a response; for a stream, the list of its events."""
    text = data.decode("utf-8-sig", errors="replace").strip()
    if not text.startswith(("data:", ":", "event:")):
        return json.loads(text)
    # Gateways frame or encode events twice, and send words that keep the connection open.
    events = [_FIELD_NAME.sub("", line).strip() for line in text.splitlines() if line.startswith("data:")]
    decoded = [json.loads(event) for event in events if event.startswith(("{", '"{'))]
    chunks = [json.loads(chunk) if isinstance(chunk, str) else chunk for chunk in decoded]
    if not chunks:
        raise ValueError("no event is JSON")
    failed = next((chunk for chunk in chunks if error_in(chunk) is not None), None)
    return chunks if failed is None else failed


def _message(answer: Any) -> dict[str, Any]:
    """Return the message of a response, assembled from its chunks."""
    content = ""
    calls: list[Any] = []
    for chunk in answer if isinstance(answer, list) else [answer]:
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            continue
        part = choice.get("message") or choice.get("delta")
        if not isinstance(part, dict):
            continue
        content += part["content"] if isinstance(part.get("content"), str) else ""
        calls += part["tool_calls"] if isinstance(part.get("tool_calls"), list) else []
        calls += [{"function": part["function_call"]}] if isinstance(part.get("function_call"), dict) else []
    return {"content": content, "tool_calls": calls}


def _has_tool_call(message: dict[str, Any]) -> bool:
    """Whether a message calls a function with a complete JSON object as arguments."""
    written = ""
    for call in message.get("tool_calls") or []:
        function = call.get("function") if isinstance(call, dict) else None
        given = function.get("arguments") if isinstance(function, dict) else None
        if isinstance(given, dict):
            return True
        written += given if isinstance(given, str) else ""
    return _object(written) is not None


def _has_json_call(message: dict[str, Any]) -> bool:
    """Whether a message is a JSON object that contains a call."""
    value = _object(message.get("content") or "")
    return value is not None and isinstance(value.get("call"), dict)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value, _ = json.JSONDecoder(strict=False).raw_decode(text, max(text.find("{"), 0))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _dimension(answer: Any) -> int:
    """Return the length of the vector in a response; in base64, a number has four bytes.

    Raises:
        LookupError, TypeError: There is none.
    """
    items = items_in(answer) or []
    vector: Any = embedding_in(items[0])
    if isinstance(vector, str):
        vector = range(len(vector.rstrip("=")) * 3 // 4 // 4)
    if isinstance(vector[0], list):
        vector = vector[0]
    return len(vector)
