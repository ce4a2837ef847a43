"""A channel within the process behaves towards its caller as one over a socket."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from memgpt_memory.store.local_channel import LocalChannel


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        match request.service:
            case "broken":
                raise ValueError("it broke")
            case "refused":
                context.set_code(grpc.StatusCode.NOT_FOUND)
                context.set_details("no such service")
            case "aborted":
                context.abort(grpc.StatusCode.ABORTED, "no")
            case "metadata":
                assert ("added", "1") in tuple(context.invocation_metadata())
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


class _Adding(grpc.UnaryUnaryClientInterceptor):
    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        details = details._replace(metadata=[("added", "1")])
        return continuation(details, request)


@pytest.fixture(params=["plain", "intercepted"])
def stub(request: pytest.FixtureRequest) -> Any:
    channel: Any = LocalChannel(_Health())
    if request.param == "intercepted":
        channel = grpc.intercept_channel(channel, _Adding())
    return health_pb2_grpc.HealthStub(channel)


def test_an_answer(stub: Any) -> None:
    request = health_pb2.HealthCheckRequest()
    assert stub.Check(request, timeout=1).status == health_pb2.HealthCheckResponse.SERVING
    done = stub.Check.future(request, timeout=1)
    assert done.done()
    assert done.result().status == health_pb2.HealthCheckResponse.SERVING
    assert (done.exception(), done.code()) == (None, grpc.StatusCode.OK)


@pytest.mark.parametrize(
    ("service", "code", "details"),
    [
        ("broken", grpc.StatusCode.UNKNOWN, "it broke"),
        ("refused", grpc.StatusCode.NOT_FOUND, "no such service"),
        ("aborted", grpc.StatusCode.ABORTED, "no"),
    ],
)
def test_a_failure(stub: Any, service: str, code: grpc.StatusCode, details: str) -> None:
    request = health_pb2.HealthCheckRequest(service=service)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(request)
    error: Any = caught.value
    assert (error.code(), error.details()) == (code, details)
    assert stub.Check.future(request).exception() is not None


def test_what_an_interceptor_adds() -> None:
    stub: Any = health_pb2_grpc.HealthStub(grpc.intercept_channel(LocalChannel(_Health()), _Adding()))
    assert stub.Check(health_pb2.HealthCheckRequest(service="metadata"))


def test_what_it_cannot_do(stub: Any) -> None:
    bare: Any = LocalChannel(object())
    calls: list[Any] = [
        lambda: bare.unary_unary("/grpc.health.v1.Health/Check")(None),
        lambda: stub.Watch(health_pb2.HealthCheckRequest()),
    ]
    for call in calls:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
