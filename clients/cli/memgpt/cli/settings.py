"""Settings of the command line, ``[client]``, and its files in the suite's folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from memgpt.cli.access import profiles
from memgpt.config import Config, GrpcAddress, Section, load_config
from pydantic import Field, SecretStr, model_validator

if TYPE_CHECKING:
    from memgpt.client import Tls

KEY_VARIABLE = "MEMGPT_API_KEY"
"""Environment variable with an API key or another token for the services; it comes before any other."""


class ClientSettings(Section):
    """Settings in ``[client]``: addresses of the services. Without addresses, commands start their own services."""

    agent_address: GrpcAddress = Field(
        "", description="Address of the Agent, as host:port; empty to start the services on this machine."
    )
    loader_address: GrpcAddress = Field(
        "", description="Address of the Loader, as host:port; empty to start the services on this machine."
    )
    memory_address: GrpcAddress = Field(
        "", description="Address of Memory, as host:port, for `memgpt search` and `memgpt reembed`."
    )
    tls: bool = Field(False, description="Whether to connect to the services over TLS.")
    tls_ca: Path | None = Field(
        None, description="PEM file with the CA of the services; none for the default CAs of gRPC."
    )
    tls_cert: Path | None = Field(None, description="PEM file with this client's certificate chain.")
    tls_key: Path | None = Field(None, description="PEM file with the private key of tls_cert.")
    api_key: SecretStr = Field(
        SecretStr(""),
        description="API key or other token for the services. Prefer `memgpt login`, or the variable MEMGPT_API_KEY.",
    )
    allow_plaintext: bool = Field(
        False,
        description="Whether to send the API key to other machines without TLS, if a mesh or a tunnel encrypts the "
        "connections.",
    )

    # A service that restarts is back by then, and a person hears soon of one that is not.
    retry_seconds: float = Field(
        9.0, ge=0, le=3600, description="Seconds for which a call is repeated while a service is unavailable."
    )

    @model_validator(mode="after")
    def _belong_together(self) -> ClientSettings:
        if bool(self.agent_address) != bool(self.loader_address):
            raise ValueError("agent_address and loader_address belong together; set both, or neither")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together; set both, or neither")
        if not self.tls and (self.tls_ca or self.tls_cert):
            raise ValueError("tls_ca, tls_cert and tls_key need tls = true")
        return self

    def credentials(self) -> Tls | None:
        """Return the TLS configuration for `memgpt.client`; None for plaintext."""
        if not self.tls:
            return None
        from memgpt.client import Tls

        return Tls(self.tls_ca, self.tls_cert, self.tls_key)

    def token(self) -> str | None:
        """Return the API key or other token for `memgpt.client`; None for none."""
        return self.api_key.get_secret_value() or None


def load_settings(*, use_profile: bool = True) -> Config[ClientSettings]:
    """Read ``[client]`` from the file and the environment; a profile that is in use replaces it.

    Args:
        use_profile: Whether a profile may replace it; not for the services of this machine.

    Raises:
        ConfigError: The settings are invalid, or the named profile does not exist.
    """
    config = load_config("client", ClientSettings)
    found = profiles.current(config.home) if use_profile else None
    settings = config.service if found is None else ClientSettings(**found[1].settings())
    if key := os.environ.get(KEY_VARIABLE, "").strip():
        settings = settings.model_copy(update={"api_key": SecretStr(key)})
    return replace(config, service=settings)
