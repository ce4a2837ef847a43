"""Behavior behind proxies, meshes and load balancers: connections, streams and bursts."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from memgpt.client import channel as client_channel
from memgpt.config import Config, MemoryClientSection, ServerSettings
from memgpt_runtime import channel as channel_module
from memgpt_runtime import reloading_channel
from memgpt_runtime.channel import open_channel, open_memory_channel
from memgpt_runtime.errors import PermissionDenied, Reason, ServiceError, Unavailable
from memgpt_runtime.health import Readiness
from memgpt_runtime.health_watcher import HealthWatcher
from memgpt_runtime.server import http_endpoint, server_options
from memgpt_runtime.status import DETAILS_KEY, from_rpc_error

from tests.contract.runtime.probe import PREFIX, Probe, Running, Start
from tests.support.certificates import Authority, Certificate
from tests.support.dns import DnsServer
from tests.support.envoy import Envoy
from tests.support.ports import free_port
from tests.support.slow_proxy import slow_proxy
from tests.support.waiting import wait_until

UNARY = (PREFIX + "Unary", StringValue.SerializeToString, StringValue.FromString)
SERVER_STREAM = (PREFIX + "ServerStream", StringValue.SerializeToString, StringValue.FromString)


async def unary(channel: grpc.aio.Channel, text: str = "x", **arguments: Any) -> str:
    try:
        response: StringValue = await channel.unary_unary(*UNARY)(StringValue(value=text), **arguments)
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    return response.value


def is_ours(error: grpc.aio.AioRpcError) -> bool:
    return any(key == DETAILS_KEY for key, _ in error.trailing_metadata() or ())


async def test_a_connection_that_takes_seconds_is_made(start: Start) -> None:
    async with (
        start(Probe(str).add_to) as running,
        slow_proxy(running.address, 2.6) as address,
        open_channel(address) as channel,
    ):
        assert await unary(channel, wait_for_ready=True, timeout=60) == "x"


async def test_a_new_replica_gets_calls_of_clients_that_are_connected(start: Start, unused_tcp_port: int) -> None:
    """Servers end their connections after a while; clients then ask DNS again, and spread their calls."""
    first, second = Probe(lambda _: "first"), Probe(lambda _: "second")
    settings: dict[str, Any] = {"service_port": unused_tcp_port, "max_connection_age": 1.0, "drain_grace": 0.1}
    with DnsServer("127.0.0.1") as dns:
        async with (
            start(first.add_to, service_host="127.0.0.1", **settings),
            open_channel(f"dns://{dns.address}/agents.test:{unused_tcp_port}") as channel,
        ):
            assert {await unary(channel, timeout=60) for _ in range(10)} == {"first"}
            async with start(second.add_to, service_host="127.0.0.2", **settings):
                dns.addresses.append("127.0.0.2")
                async with asyncio.timeout(60):
                    for each in ("second", "first"):
                        while await unary(channel, timeout=60) != each:
                            pass  # a client that works on


async def test_the_environments_proxy_is_not_for_calls_between_services(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with start(Probe(str).add_to) as running, open_channel(f"localhost:{running.server.port}") as channel:
        assert await unary(channel, timeout=60) == "x"


@asynccontextmanager
async def stopped_server() -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """The address of a server in a process of its own, and a function that stops it as a hang does."""
    code = "import asyncio, grpc\n" + (
        "async def main():\n"
        "    server = grpc.aio.server()\n"
        "    print(server.add_insecure_port('127.0.0.1:0'), flush=True)\n"
        "    await server.start()\n"
        "    await server.wait_for_termination()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = await process.stdout.readline()
        yield f"127.0.0.1:{int(port)}", lambda: process.send_signal(signal.SIGSTOP)
    finally:
        process.kill()
        await process.communicate()


def pinging_soon(options: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return list((dict(options) | {"grpc.keepalive_time_ms": 1_000}).items())


@pytest.mark.parametrize("caller", ["service", "client"])
async def test_a_server_that_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch, caller: str) -> None:
    """Its kernel still acknowledges what is sent, as a proxy would."""
    module: Any = channel_module if caller == "service" else client_channel
    options = module.channel_options
    monkeypatch.setattr(module, "channel_options", lambda *a, **k: pinging_soon(options(*a, **k)))
    async with stopped_server() as (address, stop):
        opened = open_channel(address) if caller == "service" else client_channel.open_async_channel(address)
        async with opened as channel:
            with pytest.raises(ServiceError):
                await unary(channel, wait_for_ready=True)  # connected: it does not know the method
            stop()
            with pytest.raises(Unavailable):
                async with asyncio.timeout(60):
                    await unary(channel, timeout=60)


async def test_a_client_that_hangs_is_dropped(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    soon = "memgpt_runtime.server.start.server_options"
    monkeypatch.setattr(soon, lambda settings: pinging_soon(server_options(settings)))
    probe = Probe(lambda _: probe.wait())
    code = "import grpc, sys\ncall = grpc.insecure_channel(sys.argv[1]).unary_unary(sys.argv[2])(b'')\n"
    async with start(probe.add_to) as running:
        client = await asyncio.create_subprocess_exec(sys.executable, "-c", code, running.address, PREFIX + "Unary")
        try:
            await probe.entered.wait()
            client.send_signal(signal.SIGSTOP)
            async with asyncio.timeout(60):  # 60 s without ping_timeout
                await probe.ended.wait()
        finally:
            client.kill()
            await client.wait()


async def test_clients_may_ping_every_five_seconds(start: Start) -> None:
    probe = Probe(lambda _: probe.wait())
    options = [("grpc.keepalive_time_ms", 5_000), ("grpc.http2.max_pings_without_data", 0)]
    async with start(probe.add_to) as running, grpc.aio.insecure_channel(running.address, options=options) as channel:
        call = asyncio.ensure_future(unary(channel, timeout=60))
        await probe.entered.wait()
        await asyncio.wait({call}, timeout=17)  # three pings; with the third, a stricter server hangs up
        probe.release.set()
        assert await call == "released"


async def test_a_burst_beyond_what_grpc_lets_wait_gets_reasons(start: Start) -> None:
    ends: Counter[str] = Counter()

    async def call(running: Running) -> None:
        try:
            async for _ in running.server_stream("x"):
                pass
            ends["OK"] += 1
        except grpc.aio.AioRpcError as error:
            ends[error.code().name if is_ours(error) else f"bare {error.code().name}"] += 1

    async with start(Probe(str).add_to, max_concurrent_streams=100) as running:
        await asyncio.gather(*(call(running) for _ in range(2000)))
    assert set(ends) <= {"OK", "RESOURCE_EXHAUSTED"}, ends
    assert ends["OK"] >= 100


async def test_streams_that_mostly_wait_do_not_count_against_the_limit(start: Start) -> None:
    probe = Probe(lambda text: probe.wait() if text == "wait" else text)
    unlimited = frozenset({PREFIX + "ServerStream"})
    async with start(probe.add_to, max_concurrent_streams=2, unlimited=unlimited) as running:
        waiting = [running.server_stream("wait") for _ in range(10)]
        assert {(await call.read()).value for call in waiting} == {"first"}
        assert await running.call("bidi_stream", "x") == ["x"]
        probe.release.set()
        assert {(await call.read()).value for call in waiting} == {"released"}


async def test_calls_that_come_during_a_drain_are_refused_with_a_reason(start: Start) -> None:
    """A client that honors RetryInfo sees no bare CANCELLED; without the refusal most calls ended that way."""
    ends: Counter[str] = Counter()
    busy = asyncio.Event()

    async def act(_text: str) -> str:
        await asyncio.sleep(0.01)  # a call that takes time
        return ""

    async def client(address: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            method = channel.unary_unary(*UNARY)
            while True:
                try:
                    await method(StringValue())
                    ends["OK"] += 1
                    if ends["OK"] >= 100:
                        busy.set()
                except grpc.aio.AioRpcError as error:
                    ends[error.code().name if is_ours(error) else f"bare {error.code().name}"] += 1
                    if not is_ours(error):
                        return
                    await asyncio.sleep(from_rpc_error(error).retry_after or 0)

    async with start(Probe(act).add_to, max_concurrent_calls=1000) as running:
        clients = [asyncio.create_task(client(running.address)) for _ in range(60)]
        await busy.wait()
        await running.server.drain("test", pause=0.01)
        await asyncio.wait(clients)
    assert ends["UNAVAILABLE"]
    assert set(ends) <= {"OK", "UNAVAILABLE", "bare UNAVAILABLE"}, ends


async def test_a_stream_that_a_proxy_ends_is_a_broken_connection(start: Start, tmp_path: Path) -> None:
    probe = Probe(lambda _: probe.wait())
    async with start(probe.add_to) as running:
        with Envoy(tmp_path, running.address, idle="1s") as envoy:
            async with open_channel(envoy.address) as channel:
                call: Any = channel.unary_stream(*SERVER_STREAM)(StringValue())
                assert (await call.read()).value == "first"
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call.read()
    assert caught.value.code() is grpc.StatusCode.INTERNAL  # as it arrives
    error = from_rpc_error(caught.value)
    assert isinstance(error, Unavailable)
    assert error.reason == Reason.SERVICE_UNAVAILABLE


async def test_a_silent_stream_lives_on_behind_a_proxy(start: Start, tmp_path: Path) -> None:
    probe = Probe(lambda _: probe.wait())
    alive = {PREFIX + "ServerStream": StringValue(value="alive")}
    async with start(probe.add_to, keep_alive=alive, keep_alive_seconds=0.2) as running:
        with Envoy(tmp_path, running.address, idle="3s") as envoy:
            async with open_channel(envoy.address) as channel:
                call: Any = channel.unary_stream(*SERVER_STREAM)(StringValue())
                seen = [(await call.read()).value for _ in range(25)]  # well over the proxy's idle timeout
                assert seen == ["first", *["alive"] * 24]
                probe.release.set()
                rest = [response.value async for response in call]
    assert rest[-1] == "released"


async def test_a_stream_with_signs_of_life_ends_as_without(start: Start) -> None:
    """Its handler is closed when the client leaves, and its errors arrive."""
    probe = Probe(lambda text: probe.wait() if text == "wait" else 1 / 0)
    alive = {PREFIX + "ServerStream": StringValue(value="alive")}
    async with start(probe.add_to, keep_alive=alive, keep_alive_seconds=0.05) as running:
        call = running.server_stream("wait")
        assert [(await call.read()).value for _ in range(3)] == ["first", "alive", "alive"]
        call.cancel()
        await probe.ended.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.call("server_stream", "fail")
    assert from_rpc_error(caught.value).reason == Reason.INTERNAL


async def test_a_health_watch_that_a_proxy_ends_is_no_outage(start: Start, tmp_path: Path) -> None:
    """The Agent stays ready while its watch of Memory is cut again and again."""
    readiness = Readiness()
    changes: list[dict[str, str]] = []

    async def record() -> None:
        while True:
            await readiness.change.wait()
            changes.append(readiness.reasons)

    async with start(Probe(str).add_to) as running:
        with Envoy(tmp_path, running.address, idle="0.5s") as envoy:
            async with open_channel(envoy.address) as channel, HealthWatcher(channel, "memory", readiness):
                await readiness.wait_ready()
                recording = asyncio.create_task(record())
                await asyncio.wait({recording}, timeout=2.5)
                recording.cancel()
    assert changes == []


async def test_liveness_does_not_depend_on_others(start: Start) -> None:
    async with start(Probe(str).add_to) as running:
        running.app.readiness.set("milvus", "Milvus cannot be reached")
        stub = health_pb2_grpc.HealthStub(running.channel)
        statuses = {
            service: (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status
            for service in ("", "liveness")
        }
    assert statuses == {
        "": health_pb2.HealthCheckResponse.NOT_SERVING,
        "liveness": health_pb2.HealthCheckResponse.SERVING,
    }


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_the_http_port_answers_its_own_paths_only(start: Start, unused_tcp_port: int) -> None:
    async with start(Probe(str).add_to, service_metrics_port=unused_tcp_port) as running:

        async def get(path: str) -> tuple[int, str]:
            return await asyncio.to_thread(fetch, f"http://127.0.0.1:{unused_tcp_port}{path}")

        assert (await get("/readyz"))[0] == 200
        running.app.readiness.set("milvus", "Milvus cannot be reached")
        paths = ("/livez", "/readyz", "/metrics", "/", "/other", "/metrics/x")
        assert {path: (await get(path))[0] for path in paths} == {
            "/livez": 200,
            "/readyz": 503,
            "/metrics": 200,
            "/": 404,
            "/other": 404,
            "/metrics/x": 404,
        }


async def test_a_server_that_hangs_is_not_live(
    start: Start, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_endpoint, "LIVE_SECONDS", 0.2)
    url = f"http://127.0.0.1:{unused_tcp_port}/livez"
    with ThreadPoolExecutor(1) as threads:
        async with start(Probe(str).add_to, service_metrics_port=unused_tcp_port):
            status, text = threads.submit(fetch, url).result(60)  # nothing else runs in this event loop until then
            assert (status, text) == (503, "the event loop does not respond\n")
            monkeypatch.setattr(http_endpoint, "LIVE_SECONDS", 60)  # a loaded machine is slow
            assert (await asyncio.to_thread(fetch, url))[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]"])
async def test_the_http_port_listens_on_both_families(start: Start, unused_tcp_port: int, host: str) -> None:
    async with start(Probe(str).add_to, service_metrics_port=unused_tcp_port, metrics_host=host):
        for address in ("127.0.0.1", "[::1]"):
            status, _ = await asyncio.to_thread(fetch, f"http://{address}:{unused_tcp_port}/livez")
            assert status == 200


async def test_a_load_balancer_that_resets_connections_leaves_no_traces(
    start: Start, unused_tcp_port: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some look only whether a port is open. Their connections are neither errors, nor held open."""

    def handling() -> bool:
        return any("process_request_thread" in thread.name for thread in threading.enumerate())

    address = ("127.0.0.1", unused_tcp_port)
    monkeypatch.setattr(http_endpoint._QuietHandler, "timeout", 0.2)
    async with start(Probe(str).add_to, service_metrics_port=unused_tcp_port):
        with socket.create_connection(address, 60) as idle:
            assert await asyncio.to_thread(idle.recv, 1) == b""
        await asyncio.to_thread(wait_until, lambda: not handling())
        monkeypatch.setattr(http_endpoint._QuietHandler, "timeout", 60)
        with socket.create_connection(address, 60) as reset:
            reset.sendall(b"GET /livez")
            await asyncio.to_thread(wait_until, handling)
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await asyncio.to_thread(wait_until, lambda: not handling())
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("service", ["memory", "loader", "agent"])
def test_sigterm_ends_a_process_that_is_still_importing(tmp_path: Path, service: str) -> None:
    """As process 1 of a container it would not die of a SIGTERM without a handler, and the kubelet would wait."""
    blocking = tmp_path / "grpc"
    blocking.mkdir()
    (blocking / "__init__.py").write_text(
        f"import pathlib, signal\npathlib.Path({str(tmp_path / 'importing')!r}).touch()\nsignal.pause()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-m", f"memgpt_{service}"], env=environment, stderr=subprocess.PIPE)
    while not (tmp_path / "importing").exists():
        assert process.poll() is None, process.communicate()
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


