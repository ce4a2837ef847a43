from __future__ import annotations

import asyncio
from contextvars import copy_context

import pytest
from memgpt_runtime import context
from memgpt_runtime.context import background, make_request, outgoing_metadata, remaining, set_current, tenant
from memgpt_runtime.principal import CredentialKind, Principal, Role

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_outside_of_a_call() -> None:
    assert context.current() is None
    assert tenant() == "default"
    assert remaining() is None
    assert remaining(5) == 5
    assert outgoing_metadata() == []


def test_ids_are_taken_over_or_made() -> None:
    taken = make_request("/x/y", {"x-request-id": "id-1", "traceparent": f"00-{TRACE}-{SPAN}-01"})
    assert (taken.request_id, taken.trace_id, taken.trace_flags) == ("id-1", TRACE, "01")
    assert taken.span_id != SPAN
    made = make_request("/x/y")
    assert made.request_id.startswith("req_")
    assert len(made.trace_id) == 32


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, "é", "a\nb"])
def test_malformed_request_id_is_replaced(bad: str) -> None:
    assert make_request("/x/y", {"x-request-id": bad}).request_id.startswith("req_")


@pytest.mark.parametrize(
    "bad",
    [
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        TRACE,
        f"00-{TRACE.upper()}-{SPAN}-01",
    ],
)
def test_malformed_trace_is_replaced(bad: str) -> None:
    assert make_request("/x/y", {"traceparent": bad}).trace_id != TRACE


def test_remaining_is_the_lesser() -> None:
    with background("work", timeout=5):
        assert 4 < (remaining() or 0) <= 5
        assert 4 < (remaining(60) or 0) <= 5
        assert remaining(1) == 1
    with background("work", timeout=-1):
        assert remaining() == 0


async def test_background_keeps_ids_and_principal_but_not_the_deadline() -> None:
    with background("call", principal=Principal("acme"), timeout=1) as outer:

        async def work() -> None:
            with background("turn") as inner:
                assert context.current() is inner
                assert (inner.request_id, inner.trace_id, inner.principal) == (
                    outer.request_id,
                    outer.trace_id,
                    outer.principal,
                )
                assert inner.method == "turn"
                assert inner.deadline is None
                assert tenant() == "acme"
            assert context.current() is outer

        await asyncio.create_task(work())
        assert context.current() is outer
    assert context.current() is None


def test_trace_state_and_baggage_are_passed_on() -> None:
    sent = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=x", "baggage": "project=y"}
    passed = {"tracestate": "vendor=x", "baggage": "project=y"}.items()

    def call() -> None:
        set_current(make_request("/x/y", sent))
        assert passed <= dict(outgoing_metadata()).items()
        with background("turn"):
            assert passed <= dict(outgoing_metadata()).items()

    copy_context().run(call)


def test_trace_state_needs_a_parent_and_both_have_limits() -> None:
    assert make_request("/x/y", {"tracestate": "vendor=x"}).trace_state == ""
    parent = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    long = make_request("/x/y", {**parent, "tracestate": "v=" + "x" * 511, "baggage": "p=" + "y" * 8191})
    assert (long.trace_state, long.baggage) == ("", "")


def test_outgoing_metadata() -> None:
    with background("call", principal=Principal("acme")) as request:
        assert outgoing_metadata() == [
            ("x-request-id", request.request_id),
            ("traceparent", f"00-{request.trace_id}-{request.span_id}-00"),
            ("x-memgpt-principal", "tenant=acme"),
        ]


def test_principal_round_trip() -> None:
    assert Principal.decode(Principal("acme").encode()) == Principal("acme")
    assert Principal.decode("tenant=acme;later=1") == Principal("acme")


def test_principal_round_trip_of_everything() -> None:
    full = Principal(
        "acme",
        Role.USER,
        CredentialKind.API_KEY,
        "key_1",
        "Zoë; role=operator",
        frozenset({"agent_1", "agent,2"}),
        frozenset({"source=3"}),
    )
    assert full.encode().isascii()
    assert Principal.decode(full.encode()) == full


@pytest.mark.parametrize("bad", ["", "acme", "tenant=", "tenant=A", "tenant=a/b", "tenant=" + "a" * 64])
def test_malformed_principal(bad: str) -> None:
    with pytest.raises(ValueError, match="tenant"):
        Principal.decode(bad)


@pytest.mark.parametrize("bad", ["tenant=a;role=king", "tenant=a;role=", "tenant=a;kind=x"])
def test_a_principal_with_an_unknown_role_or_kind_is_malformed(bad: str) -> None:
    with pytest.raises(ValueError, match=r"role|CredentialKind"):
        Principal.decode(bad)
