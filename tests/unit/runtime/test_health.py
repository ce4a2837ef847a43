from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc_health.v1 import health_pb2
from memgpt_runtime import health
from memgpt_runtime.errors import Reason, Unavailable
from memgpt_runtime.health import Readiness


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "READY_INTERVAL", 0.001)
    monkeypatch.setattr(health, "UNREADY_INTERVAL", 0.001)
    monkeypatch.setattr(health, "CHECK_TIMEOUT", 0.02)


async def _until(readiness: Readiness, reasons: dict[str, str]) -> None:
    async with asyncio.timeout(60):
        while readiness.reasons != reasons:
            await readiness.change.wait()


async def test_all_conditions_must_hold() -> None:
    readiness = Readiness()
    assert readiness.ready
    readiness.set("a", "why")
    readiness.set("b", None)
    assert not readiness.ready
    assert readiness.reasons == {"a": "why"}
    readiness.set("a", None)
    assert readiness.ready


async def test_check_decides_again_and_again() -> None:
    readiness = Readiness()
    failure: Exception | None = Unavailable(Reason.STORE_UNAVAILABLE, "Milvus cannot be reached")

    async def check() -> None:
        if failure is not None:
            raise failure

    readiness.watch("milvus", check)
    assert not readiness.ready
    await _until(readiness, {"milvus": "Milvus cannot be reached"})
    failure = None
    await _until(readiness, {})
    assert readiness.ready
    failure = ValueError("s3cret")
    await _until(readiness, {"milvus": "ValueError"})
    await readiness.close()


async def test_check_that_hangs_has_failed() -> None:
    readiness = Readiness()
    readiness.watch("milvus", asyncio.Event().wait)  # type: ignore[arg-type]
    await _until(readiness, {"milvus": "no response within 0.02 s"})
    await readiness.close()


async def test_drain_is_for_good() -> None:
    readiness = Readiness()
    change = readiness.change
    readiness.drain()
    assert change.is_set()
    readiness.set("a", None)
    assert not readiness.ready
    await readiness.close()


async def test_wait_ready() -> None:
    readiness = Readiness()
    readiness.set("a", "why")
    waiting = asyncio.create_task(readiness.wait_ready())
    await asyncio.sleep(0)
    readiness.set("b", "why")
    assert not waiting.done()
    readiness.set("a", None)
    readiness.set("b", None)
    await asyncio.wait_for(waiting, 60)


async def test_watch_that_is_still_writing_when_the_drain_begins_tells_of_it() -> None:
    readiness = Readiness()
    servicer: Any = health.HealthServicer(readiness, ["a.B"])
    watch = servicer.Watch(health_pb2.HealthCheckRequest(service="a.B"), None)
    assert (await anext(watch)).status == health_pb2.HealthCheckResponse.SERVING
    # The generator stands at its yield, as it does while gRPC writes the answer.
    readiness.drain()
    assert (await anext(watch)).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await anext(watch, None) is None


async def test_one_slow_response_is_not_an_outage() -> None:
    """Otherwise one slow ping of Milvus would take all Agents out of their endpoints."""
    readiness, seen, done = Readiness(), [], asyncio.Event()

    async def check() -> None:
        seen.append(readiness.ready)
        if len(seen) in (2, 5, 6):
            await asyncio.Event().wait()
        if len(seen) == 8:
            done.set()

    readiness.watch("milvus", check)
    await asyncio.wait_for(done.wait(), 60)
    assert seen[:8] == [False, True, True, True, True, True, False, True]
    await readiness.close()
