"""Everything around a call: ids, deadlines, shedding, logs, metrics, health, reflection, drain."""

from __future__ import annotations

import asyncio
import io
import json
import time
import urllib.request
from typing import Any, NoReturn

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from memgpt_runtime import context, errors, logs, reasons
from memgpt_runtime.channel import open_channel
from memgpt_runtime.errors import Reason
from memgpt_runtime.health import Readiness
from memgpt_runtime.health_watcher import HealthWatcher
from memgpt_runtime.interceptors import PipelineInterceptor
from memgpt_runtime.server import StartError, server_options
from memgpt_runtime.status import from_rpc_error

from tests.contract.runtime.probe import KINDS, PREFIX, Probe, Running, Start

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def _health(running: Running, service: str = "") -> Any:
    stub = health_pb2_grpc.HealthStub(running.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def test_ids_and_principal_reach_the_handler_and_go_on_downstream(start: Start) -> None:
    below_probe = Probe(str)
    async with start(below_probe.add_to, trust_principal=True) as below, open_channel(below.address) as channel:

        async def forward(text: str) -> StringValue:
            call: Any = channel.unary_unary(
                PREFIX + "Unary",
                request_serializer=StringValue.SerializeToString,
                response_deserializer=StringValue.FromString,
            )
            answer: StringValue = await call(StringValue(value=text))
            return answer

        above_probe = Probe(forward)
        async with start(above_probe.add_to) as above:
            call = above.unary(
                "x", metadata=(("x-request-id", "id-7"), ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01")), timeout=9
            )
            assert (await call).value == "x"
            assert dict(await call.trailing_metadata())["x-request-id"] == "id-7"

    (upper,), (lower,) = above_probe.requests, below_probe.requests
    assert upper.request_id == lower.request_id == "id-7"
    assert upper.trace_id == lower.trace_id == TRACE
    assert upper.span_id != lower.span_id
    assert lower.trace_flags == "01"
    assert lower.deadline is not None
    assert upper.deadline is not None
    assert lower.deadline <= upper.deadline + 0.1


@pytest.mark.parametrize("kind", KINDS)
async def test_remaining_time_limits_a_downstream_call_of_any_kind(start: Start, kind: str) -> None:
    below_probe = Probe(str)
    begun = time.monotonic()
    async with start(below_probe.add_to) as below, open_channel(below.address) as channel:
        client = Running(below.server, channel, below.app)
        with context.background("test", timeout=20):
            await client.call(kind, "x")
            await client.call(kind, "x", timeout=10)
        await client.call(kind, "x")
    ended = time.monotonic()
    limited, own, free = (request.deadline for request in below_probe.requests)
    assert limited is not None
    assert own is not None
    assert free is not None
    # The server adds the time that remained to the time at which the call arrived. gRPC rounds up by milliseconds.
    assert begun + 20 <= limited <= ended + 20.1
    assert begun + 10 <= own <= ended + 10.1
    # The channel's own limit for unary calls, the server's for streams.
    assert free > begun + 50


async def test_a_principal_counts_where_callers_are_trusted(start: Start) -> None:
    probe = Probe(lambda _text: context.tenant())
    async with start(probe.add_to, trust_principal=True) as running:
        answer = await running.unary("x", metadata=(("x-memgpt-principal", "tenant=acme"),))
    assert answer.value == "acme"


async def test_a_principal_is_refused_where_callers_are_not_trusted(start: Start) -> None:
    probe = Probe(lambda _text: context.tenant())
    async with start(probe.add_to) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.unary("x", metadata=(("x-memgpt-principal", "tenant=acme"),))
        assert (await running.unary("x", metadata=(("x-memgpt-principal", "tenant=default"),))).value == "default"
    error = from_rpc_error(caught.value)
    assert (caught.value.code(), error.reason) == (grpc.StatusCode.PERMISSION_DENIED, Reason.PRINCIPAL_REFUSED)
    assert error.metadata["key"] == "x-memgpt-principal"
    assert "x-memgpt-principal" in error.message


async def test_a_server_with_an_undeclared_method_does_not_start(start: Start) -> None:
    with pytest.raises(StartError, match=r"memgpt\.test\.v1\.ProbeService has no contract"):
        async with start(Probe(str).add_to, permission=None):
            pass


async def test_malformed_principal_is_refused(start: Start) -> None:
    probe = Probe(str)
    async with start(probe.add_to, trust_principal=True) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.unary("x", metadata=(("x-memgpt-principal", "tenant=../other"),))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert from_rpc_error(caught.value).reason == Reason.CREDENTIAL_INVALID
    assert probe.requests == []


@pytest.mark.parametrize("kind", KINDS)
async def test_call_without_deadline_gets_the_servers(start: Start, kind: str) -> None:
    probe = Probe(lambda _text: probe.wait())
    async with start(probe.add_to, default_deadline=0.5, stream_deadline=0.5) as running, asyncio.timeout(60):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.call(kind, "x")
        await probe.ended.wait()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert from_rpc_error(caught.value).metadata == {"limit_seconds": "0.5"}


async def test_default_deadline_can_be_set_by_method_and_by_caller(start: Start) -> None:
    async def left(_text: str) -> str:
        return str(context.remaining())

    async with start(Probe(left).add_to, default_deadline=50, deadlines={PREFIX + "Unary": None}) as running:
        assert (await running.unary("x")).value == "None"
        assert 0 < float((await running.unary("x", timeout=5)).value) <= 5.1
        assert float((await running.call("server_stream", "x"))[1]) > 3000


async def test_clients_deadline_cancels_the_handler(start: Start) -> None:
    probe = Probe(lambda _text: probe.wait())
    async with start(probe.add_to) as running:
        timeout = 0.1
        while not probe.entered.is_set():  # on a busy machine, a short deadline passes before the handler begins
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.unary("x", timeout=timeout)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            timeout *= 2
        await probe.ended.wait()


@pytest.mark.parametrize("kind", ["unary", "server_stream"])
async def test_too_many_calls_are_shed_and_health_is_not(start: Start, kind: str) -> None:
    probe = Probe(lambda _text: probe.wait())
    async with start(probe.add_to, max_concurrent_calls=1, max_concurrent_streams=1) as running:
        first = asyncio.create_task(running.call(kind, "x"))
        await probe.entered.wait()

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.call(kind, "x")
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        shed = from_rpc_error(caught.value)
        assert (shed.reason, shed.metadata) == (Reason.OVERLOADED, {"limit": "1"})
        assert shed.retry_after is not None
        assert await _health(running) == SERVING
        assert "memgpt.test.v1.ProbeService" in await _reflected(running)

        probe.release.set()
        assert "released" in await first
        assert "released" in await running.call(kind, "x")


async def _reflected(running: Running) -> list[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
    return [service.name for service in answers[0].list_services_response.service]


async def test_reflection_is_a_setting(start: Start) -> None:
    async with start(Probe(str).add_to) as running:
        assert set(await _reflected(running)) >= {"memgpt.test.v1.ProbeService", "grpc.health.v1.Health"}
    async with start(Probe(str).add_to, reflection=False) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _reflected(running)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_follows_readiness_for_every_service(start: Start) -> None:
    async with start(Probe(str).add_to) as running:
        stub = health_pb2_grpc.HealthStub(running.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="memgpt.test.v1.ProbeService"))
        assert (await watch.read()).status == SERVING
        running.app.readiness.set("milvus", "gone")
        assert (await watch.read()).status == NOT_SERVING
        assert await _health(running) == NOT_SERVING
        assert (await running.unary("live")).value == "live"
        running.app.readiness.set("milvus", None)
        assert (await watch.read()).status == SERVING
        assert await _health(running, "memgpt.test.v1.ProbeService") == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _health(running, "no.such.Service")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch.cancel()


async def test_readiness_follows_the_health_of_another_server(start: Start) -> None:
    readiness = Readiness()

    async def until(ready: bool) -> None:
        while readiness.ready is not ready:
            await readiness.change.wait()

    async with start(Probe(str).add_to) as running:
        running.app.readiness.set("milvus", "starting")
        async with open_channel(running.address) as channel, HealthWatcher(channel, "memory", readiness):
            assert not readiness.ready
            while readiness.reasons != {"memory": "memory is not ready"}:
                await readiness.change.wait()
            running.app.readiness.set("milvus", None)
            await until(True)
            await running.server.drain("test")
            await until(False)


async def test_drain_lets_calls_finish_and_ends_watches(start: Start) -> None:
    probe = Probe(lambda _text: probe.wait())
    async with start(probe.add_to) as running:
        watch = health_pb2_grpc.HealthStub(running.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        call = asyncio.create_task(running.call("unary", "x"))
        await probe.entered.wait()
        drain = asyncio.create_task(running.server.drain("test"))
        assert (await watch.read()).status == NOT_SERVING
        assert await watch.read() is grpc.aio.EOF
        assert not drain.done()
        probe.release.set()
        assert await call == ["released"]
        await drain
        assert running.app.stopping.is_set()


@pytest.mark.parametrize("kind", KINDS)
async def test_drain_ends_calls_beyond_the_grace_with_unavailable(start: Start, kind: str) -> None:
    probe = Probe(lambda _text: probe.wait())
    async with start(probe.add_to, drain_grace=0.05) as running:
        call = asyncio.create_task(running.call(kind, "x"))
        await probe.entered.wait()
        await running.server.drain("test")
        assert probe.ended.is_set()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    error = from_rpc_error(caught.value)
    assert isinstance(error, errors.Unavailable)
    assert error.reason == Reason.SHUTTING_DOWN
    assert error.retry_after is not None


async def test_calls_during_the_pause_are_still_served(start: Start) -> None:
    async with start(Probe(str).add_to) as running:
        hurry = asyncio.Event()
        drain = asyncio.create_task(running.server.drain("test", pause=60, hurry=hurry))
        await running.app.stopping.wait()
        assert await _health(running) == NOT_SERVING
        assert (await running.unary("x")).value == "x"
        hurry.set()
        await drain


async def test_client_that_goes_away_cancels_the_handler_and_frees_its_place(start: Start) -> None:
    probe = Probe(lambda text: probe.wait() if text == "wait" else text)
    async with start(probe.add_to, max_concurrent_streams=1) as running:
        call = running.server_stream("wait")
        assert (await call.read()).value == "first"
        await probe.entered.wait()
        call.cancel()
        await probe.ended.wait()
        await asyncio.gather(*running.server.in_flight.tasks, return_exceptions=True)
        assert await running.call("server_stream", "x") == ["first", "x"]


async def test_metrics_have_the_ecosystems_names(start: Start, unused_tcp_port: int) -> None:
    def behavior(text: str) -> Any:
        if text == "bad":
            raise errors.NotFound(Reason.AGENT_NOT_FOUND, "no such agent")
        return probe.wait() if text == "wait" else text

    probe = Probe(behavior)
    async with start(probe.add_to, service_metrics_port=unused_tcp_port) as running:
        await running.unary("x")
        left = running.unary("wait")
        await probe.entered.wait()
        left.cancel()
        await probe.ended.wait()
        for method in (PREFIX + "Unary", "/made.up.Service/ByTheCaller"):
            with pytest.raises(grpc.aio.AioRpcError):
                await running.channel.unary_unary(method, bytes, bytes)(StringValue(value="bad").SerializeToString())
        await running.call("server_stream", "x")

        def scrape() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{unused_tcp_port}/metrics", timeout=5) as answer:
                text: str = answer.read().decode()
                return text

        page = await asyncio.to_thread(scrape)
    unary = 'grpc_method="Unary",grpc_service="memgpt.test.v1.ProbeService",grpc_type="unary"'
    assert f"grpc_server_started_total{{{unary}}} 3.0" in page
    assert f'grpc_server_handled_total{{grpc_code="OK",{unary}}} 1.0' in page
    assert f'grpc_server_handled_total{{grpc_code="NotFound",{unary}}} 1.0' in page
    assert f'grpc_server_handled_total{{grpc_code="Canceled",{unary}}} 1.0' in page
    assert f"grpc_server_handling_seconds_count{{{unary}}} 3.0" in page
    assert 'grpc_type="server_stream"' in page
    assert "ByTheCaller" not in page
    assert "memgpt_ready 1.0" in page


async def test_every_log_line_of_a_call_has_its_ids(start: Start) -> None:
    out = io.StringIO()
    logs.configure("memory", fmt="json", stream=out)

    def behavior(_text: str) -> str:
        logs.get_logger("inside").info("from the handler", api_key="sk-0123456789abcdef0123")
        raise ValueError("of the bug")

    async with start(Probe(behavior).add_to) as running:
        with pytest.raises(grpc.aio.AioRpcError):
            await running.unary(
                "x", metadata=(("x-request-id", "id-9"), ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"))
            )
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    mine = {line["event"]: line for line in lines if line.get("request_id") == "id-9"}
    assert set(mine) == {"from the handler", "unhandled_exception", "rpc"}
    for line in mine.values():
        assert line["trace_id"] == TRACE
        assert line["method"] == PREFIX + "Unary"
        assert line["service"] == "memory"
    assert mine["rpc"]["code"] == "INTERNAL"
    assert "ValueError: of the bug" in mine["unhandled_exception"]["exception"]
    assert "sk-0123" not in out.getvalue()


async def test_interceptors_run_in_the_documented_order(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[PipelineInterceptor] = []
    init = PipelineInterceptor.__init__

    def spy(self: PipelineInterceptor, *arguments: Any, **named: Any) -> None:
        init(self, *arguments, **named)
        built.append(self)

    monkeypatch.setattr(PipelineInterceptor, "__init__", spy)
    async with start(Probe(str).add_to):
        pass
    assert built[0].order == [
        "context",
        "log",
        "metrics",
        "audit",
        "errors",
        "discard",
        "identity",
        "authorization",
        "admit",
        "shed",
        "deadline",
        "validate",
    ]


async def test_port_is_not_shared(start: Start) -> None:
    async with start(Probe(str).add_to) as running:
        options = dict(server_options(running.app.config.server))
        assert options["grpc.so_reuseport"] == 0
        second = grpc.aio.server(options=list(options.items()))
        with pytest.raises(RuntimeError):
            second.add_insecure_port(running.address)


async def test_message_over_the_limit_is_refused(start: Start) -> None:
    async with start(Probe(len).add_to, max_message_bytes=65536) as running:
        assert (await running.unary("x" * 60000)).value == "60000"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.unary("x" * 70000)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_channel_retries_repeatable_methods_only(start: Start) -> None:
    calls = 0

    def flaky(_text: str) -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise errors.Unavailable(Reason.STORE_UNAVAILABLE, "Milvus is away")
        return "at last"

    async with start(Probe(flaky).add_to) as running:
        arguments = (PREFIX + "Unary", StringValue.SerializeToString, StringValue.FromString)
        async with open_channel(running.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(*arguments)(StringValue())
        assert from_rpc_error(caught.value).reason == Reason.STORE_UNAVAILABLE
        assert calls == 1
        async with open_channel(running.address, repeatable=[PREFIX + "Unary"]) as channel:
            assert (await channel.unary_unary(*arguments)(StringValue())).value == "at last"
        assert calls == 3


async def test_a_call_is_not_repeated_after_the_model_was_called_repeatedly(start: Start) -> None:
    calls = 0

    def failing(_text: str) -> NoReturn:
        nonlocal calls
        calls += 1
        raise reasons.model_unavailable("the model is away", model="m")

    async with start(Probe(failing).add_to) as running:
        arguments = (PREFIX + "Unary", StringValue.SerializeToString, StringValue.FromString)
        async with open_channel(running.address, repeatable=[PREFIX + "Unary"]) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(*arguments)(StringValue())
    assert from_rpc_error(caught.value).reason == Reason.MODEL_UNAVAILABLE
    assert calls == 1


async def test_channel_finds_a_server_that_comes_back(start: Start) -> None:
    arguments = (PREFIX + "Unary", StringValue.SerializeToString, StringValue.FromString)
    async with start(Probe(str).add_to) as first:
        port = first.server.port
        channel = open_channel(first.address)
        assert (await channel.unary_unary(*arguments)(StringValue(value="1"))).value == "1"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(*arguments)(StringValue(value="2"))
    assert from_rpc_error(caught.value).reason == Reason.SERVICE_UNAVAILABLE
    async with start(Probe(str).add_to, service_port=port):
        call = channel.unary_unary(*arguments)(StringValue(value="3"), wait_for_ready=True, timeout=10)
        assert (await call).value == "3"
        await channel.close(None)


async def test_calls_that_are_refused_unparsed_hold_up_no_other(start: Start) -> None:
    holding, entered = asyncio.Event(), asyncio.Event()

    async def act(text: str) -> str:
        if text == "hold":
            entered.set()
            await holding.wait()
        return text

    limits = {"max_concurrent_calls": 1, "max_receiving_bytes": 65_536, "max_message_bytes": 65_536}
    async with start(Probe(act).add_to, **limits) as running, asyncio.timeout(60):
        held = asyncio.ensure_future(running.unary("hold"))
        await entered.wait()
        for _ in range(20):
            with pytest.raises(grpc.aio.AioRpcError):
                await running.unary("refused")
        holding.set()
        assert (await held).value == "hold"
