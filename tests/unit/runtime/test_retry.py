from __future__ import annotations

import pytest
from memgpt_runtime.errors import InvalidArgument, Reason, ResourceExhausted, Unavailable
from memgpt_runtime.retry import RetryPolicy, is_rate_limit, is_spent

AWAY = Unavailable(Reason.SERVICE_UNAVAILABLE, "away", retry_after=0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_gives_up_some_time_after_the_first_failure_since_the_last_progress() -> None:
    clock = Clock()
    policy = RetryPolicy(seconds=10, initial=1, clock=clock)
    clock.now = 1000
    assert policy(AWAY)
    clock.now = 1008
    assert policy(AWAY)
    clock.now = 1009
    assert policy(AWAY) is False
    policy.progressed()
    assert policy(AWAY)


def test_waits_double_up_to_the_maximum() -> None:
    policy = RetryPolicy(seconds=1000, initial=1, maximum=4, clock=Clock())
    waits = [policy(AWAY) for _ in range(5)]
    assert [int(wait) for wait in waits] == [1, 2, 4, 4, 4]
    policy.progressed()
    assert int(policy(AWAY)) == 1


def test_the_wait_that_an_error_asks_for_is_honored_or_refused() -> None:
    policy = RetryPolicy(seconds=10, retryable=(ResourceExhausted,), initial=1, clock=Clock())
    assert policy(ResourceExhausted(Reason.OVERLOADED, "busy", retry_after=7)) >= 7
    assert policy(ResourceExhausted(Reason.OVERLOADED, "busy", retry_after=11)) is False


def limited(wait: float) -> ResourceExhausted:
    return ResourceExhausted(Reason.MODEL_RATE_LIMITED, "rate limit", retry_after=wait)


def test_a_rate_limit_may_last_longer_than_an_outage() -> None:
    clock, waits = Clock(), list[float]()
    policy = RetryPolicy(
        seconds=10,
        retryable=(ResourceExhausted, Unavailable),
        clock=clock,
        rate_limit_seconds=100,
        waiting=lambda _, seconds: waits.append(seconds),
    )
    assert policy(limited(60)) >= 60
    assert waits[0] >= 60
    clock.now = 60
    assert policy(AWAY)
    clock.now = 69
    assert policy(limited(20)), "an outage does not count toward the rate limit"
    clock.now = 89
    assert policy(AWAY), "the endpoint has responded since the first outage"
    assert policy(limited(20)) is False, "without progress, the waits add up"
    policy.progressed()
    assert policy(limited(60))


def test_an_account_without_balance_is_not_a_rate_limit() -> None:
    spent = ResourceExhausted(Reason.MODEL_RATE_LIMITED, "no balance", metadata={"account": "spent"}, retry_after=5)
    policy = RetryPolicy(seconds=1, retryable=(ResourceExhausted,), clock=Clock(), rate_limit_seconds=100)
    assert is_spent(spent)
    assert not is_rate_limit(spent)
    assert policy(spent) is False


def test_other_errors_are_final() -> None:
    assert RetryPolicy(seconds=10)(InvalidArgument(Reason.INVALID_FIELD, "bad")) is False
    assert RetryPolicy(seconds=10, retryable=lambda error: isinstance(error, ValueError))(ValueError()) > 0


async def test_attempts_end_with_the_last_error() -> None:
    made = 0

    async def fail() -> None:
        nonlocal made
        async for attempt in RetryPolicy(seconds=0.2, initial=0.01).attempts():
            with attempt:
                made += 1
                raise AWAY

    with pytest.raises(Unavailable, match="away"):
        await fail()
    assert made > 1
