"""TLS credentials of a channel."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
from memgpt.client.errors import CredentialsError


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS configuration of a client.

    Attributes:
        ca: PEM file of the authority that signed the servers' certificates; None for gRPC's default roots.
        cert: PEM file of this client's certificate chain, if the servers require one.
        key: PEM file of its private key, without a passphrase.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files, and return gRPC channel credentials.

        Raises:
            CredentialsError: A file cannot be read or used, or the key does not belong to the certificate.
        """
        roots = _read(self.ca, "tls_ca")
        chain, private = _read(self.cert, "tls_cert"), _read(self.key, "tls_key")
        # gRPC accepts files that it cannot use; every connection then fails without an explanation.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if roots is not None:
            try:
                context.load_verify_locations(cadata=roots.decode("ascii", "replace"))
            except ssl.SSLError as error:
                raise CredentialsError(f"tls_ca: {self.ca} contains no usable certificate") from error
        if self.cert and self.key:
            try:
                # The empty password keeps OpenSSL from asking for one at the terminal.
                context.load_cert_chain(self.cert.expanduser(), self.key.expanduser(), password="")
            except (ssl.SSLError, ValueError) as error:
                raise CredentialsError(
                    f"tls_key: {self.key} is not the private key of {self.cert}, has a passphrase,"
                    " or one of them is damaged"
                ) from error
        return grpc.ssl_channel_credentials(root_certificates=roots, private_key=private, certificate_chain=chain)


def _read(path: Path | None, setting: str) -> bytes | None:
    if path is None:
        return None
    try:
        data = path.expanduser().read_bytes()
    except OSError as error:
        raise CredentialsError(f"{setting}: cannot read {path}: {error.strerror}") from error
    if b"-----BEGIN " not in data:
        raise CredentialsError(f"{setting}: {path} is not a PEM file")
    return data
