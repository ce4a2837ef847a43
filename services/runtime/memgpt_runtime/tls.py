"""Credentials of servers and channels from PEM files, which are read again when they change.

Certificates of a mesh or of cert-manager are valid for hours or days: a server reads renewed files at the next
handshake, and a channel reconnects with them (`reloading_channel`). Files that do not match, as while they are being
replaced one by one, are ignored until they do.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
from memgpt.config import ConfigError, MemoryClientSection

from memgpt_runtime.logs import get_logger

_log = get_logger(__name__)

# Only these: OpenSSL's own reader refuses comments beyond ASCII.
_BLOCK = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----.*?-----END [A-Z0-9 ]+-----", re.DOTALL)
_Fingerprint = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of one side of a connection.

    Attributes:
        ca: The authority of the other side's certificate; None for gRPC's own list, or to ask for no certificate.
        cert: This side's certificate chain, if it presents one.
        key: Its private key, without a passphrase.
        prefix: Beginning of the settings' names, for errors: ``agent.memory_tls`` for ``agent.memory_tls_ca``.
        ca_setting: Name of the setting of `ca`, if it is not `prefix` and ``_ca``.
    """

    ca: Path | None
    cert: Path | None = None
    key: Path | None = None
    prefix: str = "tls"
    ca_setting: str = ""

    def load(self) -> TlsMaterial:
        """Read the files.

        Raises:
            ConfigError: A file cannot be read or used, or the key does not belong to the certificate.
        """
        fingerprint = self.fingerprint()
        ca_setting = self.ca_setting or f"{self.prefix}_ca"
        material = TlsMaterial(
            roots=_read(self.ca, ca_setting) if self.ca else None,
            chain=_read(self.cert, f"{self.prefix}_cert") if self.cert else None,
            key=_read(self.key, f"{self.prefix}_key") if self.key else None,
            fingerprint=fingerprint,
        )
        # gRPC accepts unusable files, and then every connection fails without a reason.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if material.roots is not None:
            try:
                context.load_verify_locations(cadata=b"\n".join(_BLOCK.findall(material.roots)).decode("ascii"))
            except (ssl.SSLError, ValueError, TypeError) as error:
                raise ConfigError(f"{ca_setting}: {self.ca} contains no usable certificate") from error
        if self.cert and self.key:
            try:
                # With an empty password, a key with a passphrase fails instead of prompting at the terminal.
                context.load_cert_chain(self.cert.expanduser(), self.key.expanduser(), password="")
            except (OSError, ValueError) as error:  # SSLError is an OSError
                raise ConfigError(
                    f"{self.prefix}_key: {self.key} is not the private key of {self.cert}, has a passphrase, or one of "
                    "them is damaged"
                ) from error
        return material

    def fingerprint(self) -> _Fingerprint:
        """Return a value that changes when a file is replaced or rewritten; empty for a file that is missing now."""
        return tuple(_fingerprint(path) for path in (self.ca, self.cert, self.key) if path is not None)


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """Contents of PEM files.

    Attributes:
        roots: The authority of the other side.
        chain: This side's certificate chain.
        key: Its private key.
        fingerprint: `TlsFiles.fingerprint` at the time when the files were read.
    """

    roots: bytes | None
    chain: bytes | None
    key: bytes | None
    fingerprint: _Fingerprint

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return credentials for a channel."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.roots, private_key=self.key, certificate_chain=self.chain
        )

    def server_configuration(self) -> grpc.ServerCertificateConfiguration:
        """Return the certificate configuration for a server."""
        assert self.chain is not None  # noqa: S101 - a server has a certificate
        assert self.key is not None  # noqa: S101
        return grpc.ssl_server_certificate_configuration([(self.key, self.chain)], root_certificates=self.roots)


class TlsReloader:
    """Reads PEM files again when they change."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files.

        Raises:
            ConfigError: See `TlsFiles.load`.
        """
        self._files = files
        self._seen = files.fingerprint()
        self.material = files.load()

    def reload(self) -> bool:
        """Read the files if they changed. Returns whether there is new material; unusable files are skipped."""
        fingerprint = self._files.fingerprint()
        if fingerprint == self._seen:
            return False
        self._seen = fingerprint
        try:
            self.material = self._files.load()
        except ConfigError as error:
            _log.warning("tls_reload_failed", error=str(error))
            return False
        _log.info("tls_reloaded", prefix=self._files.prefix)
        return True


def server_credentials(cert: Path, key: Path, client_ca: Path | None) -> grpc.ServerCredentials:
    """Return credentials for a server; with `client_ca`, clients must present a certificate of that authority.

    The files are read again at the first handshake after they changed.

    Raises:
        ConfigError: A file cannot be read or used, or the key does not belong to the certificate.
    """
    reloader = TlsReloader(TlsFiles(client_ca, cert, key, prefix="server.tls", ca_setting="server.tls_client_ca"))

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        return reloader.material.server_configuration() if reloader.reload() else None

    return grpc.dynamic_ssl_server_credentials(
        reloader.material.server_configuration(),
        fetch,  # type: ignore[arg-type]  # None, which the stubs omit, keeps the configuration
        require_client_authentication=client_ca is not None,
    )


def channel_credentials(
    ca: Path | None, cert: Path | None = None, key: Path | None = None, *, prefix: str = "tls"
) -> grpc.ChannelCredentials:
    """Return credentials for a channel.

    Args:
        ca: The authority of the server's certificate; None for those that gRPC trusts by itself.
        cert: The client's own certificate chain, if the server asks for one.
        key: Its private key, without a passphrase.
        prefix: Beginning of the settings' names, for errors: ``agent.memory_tls`` for ``agent.memory_tls_ca``.

    Raises:
        ConfigError: A file cannot be read or used, or the key does not belong to the certificate.
    """
    return TlsFiles(ca, cert, key, prefix).load().channel_credentials()


def memory_tls(settings: MemoryClientSection, section: str) -> TlsFiles | None:
    """Return the files for TLS to Memory, as a service's settings say; None for plaintext.

    Args:
        settings: The service's own section.
        section: Its name, for errors.
    """
    if not settings.memory_tls:
        return None
    return TlsFiles(
        settings.memory_tls_ca, settings.memory_tls_cert, settings.memory_tls_key, prefix=f"{section}.memory_tls"
    )


def _fingerprint(path: Path) -> tuple[int, int, int]:
    try:
        found = path.expanduser().stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _read(path: Path, setting: str) -> bytes:
    try:
        data = path.expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting}: cannot read {path}: {error.strerror}") from error
    if b"-----BEGIN " not in data:
        raise ConfigError(f"{setting}: {path} is not a PEM file")
    return data
