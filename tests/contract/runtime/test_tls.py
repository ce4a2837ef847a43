"""TLS and mutual TLS by setting, with certificates made here."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.wrappers_pb2 import StringValue
from memgpt_runtime import probe
from memgpt_runtime.channel import open_channel
from memgpt_runtime.config import ConfigError
from memgpt_runtime.server import StartError
from memgpt_runtime.tls import channel_credentials

from tests.contract.runtime.probe import PREFIX, Probe, Start


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


async def _call(address: str, credentials: grpc.ChannelCredentials | None) -> str:
    async with open_channel(address, credentials=credentials) as channel:
        call = channel.unary_unary(PREFIX + "Unary", StringValue.SerializeToString, StringValue.FromString)
        text: str = (await call(StringValue(value="x"), timeout=10)).value
        return text


async def test_tls(start: Start, files: tuple[Path, Path]) -> None:
    cert, key = files
    async with start(Probe(str).add_to, tls_cert=cert, tls_key=key) as running:
        assert await _call(running.address, channel_credentials(cert)) == "x"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _call(running.address, None)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_mutual_tls_wants_a_certificate(start: Start, files: tuple[Path, Path]) -> None:
    cert, key = files
    async with start(Probe(str).add_to, tls_cert=cert, tls_key=key, tls_client_ca=cert) as running:
        assert await _call(running.address, channel_credentials(cert, cert, key)) == "x"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _call(running.address, channel_credentials(cert))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_probe_of_a_container_speaks_tls(start: Start, files: tuple[Path, Path]) -> None:
    cert, key = files
    async with start(Probe(str).add_to, tls_cert=cert, tls_key=key, tls_client_ca=cert) as running:
        well = [running.address, "--tls-ca", str(cert), "--tls-cert", str(cert), "--tls-key", str(key)]
        assert await asyncio.to_thread(probe.main, well) == 0
        assert await asyncio.to_thread(probe.main, [running.address, "--tls-ca", str(cert)]) == 1
        assert await asyncio.to_thread(probe.main, [running.address]) == 1


async def test_unusable_files_are_named(start: Start, files: tuple[Path, Path], tmp_path: Path) -> None:
    cert, _ = files
    other = tmp_path / "other.pem"
    other.write_text("no PEM")
    with pytest.raises(ConfigError, match=r"server\.tls_key: .*other\.pem is not a PEM file"):
        async with start(tls_cert=cert, tls_key=other):
            pass
    other.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(StartError, match=r"certificate or key was refused; check server\.tls_cert and server\.tls_key"):
        async with start(tls_cert=cert, tls_key=other):
            pass
