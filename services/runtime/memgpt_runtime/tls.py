"""Credentials of servers and channels from PEM files."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from memgpt_runtime.config import ConfigError, MemoryClientSection


def server_credentials(cert: Path, key: Path, client_ca: Path | None) -> grpc.ServerCredentials:
    """Credentials for a server; with `client_ca` clients must show a certificate of that authority.

    Raises:
        ConfigError: A file cannot be read, or holds no PEM.
    """
    pair = (_read(key, "server.tls_key"), _read(cert, "server.tls_cert"))
    ca = _read(client_ca, "server.tls_client_ca") if client_ca else None
    return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)


def channel_credentials(
    ca: Path | None, cert: Path | None = None, key: Path | None = None, *, prefix: str = "tls"
) -> grpc.ChannelCredentials:
    """Credentials for a channel.

    Args:
        ca: The authority of the server's certificate; None for those that gRPC trusts by itself.
        cert: The client's own certificate chain, where the server asks for one.
        key: Its private key, without a passphrase.
        prefix: What the settings' names begin with, for errors: ``agent.memory_tls`` for ``agent.memory_tls_ca``.

    Raises:
        ConfigError: A file cannot be read or used, or the key is not the certificate's.
    """
    roots = _read(ca, f"{prefix}_ca") if ca else None
    chain = _read(cert, f"{prefix}_cert") if cert else None
    private = _read(key, f"{prefix}_key") if key else None
    # gRPC takes what it cannot use, and every connection fails without a word of why.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if roots is not None:
        try:
            context.load_verify_locations(cadata=roots.decode("ascii", "replace"))
        except ssl.SSLError as error:
            raise ConfigError(f"{prefix}_ca: {ca} holds no certificate that can be used") from error
    if cert and key:
        try:
            # Empty, or a key with a passphrase would ask for it at the terminal.
            context.load_cert_chain(cert.expanduser(), key.expanduser(), password="")
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                f"{prefix}_key: {key} is not the private key of {cert}, has a passphrase, or one of them is damaged"
            ) from error
    return grpc.ssl_channel_credentials(root_certificates=roots, private_key=private, certificate_chain=chain)


def memory_credentials(settings: MemoryClientSection, section: str) -> grpc.ChannelCredentials | None:
    """What a service's settings say of TLS to Memory; None for plaintext.

    Args:
        settings: The service's own section.
        section: Its name, for errors.

    Raises:
        ConfigError: See `channel_credentials`.
    """
    if not settings.memory_tls:
        return None
    return channel_credentials(
        settings.memory_tls_ca, settings.memory_tls_cert, settings.memory_tls_key, prefix=f"{section}.memory_tls"
    )


def _read(path: Path, setting: str) -> bytes:
    try:
        data = path.expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting}: cannot read {path}: {error.strerror}") from error
    if b"-----BEGIN " not in data:
        raise ConfigError(f"{setting}: {path} is not a PEM file")
    return data
