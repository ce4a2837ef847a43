"""Settings of the Agent: ``[agent]`` in the configuration file, ``MEMGPT_AGENT_*`` in the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from memgpt.config import ConfigError, MemoryClientSection
from memgpt.endpoints.address import parse_address
from memgpt_runtime.tokens import count_tokens
from pydantic import Field, SecretStr, field_validator, model_validator

from memgpt_agent import envelopes
from memgpt_agent.context_window.tokens import CountTokens, from_tokenizer
from memgpt_agent.loop.settings import LoopSettings
from memgpt_agent.models.endpoint import CallMode, ChatEndpointSettings
from memgpt_agent.models.offline.model import NAME as OFFLINE
from memgpt_agent.remote_tools.addresses import AllowedAddresses

DEFAULT_CONTEXT_WINDOW = 8192
"""The context window, in tokens, that most local servers use by default."""

OFFLINE_CONTEXT_WINDOW = 32_768
"""The built-in model reads prompts of any length; this bounds its work."""

MIN_CONTEXT_WINDOW = 1024


class AgentSettings(MemoryClientSection):
    """``[agent]``."""

    port: int = Field(50051, ge=0, le=65535, description="Port to listen on; 0 for any free one.")
    model: str = Field(
        "", description="The chat model: offline for the built-in one, else a name that the endpoint knows."
    )
    base_url: str = Field(
        "",
        description="The model's endpoint, such as http://localhost:11434/v1; empty for OpenAI's own. A query, such as"
        " Azure's ?api-version=…, goes with every request.",
    )
    api_key: SecretStr = Field(SecretStr(""), description="The endpoint's key; local servers need none.")
    headers: dict[str, SecretStr] = Field({}, description="Further headers of every request to the endpoint.")
    query: dict[str, SecretStr] = Field({}, description="Further query parameters of every request to the endpoint.")
    mode: Literal["auto", "tools", "json_schema"] = Field(
        "auto", description="How functions are called: tools, json_schema, or auto to find out."
    )
    model_timeout: float = Field(120.0, gt=0, le=3600, description="Seconds without a part of the model's answer.")
    model_retries: int = Field(
        3, ge=0, le=10, description="How often the model is asked again when its endpoint is busy or breaks off."
    )
    temperature: float | None = Field(None, ge=0, le=2, description="Sampling temperature; none for the endpoint's.")
    context_window: int = Field(
        0, ge=0, le=10_000_000, description="Tokens of the model's context window; 0 for 8192, offline 32768."
    )
    tokenizer: str = Field(
        "", description="Path of the model's tokenizer.json, for exact counts; empty to estimate and learn."
    )
    max_answer_tokens: int = Field(1024, ge=64, description="Tokens that one answer of the model may have.")
    max_steps: int = Field(50, ge=1, le=200, description="Steps of a turn at most.")
    auto_recall: bool = Field(
        False, description="Whether memory is searched for each message of the user before the model is asked."
    )
    keep_alive_seconds: float = Field(
        15.0, gt=0, description="Seconds of silence after which a turn's stream says that it still runs."
    )
    pressure_fraction: float = Field(
        0.75, gt=0, le=1, description="Part of the window from which on the agent is told to save what matters."
    )
    keep_fraction: float = Field(0.75, ge=0, lt=1, description="Part of the messages that an eviction leaves at most.")
    heartbeat_poll_seconds: float = Field(
        10.0, ge=0, le=3600, description="Seconds between two looks for timed heartbeats that are due; 0 for never."
    )
    time_zone: str = Field("UTC", description="IANA name of new agents' time zone, such as Europe/Berlin.")

    queue_timeout: float = Field(600.0, gt=0, description="Seconds that a turn waits for the agent's other turns.")
    tool_addresses: tuple[str, ...] = Field(
        (),
        description="Addresses of tools that agents may use: host:port, *.domain:port, host:*; tls:// before one for"
        " TLS. Empty for none.",
    )
    tool_timeout: float = Field(30.0, gt=0, le=3600, description="Seconds that one call of a tool may take.")
    tool_tls_ca: Path | None = Field(
        None, description="PEM file with the CA of the certificates of tls:// tools; none for gRPC's own list."
    )
    tool_tls_cert: Path | None = Field(
        None, description="PEM file with the certificate chain to show to tls:// tools, if they ask for one."
    )
    tool_tls_key: Path | None = Field(None, description="PEM file with the private key of tool_tls_cert.")

    @field_validator("tool_addresses")
    @classmethod
    def _addresses_are_some(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        AllowedAddresses(entries)
        return entries

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        envelopes.zone(name)
        return name

    @model_validator(mode="after")
    def _model_is_complete(self) -> AgentSettings:
        if 0 < self.context_window < MIN_CONTEXT_WINDOW:
            raise ValueError(f"context_window must be 0 or at least {MIN_CONTEXT_WINDOW}")
        try:
            parse_address(self.base_url)
        except ValueError as error:
            raise ValueError(f"base_url {error}") from None
        if not self.model and (self.base_url or self.api_key.get_secret_value()):
            raise ValueError("an endpoint is configured without a model: set model (MEMGPT_AGENT_MODEL) as well")
        if self.model not in ("", OFFLINE) and not self.base_url and not self.api_key.get_secret_value():
            raise ValueError(
                f"the model {self.model!r} needs an endpoint: set base_url for a local server, or api_key for OpenAI's"
            )
        if (self.tool_tls_cert is None) != (self.tool_tls_key is None):
            raise ValueError("tool_tls_cert and tool_tls_key belong together: set both, or neither")
        return self

    def model_name(self) -> str:
        """Return the model of agents that set none."""
        return self.model or OFFLINE

    def window_tokens(self) -> int:
        """Return the context window of agents that set none."""
        default = OFFLINE_CONTEXT_WINDOW if self.model_name() == OFFLINE else DEFAULT_CONTEXT_WINDOW
        return self.context_window or default

    def endpoint(self) -> ChatEndpointSettings | None:
        """Return the model's endpoint; None if only the built-in model is used."""
        key = self.api_key.get_secret_value()
        if not (self.base_url or key):
            return None
        return ChatEndpointSettings(
            model=self.model,
            base_url=self.base_url,
            api_key=key,
            mode=CallMode(self.mode),
            timeout=self.model_timeout,
            temperature=self.temperature,
            retries=self.model_retries,
            headers={name: value.get_secret_value() for name, value in self.headers.items()},
            query={name: value.get_secret_value() for name, value in self.query.items()},
        )

    def counts(self) -> CountTokens:
        """Return a token counter: the model's tokenizer if it is configured.

        Raises:
            ConfigError: The tokenizer cannot be read.
        """
        if not self.tokenizer:
            return count_tokens
        try:
            return from_tokenizer(Path(self.tokenizer).expanduser())
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def loop(self) -> LoopSettings:
        """Return the settings of the loop."""
        return LoopSettings(
            context_window=self.window_tokens(),
            max_answer_tokens=self.max_answer_tokens,
            max_steps=self.max_steps,
            pressure=self.pressure_fraction,
            keep=self.keep_fraction,
            queue_timeout=self.queue_timeout,
            auto_recall=self.auto_recall,
        )
