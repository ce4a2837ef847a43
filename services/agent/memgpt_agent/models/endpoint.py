"""Where a chat model is, and how it is asked. Apart from `openai_model`, since importing `openai` takes a second."""

from __future__ import annotations

from dataclasses import dataclass
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
        base_url: The endpoint, with its ``/v1``; empty for OpenAI's.
        api_key: Its key; local servers need none.
        mode: How functions are called; AUTO finds out with one small request.
        timeout: Seconds for one answer.
        temperature: Sampling temperature; None for the endpoint's default.
        retries: How often a request is made again that failed by no fault of its own.
        patience: Seconds that are waited at most, in all, before a request is made again.
        pause: Seconds before the first repetition, unless the endpoint says otherwise; it doubles every time.
    """

    model: str
    base_url: str = ""
    api_key: str = ""
    mode: Mode = Mode.AUTO
    timeout: float = 120.0
    temperature: float | None = None
    retries: int = 3
    patience: float = 30.0
    pause: float = 0.5
