"""Refuse to listen beyond loopback without credentials, or with credentials that anyone on the way can read."""

from __future__ import annotations

import ipaddress

from memgpt.config import ConfigError, ServerSettings


def check_exposure(settings: ServerSettings, host: str, name: str) -> None:
    """Check that a server may listen on an address.

    Args:
        settings: The server's settings.
        host: The address, with or without brackets.
        name: The service, for errors.

    Raises:
        ConfigError: The address is reachable from other machines, and no credentials or no TLS are configured.
    """
    if is_loopback(host):
        return
    where = f"{name} would listen on {host}, which other machines can reach,"
    elsewhere = f"or listen on 127.0.0.1 with {name}.host"
    if settings.testing:
        if not settings.allow_anonymous:
            raise ConfigError(
                f"{where} and accept any token; listen on 127.0.0.1 with {name}.host, or, where only tests reach it, "
                "set server.allow_anonymous = true"
            )
        return
    if not settings.credentials_required and not settings.allow_anonymous:
        raise ConfigError(
            f"{where} without credentials; set server.service_key_file (or jwt_issuer, or certificates), {elsewhere}; "
            "behind a mesh or a proxy that authenticates callers, set server.allow_anonymous = true"
        )
    if settings.credentials_required and settings.tls_cert is None and not settings.allow_plaintext:
        raise ConfigError(
            f"{where} without TLS, so credentials could be read on the way; set server.tls_cert and server.tls_key, "
            f"{elsewhere}; behind a mesh or a proxy that encrypts connections, set server.allow_plaintext = true"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    bare = host.strip("[]").partition("%")[0]
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:  # another name, which may have any address
        return False
