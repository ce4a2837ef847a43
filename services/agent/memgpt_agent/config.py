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
    model: str = Field("", description="Name of the chat model at the endpoint, or offline for the built-in one.")
    base_url: str = Field(
        "",
        description="Base URL of the model's endpoint, such as http://localhost:11434/v1; empty for OpenAI. A "
        "query, such as"
        " Azure's ?api-version=…, goes with every request.",
    )
    api_key: SecretStr = Field(SecretStr(""), description="API key of the endpoint; local servers need none.")
    headers: dict[str, SecretStr] = Field({}, description="Additional headers of every request to the endpoint.")
    query: dict[str, SecretStr] = Field({}, description="Additional query parameters of every request to the endpoint.")
    mode: Literal["auto", "tools", "json_schema"] = Field(
        "auto", description="How the model calls functions: tools, json_schema, or auto to detect it."
    )
    model_timeout: float = Field(
        120.0, gt=0, le=3600, description="Seconds without new output after which a request to the model fails."
    )
    model_retries: int = Field(
        3, ge=0, le=10, description="Number of retries if the endpoint is busy or the connection breaks."
    )
    temperature: float | None = Field(
        None, ge=0, le=2, description="Sampling temperature; none for the endpoint's default."
    )
    context_window: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="Size of the model's context window in tokens; 0 for the default: 8192, or 32768 for the "
        "offline model.",
    )
    tokenizer: str = Field(
        "",
        description="Path of the model's tokenizer.json, for exact token counts; empty for an estimate that "
        "adapts to the endpoint's counts.",
    )
    max_answer_tokens: int = Field(1024, ge=64, description="Maximum number of tokens in an answer of the model.")
    max_steps: int = Field(50, ge=1, le=200, description="Maximum number of steps in a turn.")
    auto_recall: bool = Field(
        False, description="Whether to search memory for each user message before the model is called."
    )
    keep_alive_seconds: float = Field(
        15.0, gt=0, description="Seconds of silence after which the stream of a turn sends a keep-alive."
    )
    pressure_fraction: float = Field(
        0.75,
        gt=0,
        le=1,
        description="Fraction of the window above which the agent is told to save important information.",
    )
    keep_fraction: float = Field(
        0.75, ge=0, lt=1, description="Maximum fraction of the messages that an eviction leaves in the window."
    )
    heartbeat_poll_seconds: float = Field(
        10.0, ge=0, le=3600, description="Seconds between checks for timed heartbeats that are due; 0 for never."
    )
    time_zone: str = Field("UTC", description="Time zone of new agents, as an IANA name such as Europe/Berlin.")

    queue_timeout: float = Field(600.0, gt=0, description="Seconds that a turn waits in its agent's queue.")
    tool_addresses: tuple[str, ...] = Field(
        (),
        description="Addresses of tools that agents may use: host:port, *.domain:port, host:*; tls:// before one for"
        " TLS. Empty for none.",
    )
    tool_timeout: float = Field(30.0, gt=0, le=3600, description="Time limit in seconds for a call of a tool.")
    tool_tls_ca: Path | None = Field(
        None, description="PEM file with the CA of tls:// tools; none for the default CAs of gRPC."
    )
    tool_tls_cert: Path | None = Field(
        None, description="PEM file with the client certificate chain for tls:// tools that require one."
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
            raise ValueError("an endpoint is configured without a model; set model (MEMGPT_AGENT_MODEL) as well")
        if self.model not in ("", OFFLINE) and not self.base_url and not self.api_key.get_secret_value():
            raise ValueError(
                f'the model "{self.model}" needs an endpoint; set base_url for a local server, or api_key for OpenAI'
            )
        if (self.tool_tls_cert is None) != (self.tool_tls_key is None):
            raise ValueError("tool_tls_cert and tool_tls_key belong together; set both, or neither")
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
