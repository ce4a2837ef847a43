"""Settings of a chat endpoint. Separate from `openai_model`, since importing `openai` takes a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class CallMode(StrEnum):
    """How functions are called."""

    AUTO = "auto"
    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"


@dataclass(frozen=True, slots=True)
class ChatEndpointSettings:
    """The endpoint of a chat model, and the options of its requests.

    Attributes:
        model: Name of the model, for agents that name none.
        base_url: The endpoint's address; empty for OpenAI's. See `memgpt.endpoints.address`.
        api_key: Its key; local servers need none.
        mode: How functions are called; AUTO detects it, and keeps adapting.
        timeout: Seconds without a part of the answer after which the request fails.
        temperature: Sampling temperature; None for the endpoint's default.
        retries: How often a request is retried after a failure of the endpoint or the connection.
        max_retry_wait: Maximum seconds to wait, in total, between the retries of a request.
        pause: Seconds before the first retry, unless the endpoint says otherwise; doubles each time.
        headers: Further headers of every request; their values may be secret.
        query: Further query parameters of every request.
    """

    model: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    mode: CallMode = CallMode.AUTO
    timeout: float = 120.0
    temperature: float | None = None
    retries: int = 3
    max_retry_wait: float = 30.0
    pause: float = 0.5
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