def replace(old: Certificate, new: Certificate) -> None:
    new.key.replace(old.key)
    new.cert.replace(old.cert)


async def test_a_server_shows_its_renewed_certificate(start: Start, authority: Authority) -> None:
    files = authority.issue("first")
    async with start(Probe(str).add_to, tls_cert=files.cert, tls_key=files.key) as running:

        async def shown() -> str:
            return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", running.server.port))

        first = files.cert.read_text()
        assert await shown() == first
        files.key.write_bytes(authority.issue("unrelated").key.read_bytes())  # half renewed
        assert await shown() == first
        replace(files, authority.issue("second"))
        assert await shown() == files.cert.read_text() != first


def memory_config(address: str, authority: Authority, client: Certificate, server_name: str = "") -> Any:
    section = MemoryClientSection(
        memory_address=address,
        memory_tls=True,
        memory_tls_ca=authority.ca,
        memory_tls_cert=client.cert,
        memory_tls_key=client.key,
        memory_tls_server_name=server_name,
    )
    return Config("agent", section, ServerSettings(), Path("/nonexistent"), None)


async def test_a_channel_reconnects_with_renewed_certificates(
    start: Start, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading_channel, "_CHECK_SECONDS", 0.0)
    server, client = authority.issue("server"), authority.issue("first")
    probe = Probe(lambda text: probe.wait() if text == "wait" else text)
    settings: dict[str, Any] = {"tls_cert": server.cert, "tls_key": server.key, "tls_client_ca": authority.ca}
    async with (
        start(probe.add_to, **settings, tls_client_names=("first", "second")) as running,
        open_memory_channel(memory_config(running.address, authority, client), ()) as channel,
    ):
        slow = asyncio.create_task(unary(channel, "wait"))
        await probe.entered.wait()
        replace(client, authority.issue("third"))
        with pytest.raises(PermissionDenied):
            await unary(channel)
        replace(client, authority.issue("second"))
        assert await unary(channel) == "x"
        probe.release.set()
        assert await slow == "released"  # a call in progress stays where it is


