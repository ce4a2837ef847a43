"""Certificates for tests, generated on demand so that the repository has no keys and no files that expire."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True)
class Certificate:
    """The PEM files of a certificate.

    Attributes:
        cert: The certificate.
        key: Its private key, without a passphrase.
    """

    cert: Path
    key: Path


class Authority:
    """An authority that signs certificates for 127.0.0.1.

    Attributes:
        ca: PEM file with its own certificate.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        """Create the authority; its files go into `folder`, which need not exist."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        certificate = self._builder(self._name, self._key).add_extension(constraints, critical=True)
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(self._sign(certificate))

    def issue(
        self, name: str, address: str = "127.0.0.1", *, dns: str = "", uri: str = "", seconds: float = 3600
    ) -> Certificate:
        """Issue a certificate for an address or another name, valid for servers and clients, and for some time."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address))]
        if dns:
            alternative = [x509.DNSName(dns)]
        if uri:
            alternative = [x509.UniformResourceIdentifier(uri)]
        names = x509.SubjectAlternativeName(alternative)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        certificate.cert.write_bytes(
            self._sign(self._builder(subject, key, seconds).add_extension(names, critical=False))
        )
        certificate.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, seconds: float = 3600
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(seconds=seconds))
        )

    def _sign(self, builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
