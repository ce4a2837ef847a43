"""TLS and mutual TLS by setting, with certificates made here."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from google.protobuf.wrappers_pb2 import StringValue
from memgpt.common.v1 import permission_pb2
from memgpt.config import ConfigError
from memgpt_runtime import probe, reloading_channel
from memgpt_runtime.channel import open_channel
from memgpt_runtime.health import Readiness
from memgpt_runtime.health_watcher import HealthWatcher
from memgpt_runtime.principal import CredentialKind, Principal, Role
from memgpt_runtime.reloading_channel import ReloadingChannel
from memgpt_runtime.status import from_rpc_error
from memgpt_runtime.tls import TlsFiles, TlsReloader, channel_credentials

from tests.contract.runtime.probe import PREFIX, Probe, Running, Start
from tests.support.certificates import Authority, Certificate
from tests.support.waiting import until


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def files(authority: Authority) -> Certificate:
    return authority.issue("server")


async def _call(address: str, credentials: grpc.ChannelCredentials | None) -> str:
    async with open_channel(address, credentials=credentials) as channel:
        call = channel.unary_unary(PREFIX + "Unary", StringValue.SerializeToString, StringValue.FromString)
        text: str = (await call(StringValue(value="x"), timeout=60)).value
        return text


async def test_tls(start: Start, authority: Authority, files: Certificate) -> None:
    async with start(Probe(str).add_to, tls_cert=files.cert, tls_key=files.key) as running:
        assert await _call(running.address, channel_credentials(authority.ca)) == "x"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _call(running.address, None)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_mutual_tls_wants_a_certificate(start: Start, authority: Authority, files: Certificate) -> None:
    client = authority.issue("client")
    async with start(Probe(str).add_to, tls_cert=files.cert, tls_key=files.key, tls_client_ca=authority.ca) as running:
        assert await _call(running.address, channel_credentials(authority.ca, client.cert, client.key)) == "x"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _call(running.address, channel_credentials(authority.ca))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_certificates_of_the_authority_are_mapped_by_their_names_and_no_others_connect(
    start: Start, authority: Authority, files: Certificate, tmp_path: Path
) -> None:
    service = Probe(str)
    entries = ("spiffe://example.org/ns/app/* acme user", "db.example.org globex reader", "batch acme service")
    stranger = Authority(tmp_path / "other")
    app = "spiffe://example.org/ns/app/web"
    async with start(
        service.add_to,
        tls_cert=files.cert,
        tls_key=files.key,
        tls_client_ca=authority.ca,
        certificates=entries,
        permission=permission_pb2.PERMISSION_READ,
    ) as running:

        async def call(certificate: Certificate) -> Principal:
            await _call(running.address, channel_credentials(authority.ca, certificate.cert, certificate.key))
            return service.requests[-1].principal

        for certificate, expected in (
            (authority.issue("web", uri=app), ("acme", Role.USER, app)),
            (authority.issue("db", dns="db.example.org"), ("globex", Role.READER, "db.example.org")),
            (authority.issue("batch"), ("acme", Role.SERVICE, "batch")),
        ):
            found = await call(certificate)
            assert (found.tenant, found.role, found.credential_id) == expected
            assert found.kind is CredentialKind.CERTIFICATE
        for unmapped in ("spiffe://example.org/ns/app", "spiffe://example.org.evil/ns/app/web", f"x{app}"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(authority.issue("any", uri=unmapped))
            assert from_rpc_error(caught.value).reason == "CREDENTIAL_UNKNOWN"
        calls = len(service.requests)
        for refused in (stranger.issue("any", uri=app), authority.issue("late", uri=app, seconds=-60)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(refused)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, "the handshake fails"
        assert len(service.requests) == calls


@pytest.mark.parametrize("role", ["user", "service"])
async def test_a_connection_outlives_its_certificate_but_calls_do_not(
    start: Start, authority: Authority, files: Certificate, role: str
) -> None:
    """Streams of services go on: these connect again with a renewed certificate, and finish their calls."""
    service = Probe(lambda _text: service.wait())
    settings = {"tls_cert": files.cert, "tls_key": files.key, "tls_client_ca": authority.ca}
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(
            start(service.add_to, **settings, certificates=(f"client acme {role}",))
        )
        client = authority.issue("client", seconds=5)  # once the server is there: a loaded machine is slow to start one
        credentials = channel_credentials(authority.ca, client.cert, client.key)
        channel = await stack.enter_async_context(open_channel(running.address, credentials=credentials))
        connected = Running(running.server, channel, running.app)
        stream = connected.server_stream("x")
        assert (await stream.read()).value == "first"
        if role == "user":
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.read()
            assert from_rpc_error(caught.value).reason == "CREDENTIAL_EXPIRED"
        else:
            expires = x509.load_pem_x509_certificate(client.cert.read_bytes()).not_valid_after_utc
            await until(lambda: datetime.now(UTC) > expires)
            service.release.set()
            assert (await stream.read()).value == "released"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await connected.unary("x")
        assert from_rpc_error(caught.value).reason == "CREDENTIAL_EXPIRED"
        assert "certificate has expired" in str(caught.value.details())


async def test_the_probe_of_a_container_speaks_tls(start: Start, authority: Authority, files: Certificate) -> None:
    async with start(Probe(str).add_to, tls_cert=files.cert, tls_key=files.key, tls_client_ca=authority.ca) as running:
        well = [
            running.address,
            "--tls-ca",
            str(authority.ca),
            "--tls-cert",
            str(files.cert),
            "--tls-key",
            str(files.key),
        ]
        assert await asyncio.to_thread(probe.main, well) == 0
        assert await asyncio.to_thread(probe.main, [running.address, "--tls-ca", str(authority.ca)]) == 1
        assert await asyncio.to_thread(probe.main, [running.address]) == 1


async def test_unusable_files_are_named(start: Start, files: Certificate, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_text("no PEM")
    with pytest.raises(ConfigError, match=r"server\.tls_key: .*other\.pem is not a PEM file"):
        async with start(tls_cert=files.cert, tls_key=other):
            pass
    other.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(ConfigError, match=r"server\.tls_key: .*other\.pem is not the private key of .*server\.pem"):
        async with start(tls_cert=files.cert, tls_key=other):
            pass


def test_files_of_a_client_are_checked_before_they_are_used(authority: Authority, tmp_path: Path) -> None:
    one, two = authority.issue("one"), authority.issue("two")
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(ConfigError, match=r"agent\.memory_tls_ca: .*damaged\.pem contains no usable certificate"):
        channel_credentials(damaged, prefix="agent.memory_tls")
    with pytest.raises(ConfigError, match=r"tls_key: .*two\.key is not the private key of .*one\.pem"):
        channel_credentials(authority.ca, one.cert, two.key)
    secret = tmp_path / "secret.key"
    key = serialization.load_pem_private_key(one.key.read_bytes(), None)
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    with pytest.raises(ConfigError, match=r"secret\.key .* has a passphrase"):
        channel_credentials(authority.ca, one.cert, secret)


async def test_the_file_of_an_authority_may_hold_comments(
    start: Start, authority: Authority, files: Certificate
) -> None:
    authority.ca.write_bytes("# Zertifizierungsstelle für Köln\n".encode() + authority.ca.read_bytes())
    async with start(Probe(str).add_to, tls_cert=files.cert, tls_key=files.key) as running:
        assert await _call(running.address, channel_credentials(authority.ca)) == "x"


@pytest.mark.parametrize(
    ("server", "client", "why"),
    [
        ("tls", "plain", "it closed the connection; it may require TLS or a client certificate"),
        ("plain", "tls", "it does not use TLS"),
        ("tls", "foreign", "its certificate is not signed by a trusted authority"),
        ("elsewhere", "tls", "its certificate is for another host name; see memory_tls_server_name"),
        ("mutual", "tls", "it closed the connection; it may require TLS or a client certificate"),
    ],
)
async def test_the_health_of_a_server_says_what_is_wrong_with_tls(
    start: Start, authority: Authority, files: Certificate, tmp_path: Path, server: str, client: str, why: str
) -> None:
    elsewhere = authority.issue("elsewhere", "192.0.2.1")
    settings: dict[str, dict[str, Path]] = {
        "plain": {},
        "tls": {"tls_cert": files.cert, "tls_key": files.key},
        "elsewhere": {"tls_cert": elsewhere.cert, "tls_key": elsewhere.key},
        "mutual": {"tls_cert": files.cert, "tls_key": files.key, "tls_client_ca": authority.ca},
    }
    credentials = {
        "plain": None,
        "tls": channel_credentials(authority.ca),
        "foreign": channel_credentials(Authority(tmp_path, "foreign").ca),
    }
    readiness = Readiness()
    async with (
        start(Probe(str).add_to, **settings[server]) as running,
        open_channel(running.address, credentials=credentials[client]) as channel,
        HealthWatcher(channel, "memory", readiness),
    ):
        while "cannot be reached" not in readiness.reasons.get("memory", ""):
            await readiness.change.wait()
    assert readiness.reasons["memory"] == f"memory cannot be reached: {why}"


async def test_health_is_followed_after_a_renewal_has_closed_the_channel(
    start: Start, authority: Authority, files: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading_channel, "_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(reloading_channel, "_DRAIN_SECONDS", 0.0)
    readiness = Readiness()
    async with start(Probe(str).add_to, tls_cert=files.cert, tls_key=files.key) as running:
        channel = ReloadingChannel(
            TlsReloader(TlsFiles(authority.ca)),
            lambda credentials: grpc.aio.secure_channel(running.address, credentials),
        )
        async with channel, HealthWatcher(channel, "memory", readiness):
            await readiness.wait_ready()
            authority.ca.write_bytes(authority.ca.read_bytes() + b"\n")
            channel.current()
            await asyncio.gather(*channel._closing)
            running.app.readiness.set("milvus", "Milvus cannot be reached")
            async with asyncio.timeout(60):
                while readiness.reasons.get("memory") != "memory is not ready":
                    await readiness.change.wait()
