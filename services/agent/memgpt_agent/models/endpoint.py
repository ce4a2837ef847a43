"""Where a chat model is, and how it is asked. Apart from `openai_model`, since importing `openai` takes a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Mode(StrEnum):
    """How functions are called."""

    AUTO = "auto"
    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Where the model is and how it is asked.

    Attributes:
        model: Name of the model, for agents that name none.
        base_url: The endpoint's address; empty for OpenAI's. See `memgpt.endpoints.address`.
        api_key: Its key; local servers need none.
        mode: How functions are called; AUTO finds out, and goes on finding out.
        timeout: Seconds without a part of the answer after which the endpoint is given up.
        temperature: Sampling temperature; None for the endpoint's default.
        retries: How often a request is made again that failed by no fault of its own.
        patience: Seconds that are waited at most, in all, before a request is made again.
        pause: Seconds before the first repetition, unless the endpoint says otherwise; it doubles every time.
        headers: Further headers of every request; their values may be secret.
        query: Further query parameters of every request.
    """

    model: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    mode: Mode = Mode.AUTO
    timeout: float = 120.0
    temperature: float | None = None
    retries: int = 3
    patience: float = 30.0
    pause: float = 0.5
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
