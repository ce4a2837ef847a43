"""Questions to an OpenAI-compatible endpoint when it is configured: what it serves, and how functions are called.

Plain HTTP: the command line needs no model client of its own.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

OPENAI_URL = "https://api.openai.com/v1"
"""Where OpenAI's own service is."""

_LIST_TIMEOUT = 10.0
_ANSWER_TIMEOUT = 180.0  # A local model may have to be read from disk first.
_MAX_BYTES = 16 * 1024 * 1024
_FUNCTION = {
    "name": "say_hello",
    "description": "Says hello.",
    "parameters": {
        "type": "object",
        "properties": {"to": {"type": "string", "description": "Whom to greet."}},
        "required": ["to"],
        "additionalProperties": False,
    },
}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirection alone: it would carry the key to wherever it points."""

    def redirect_request(self, *_: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)
_DIRECT = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class ProbeError(Exception):
    """The endpoint cannot be used as it is. The message is one line for people."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the endpoint is.

    Attributes:
        base_url: Up to and with `/v1`.
        api_key: Sent as a bearer token unless empty; never shown.
    """

    base_url: str
    api_key: str = field(default="", repr=False)

    def models(self) -> list[str]:
        """Names of the models that it serves, as it lists them."""
        answer = self._call("/models", None, _LIST_TIMEOUT)
        items = answer.get("data")
        if not isinstance(items, list):
            raise ProbeError(f"{self.base_url}/models does not answer with a list of models")
        return [str(item["id"]) for item in items if isinstance(item, dict) and "id" in item]

    def mode(self, model: str) -> str:
        """How the model calls functions here: `tools`, else `json_schema`.

        Raises:
            ProbeError: It does neither, or cannot be reached.
        """
        question = {"model": model, "messages": [{"role": "user", "content": "Say hello to Ada."}], "max_tokens": 200}
        try:
            answer = self._ask(
                {**question, "tools": [{"type": "function", "function": _FUNCTION}], "tool_choice": "required"}
            )
        except _RefusedError:
            answer = {}
        for call in answer.get("tool_calls") or []:
            if _parses(call.get("function", {}).get("arguments")):
                return "tools"
        schema = {"name": "call", "strict": True, "schema": _FUNCTION["parameters"]}
        answer = self._ask({**question, "response_format": {"type": "json_schema", "json_schema": schema}})
        if _parses(answer.get("content")):
            return "json_schema"
        raise ProbeError(f"{model} at {self.base_url} calls no functions, neither by tools nor by a JSON schema")

    def embedding_dimension(self, model: str) -> int:
        """Dimensions of an embedding model's vectors."""
        answer = self._call("/embeddings", {"model": model, "input": ["hello"]}, _ANSWER_TIMEOUT)
        try:
            return len(answer["data"][0]["embedding"])
        except (KeyError, IndexError, TypeError):
            raise ProbeError(f"{self.base_url}/embeddings does not answer with an embedding for {model}") from None

    def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._call("/chat/completions", body, _ANSWER_TIMEOUT)
        try:
            message = answer["choices"][0]["message"]
        except (KeyError, IndexError, TypeError):
            raise ProbeError(f"{self.base_url}/chat/completions does not answer as an OpenAI endpoint does") from None
        return message if isinstance(message, dict) else {}

    def _call(self, path: str, body: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        url = self.base_url.rstrip("/") + path
        if urlsplit(url).scheme not in ("http", "https"):
            raise ProbeError(f"{self.base_url} is no address of an endpoint: it must begin with http:// or https://")
        headers = {"Content-Type": "application/json", "User-Agent": "memgpt"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers)  # noqa: S310 - the scheme is checked above
        try:
            # A proxy of this machine is not for calls to the machine itself.
            opener = _DIRECT if urlsplit(url).hostname in _LOOPBACK else _OPENER
            with opener.open(request, timeout=timeout) as response:
                answer = json.loads(response.read(_MAX_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (401, 403):
                    raise ProbeError(f"{url} refuses the key (HTTP {error.code})") from error
                if error.code in (400, 422, 500, 501):
                    raise _RefusedError(
                        f"{url} refuses the request (HTTP {error.code}); check the model's name"
                    ) from error
                raise ProbeError(f"{url} answers HTTP {error.code}; check the base URL and the model's name") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or "no answer that can be read"
            raise ProbeError(f"{url} cannot be used: {reason}") from error
        if not isinstance(answer, dict):
            raise ProbeError(f"{url} does not answer as an OpenAI endpoint does")
        return answer


class _RefusedError(ProbeError):
    """The endpoint does not take this request; perhaps another."""


def _parses(text: object) -> bool:
    if not isinstance(text, str):
        return False
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and isinstance(value.get("to"), str)