@pytest.mark.parametrize(
    ("allowed", "permitted"),
    [
        (("spiffe://cluster.local/ns/memgpt/sa/agent",), True),
        (("spiffe://cluster.local/ns/memgpt/*",), True),
        (("spiffe://cluster.local/ns/memgpt/sa/loader", "agent"), False),
        ((), True),
    ],
)
async def test_only_clients_with_an_allowed_name_may_call(
    start: Start, authority: Authority, allowed: tuple[str, ...], permitted: bool
) -> None:
    server = authority.issue("server")
    client = authority.issue("somebody", uri="spiffe://cluster.local/ns/memgpt/sa/agent")
    settings: dict[str, Any] = {"tls_cert": server.cert, "tls_key": server.key, "tls_client_ca": authority.ca}
    async with (
        start(Probe(str).add_to, **settings, tls_client_names=allowed) as running,
        open_memory_channel(memory_config(running.address, authority, client), ()) as channel,
    ):
        status = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert status.status == health_pb2.HealthCheckResponse.SERVING
        if permitted:
            assert await unary(channel) == "x"
        else:
            with pytest.raises(PermissionDenied, match="tls_client_names"):
                await unary(channel)


async def test_the_name_in_the_servers_certificate_can_be_set(start: Start, authority: Authority) -> None:
    files = authority.issue("memory", dns="memory.memgpt.svc")
    async with start(Probe(str).add_to, tls_cert=files.cert, tls_key=files.key) as running:
        async with open_memory_channel(memory_config(running.address, authority, files), ()) as channel:
            with pytest.raises(Unavailable):
                await unary(channel, timeout=60)
        config = memory_config(running.address, authority, files, "memory.memgpt.svc")
        async with open_memory_channel(config, ()) as channel:
            assert await unary(channel, timeout=60) == "x"
