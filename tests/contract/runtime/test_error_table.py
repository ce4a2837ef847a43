"""Every row of the error table as seen by a client, and what must not leak."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2, status_pb2
from memgpt.common.v1 import errors_pb2
from memgpt.memory.v1 import source_service_pb2, source_service_pb2_grpc
from memgpt_runtime import context, errors, reasons
from memgpt_runtime.errors import Reason, ServiceError
from memgpt_runtime.status import CODES, LOST_ANSWER, from_rpc_error

from tests.contract.runtime.probe import KINDS, PREFIX, Probe, Start

ROWS: list[tuple[ServiceError, grpc.StatusCode]] = [
    (reasons.invalid_field("must not be negative", field="page_size"), grpc.StatusCode.INVALID_ARGUMENT),
    (
        errors.InvalidArgument(Reason.REQUEST_ID_REUSED, "used before", field="request_id"),
        grpc.StatusCode.INVALID_ARGUMENT,
    ),
    (errors.Unauthenticated(Reason.CREDENTIAL_MISSING, "send a token"), grpc.StatusCode.UNAUTHENTICATED),
    (
        errors.PermissionDenied(Reason.NOT_PERMITTED, "may not", metadata={"permission": "write"}),
        grpc.StatusCode.PERMISSION_DENIED,
    ),
    (errors.NotFound(Reason.AGENT_NOT_FOUND, "no such agent", metadata={"agent_id": "a"}), grpc.StatusCode.NOT_FOUND),
    (errors.AlreadyExists(Reason.NAME_TAKEN, "taken", metadata={"name": "x"}), grpc.StatusCode.ALREADY_EXISTS),
    (errors.Aborted(Reason.ETAG_MISMATCH, "changed meanwhile"), grpc.StatusCode.ABORTED),
    (errors.FailedPrecondition(Reason.EMBEDDING_MISMATCH, "another model"), grpc.StatusCode.FAILED_PRECONDITION),
    (
        errors.ResourceExhausted(Reason.MODEL_RATE_LIMITED, "slow down", retry_after=7.5),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ),
    (errors.Unavailable(Reason.STORE_UNAVAILABLE, "Milvus is away"), grpc.StatusCode.UNAVAILABLE),
    (errors.DeadlineExceeded(Reason.DEADLINE_EXCEEDED, "too late"), grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.Unimplemented(Reason.NOT_IMPLEMENTED, "not yet"), grpc.StatusCode.UNIMPLEMENTED),
]


def _details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """Return the rich status, decoded independently of the runtime."""
    trailers: Any = error.trailing_metadata()
    raw = dict(trailers)["grpc-status-details-bin"]
    rich = status_pb2.Status.FromString(raw)
    assert rich.code == error.code().value[0]
    assert rich.message == error.details()
    found: dict[str, Any] = {}
    for detail in rich.details:
        name = detail.type_url.rpartition(".")[2]
        message = getattr(error_details_pb2, name)()
        assert detail.Unpack(message)
        assert name not in found
        found[name] = message
    return found


def _raise(error: BaseException) -> Any:
    def behavior(_text: str) -> None:
        raise error

    return behavior


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("error", "code"), ROWS, ids=lambda value: getattr(value, "reason", getattr(value, "name", ""))
)
async def test_row(start: Start, kind: str, error: ServiceError, code: grpc.StatusCode) -> None:
    async with start(Probe(_raise(error)).add_to) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.call(kind, "x", metadata=(("x-request-id", "abc-1"),))

    assert caught.value.code() is code
    assert caught.value.details() == error.message
    details = _details(caught.value)
    info = details["ErrorInfo"]
    assert (info.reason, info.domain, dict(info.metadata)) == (str(error.reason), "memgpt", error.metadata)
    assert details["RequestInfo"].request_id == "abc-1"
    assert ("BadRequest" in details) == (code is grpc.StatusCode.INVALID_ARGUMENT)
    if "BadRequest" in details:
        (violation,) = details["BadRequest"].field_violations
        assert (violation.field, violation.description) == (error.violations[0].field, error.message)
    assert ("RetryInfo" in details) == (code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE))
    if "RetryInfo" in details:
        assert details["RetryInfo"].retry_delay.ToTimedelta().total_seconds() == error.retry_after

    decoded = from_rpc_error(caught.value)
    assert type(decoded) is type(error)
    assert (decoded.reason, decoded.message, decoded.violations, decoded.metadata, decoded.retry_after) == (
        error.reason,
        error.message,
        error.violations,
        error.metadata,
        error.retry_after,
    )
    assert decoded.request_id == "abc-1"


def test_table_has_a_row_for_every_class() -> None:
    received_only = {errors.Cancelled, errors.Internal}
    assert {type(error) for error, _ in ROWS} == set(CODES) - received_only


def test_reasons_are_those_of_the_contract() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118 - no mapping
    assert {str(reason) for reason in Reason} == names - {"UNSPECIFIED"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "bug",
    [
        ValueError("s3cret"),
        KeyError("s3cret"),
        TimeoutError("s3cret"),
        NotImplementedError("s3cret"),
        OSError("s3cret"),
        asyncio.CancelledError("s3cret"),
    ],
)
async def test_bug_is_internal_with_fixed_text_and_request_id(start: Start, kind: str, bug: BaseException) -> None:
    async with start(Probe(_raise(bug)).add_to) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.call(kind, "x", metadata=(("x-request-id", "abc-2"),))

    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "abc-2" in (caught.value.details() or "")
    assert "s3cret" not in str(caught.value)
    assert _details(caught.value)["ErrorInfo"].reason == "INTERNAL"


async def test_answer_of_the_wrong_type_is_a_bug(start: Start) -> None:
    class Wrong(Probe):
        async def unary(self, request: StringValue, _context: object) -> Any:
            return 7

    async with start(Wrong(str).add_to) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.unary("x")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert _details(caught.value)["ErrorInfo"].reason == "INTERNAL"


async def test_bytes_that_are_no_request_are_the_callers_error(start: Start) -> None:
    async with start(Probe(str).add_to) as running:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = running.channel.unary_unary(PREFIX + "Unary", None, None)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert _details(caught.value)["ErrorInfo"].reason == "INVALID_FIELD"


@pytest.mark.parametrize("method", ["/memgpt.test.v1.ProbeService/Nothing", "/no.such.Service/Method"])
async def test_unknown_method_is_unimplemented(start: Start, method: str) -> None:
    async with start(Probe(str).add_to) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.channel.unary_unary(method, bytes, bytes)(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert dict(_details(caught.value)["ErrorInfo"].metadata) == {"method": method}


async def test_causes_in_a_circle_are_answered(start: Start) -> None:
    outer, inner = ValueError("outer"), ValueError("inner")
    outer.__cause__, inner.__context__ = inner, outer
    async with start(Probe(_raise(outer)).add_to) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.call("unary", "x")
    assert caught.value.code() is grpc.StatusCode.INTERNAL


async def test_method_that_the_servicer_lacks_is_unimplemented(start: Start) -> None:
    servicer: Any = cast(Any, source_service_pb2_grpc.SourceServiceServicer)()
    async with start(lambda s: source_service_pb2_grpc.add_SourceServiceServicer_to_server(servicer, s)) as running:
        stub: Any = source_service_pb2_grpc.SourceServiceStub(running.channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListSources(source_service_pb2.ListSourcesRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert _details(caught.value)["ErrorInfo"].reason == "NOT_IMPLEMENTED"


async def test_request_that_breaks_a_constraint_never_reaches_the_handler(start: Start) -> None:
    class Servicer(source_service_pb2_grpc.SourceServiceServicer):
        async def GetSource(self, request: Any, context: Any) -> Any:  # noqa: N802
            raise AssertionError("reached")

        async def UpsertPassages(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
            async for _ in request_iterator:
                raise AssertionError("reached")

    servicer = cast(Any, Servicer)()
    async with start(lambda s: source_service_pb2_grpc.add_SourceServiceServicer_to_server(servicer, s)) as running:
        stub: Any = source_service_pb2_grpc.SourceServiceStub(running.channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetSource(source_service_pb2.GetSourceRequest(source_id="not an id!"))
        with pytest.raises(grpc.aio.AioRpcError) as streamed:
            await stub.UpsertPassages(iter([source_service_pb2.UpsertPassagesRequest()]))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [v.field for v in _details(caught.value)["BadRequest"].field_violations] == ["source_id"]
    assert streamed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_downstream_error_is_handed_on(start: Start) -> None:
    """An unhandled error of a downstream call keeps its meaning; gRPC's own text is not exposed."""
    lost = errors.Aborted(Reason.LEASE_LOST, "the lease has passed on", metadata={"epoch": 4})
    async with start(Probe(_raise(lost)).add_to) as below:

        async def forward(text: str) -> Any:
            return await below.unary(text)

        async with start(Probe(forward).add_to) as above:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await above.unary("x")
    decoded = from_rpc_error(caught.value)
    assert isinstance(decoded, errors.Aborted)
    assert (decoded.reason, decoded.metadata) == (Reason.LEASE_LOST, {"epoch": "4"})


