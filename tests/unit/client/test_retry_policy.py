"""How long a client retries."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from memgpt.client import Unavailable, _retry
from memgpt.client._retry import RetryPolicy
from memgpt.common.v1.reasons import Reason

BROKEN = Unavailable(Reason.SERVICE_UNAVAILABLE, "ping timeout")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still unless its `now` is set."""
    found = SimpleNamespace(now=100.0)
    monkeypatch.setattr(_retry, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


def test_a_connection_that_took_long_to_break_is_retried(clock: SimpleNamespace) -> None:
    """Pings notice a server that hangs after 40 s, longer than a turn is resumed."""
    policy = RetryPolicy(30)
    clock.now += 40
    assert policy.pause(BROKEN) < 1
    clock.now += 31
    with pytest.raises(Unavailable):
        policy.pause(BROKEN)


def test_so_is_one_that_broke_long_after_the_last_sign_of_life(clock: SimpleNamespace) -> None:
    policy = RetryPolicy(5, 30)
    policy.pause(BROKEN)
    policy.renew()
    clock.now += 40
    assert policy.pause(BROKEN) < 1
    clock.now += 29
    policy.pause(BROKEN)
    clock.now += 2
    with pytest.raises(Unavailable):
        policy.pause(BROKEN)
