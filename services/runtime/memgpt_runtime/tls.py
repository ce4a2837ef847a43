"""Credentials of servers and channels from PEM files."""

from __future__ import annotations

from pathlib import Path

import grpc

from memgpt_runtime.config import ConfigError


def server_credentials(cert: Path, key: Path, client_ca: Path | None) -> grpc.ServerCredentials:
    """Credentials for a server; with `client_ca` clients must show a certificate of that authority.

    Raises:
        ConfigError: A file cannot be read, or holds no PEM.
    """
    pair = (_read(key, "server.tls_key"), _read(cert, "server.tls_cert"))
    ca = _read(client_ca, "server.tls_client_ca") if client_ca else None
    return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)


def channel_credentials(ca: Path | None, cert: Path | None = None, key: Path | None = None) -> grpc.ChannelCredentials:
    """Credentials for a channel.

    Args:
        ca: The authority of the server's certificate; None for those that gRPC trusts by itself.
        cert: The client's own certificate chain, where the server asks for one.
        key: Its private key.

    Raises:
        ConfigError: A file cannot be read, or holds no PEM.
    """
    return grpc.ssl_channel_credentials(
        root_certificates=_read(ca, "tls_ca") if ca else None,
        private_key=_read(key, "tls_key") if key else None,
        certificate_chain=_read(cert, "tls_cert") if cert else None,
    )


def _read(path: Path, setting: str) -> bytes:
    try:
        data = path.expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting}: cannot read {path}: {error.strerror}") from error
    if b"-----BEGIN " not in data:
        raise ConfigError(f"{setting}: {path} is not a PEM file")
    return data
