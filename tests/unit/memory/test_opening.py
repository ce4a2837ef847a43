"""Opening the store in the background, while Milvus does not answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from memgpt_memory import service
from memgpt_memory.core import CoreSettings
from memgpt_memory.service import StoreStartup
from memgpt_runtime.errors import FailedPrecondition, Reason, Unavailable


async def opening_that_meets(monkeypatch: pytest.MonkeyPatch, *outcomes: Exception) -> StoreStartup:
    """An opening whose attempts fail so, one after the other."""
    ahead = list(outcomes)

    async def open_core(*_: Any, **__: Any) -> Any:
        raise ahead.pop(0)

    monkeypatch.setattr(service, "open_core", open_core)
    monkeypatch.setattr(service, "_RETRY_SECONDS", 0.0)
    opening = StoreStartup(None, None, CoreSettings())  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        await opening.open_later()
    assert not ahead
    return opening


async def test_what_turns_out_to_be_wrong_is_said_to_every_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    away = Unavailable(Reason.STORE_UNAVAILABLE, "not there")
    wrong = FailedPrecondition(Reason.EMBEDDING_MISMATCH, "another model")
    opening = await opening_that_meets(monkeypatch, away, OSError("a defect"), away, wrong)
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match="another model"):
            opening.core()
    with pytest.raises(FailedPrecondition, match="another model"):
        await opening.check()


async def test_the_store_is_closed_when_the_first_key_cannot_be_created(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    closed: list[Any] = []

    class Core:
        api_keys = None

        async def close(self) -> None:
            closed.append(self)

    class Key:
        async def create(self, _: Any) -> None:
            if len(opened) == 1:
                raise Unavailable(Reason.STORE_UNAVAILABLE, "gone again")

    async def open_core(*_: Any, **__: Any) -> Any:
        opened.append(Core())
        return opened[-1]

    monkeypatch.setattr(service, "open_core", open_core)
    opening = StoreStartup(None, None, CoreSettings(), Key())  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        await opening.open()
    await opening.open()
    assert (opening.opened(), closed) == (opened[1], opened[:1])


async def test_before_the_store_is_open_it_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="not reached its store"):
        StoreStartup(None, None, CoreSettings()).core()  # type: ignore[arg-type]