async def test_downstream_out_of_reach_is_unavailable_without_addresses(start: Start) -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as dead:

        async def forward(text: str) -> Any:
            return await dead.unary_unary("/x.Y/Z", bytes, bytes)(b"")

        async with start(Probe(forward).add_to) as above:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await above.unary("x")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "127.0.0.1" not in str(caught.value.details())
    assert {"ErrorInfo", "RetryInfo"} <= set(_details(caught.value))


async def test_downstream_bug_is_ours_to_the_caller(start: Start) -> None:
    async with start(Probe(_raise(ValueError("s3cret"))).add_to) as below:

        async def forward(text: str) -> Any:
            return await below.unary(text)

        async with start(Probe(forward).add_to) as above:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await above.unary("x", metadata=(("x-request-id", "outer"),))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "outer" in (caught.value.details() or "")


async def test_error_with_huge_texts_still_arrives(start: Start) -> None:
    huge = errors.InvalidArgument(
        Reason.INVALID_FIELD,
        "漢字" * 5000,
        violations=[errors.FieldViolation("字" * 999, "字" * 9999) for _ in range(50)],
        metadata={f"字{i}" * 99: "字" * 9999 for i in range(50)},
    )
    async with start(Probe(_raise(huge)).add_to) as running:
        # Trailers somewhat over the limit are refused at random only.
        for _ in range(50):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.unary("x", metadata=(("x-request-id", "i" * 128),))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (caught.value.details() or "").startswith("漢字漢字")
    details = _details(caught.value)
    assert details["ErrorInfo"].reason == "INVALID_FIELD"
    sizes = [len(key) + len(value) for key, value in caught.value.trailing_metadata() or ()]
    assert sum(sizes) < 8192


async def test_a_client_that_is_busy_sending_hears_why_it_is_refused(start: Start) -> None:
    async with start(Probe(str).add_to) as running:
        upload: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = running.channel.stream_unary(
            PREFIX + "ClientStream", None, None
        )
        for _ in range(100):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await upload(iter([b"\xff", *[bytes(10_000)] * 100]))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_client_that_does_not_stop_sending_is_refused_nevertheless(start: Start) -> None:
    async with start(Probe(str).add_to) as running:
        method: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = running.channel.stream_unary(
            PREFIX + "ClientStream", None, None
        )
        upload = method()
        await upload.write(b"\xff")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await upload
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_answer_that_grpc_lost_is_asked_for_again() -> None:
    lost = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), details=LOST_ANSWER)
    assert isinstance(from_rpc_error(lost), errors.Unavailable)


@pytest.mark.parametrize(
    ("seconds", "kind", "reason"),
    [
        (None, errors.Unavailable, Reason.SERVICE_UNAVAILABLE),
        (30.0, errors.Unavailable, Reason.SERVICE_UNAVAILABLE),
        (0.0, errors.DeadlineExceeded, Reason.DEADLINE_EXCEEDED),
    ],
)
def test_a_peer_that_is_slow_is_unavailable_unless_the_caller_is_out_of_time(
    seconds: float | None, kind: type[ServiceError], reason: Reason
) -> None:
    """The limit of one call to Memory says nothing about the caller's own deadline: a turn may be sent again."""
    late = grpc.aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, grpc.aio.Metadata(), grpc.aio.Metadata())
    with context.background("test", timeout=seconds):
        error = from_rpc_error(late, "the Memory service", name="memory")
    assert type(error) is kind
    assert error.reason == reason
    assert "did not respond in time" in error.message
