"""What is read from a refusal besides its meaning: when to retry, a quote, and errors inside successful responses."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgpt.endpoints.refusals import error_in, understand

from tests.unit.runtime.error_bodies import GEMINI_QUOTA, error


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "7"}, "", 7.0),
        ({"retry-after-ms": "1500"}, "", 1.5),
        ({"retry-after": formatdate(time.time() - 5, usegmt=True)}, "", 0.0),
        ({}, GEMINI_QUOTA, 34.0),
        ({}, error("Please try again in 7.66s."), 7.66),
        ({}, error("Please try again in 320ms."), 0.32),
        ({}, error("Please try again in 1m3.5s."), 63.5),
        ({}, error("Please try again in 2h10m."), 7800.0),
        ({}, error("Please retry after 6 seconds."), 6.0),
        ({}, error("Rate limited, wait 2 minutes"), 120.0),
        ({}, error("Try again later."), None),
        ({}, error("Please try again in 2 days."), 172_800.0),
        ({}, error("You can try again in 5 min."), 300.0),
        ({}, error("Try again in 24 h."), 86_400.0),
        ({}, error("Wait for 1 minute and 30 seconds"), 90.0),
        ({}, error("Try again in 1d 2h 3m."), 93_780.0),
        ({}, error("请求过多，请在 5 分钟后重试"), 300.0),
        ({}, {"error": {"message": "Slow down", "retry_after": 12}}, 12.0),
        ({}, {"error": {"message": "Slow down", "retry_after_ms": 1500}}, 1.5),
        ({}, {"error": {"message": "Slow down", "retryAfter": "20s"}}, 20.0),
        ({}, {"error": {"message": "Slow down", "retry_after": -3}}, None),
        ({"retry-after": "PT1M30S"}, "", 90.0),
        ({"retry-after": "PT"}, "", None),
        ({"retry-after": "1m30s"}, "", 90.0),
        ({"retry-after": "30 seconds"}, "", 30.0),
        ({"retry-after": "-5"}, "", 0.0),
        ({"retry-after": "999999999d"}, "", 366 * 86_400.0),
        ({"retry-after": "2001-01-01T00:00:00Z"}, "", 0.0),
        ({"retry-after": "soon"}, "", None),
        ({"retry-after": "1764500000"}, "", None),
        ({}, {"error": {"message": "Slow down", "retry_after": "2001-01-01T00:00:00Z"}}, 0.0),
        ({}, {"error": {"message": "Try again in 10s", "retry_after": "soon"}}, 10.0),
    ],
)
def test_when_to_ask_again(headers: dict[str, str], body: object, seconds: float | None) -> None:
    wait = understand(429, body, headers).retry_after
    assert wait == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%a %b %d %H:%M:%S %Y"])
def test_a_time_in_utc(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        given = time.strftime(form, time.gmtime(time.time() + 3000))
        assert understand(429, "", {"retry-after": given}).retry_after == pytest.approx(3000, abs=60)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_endpoints_words_are_quoted_without_secrets() -> None:
    said = understand(
        400, error("Bad\nrequest with key my-private-key and sk-1234567890abcdef1234"), secrets=["my-private-key"]
    )
    assert said.quote == "Bad request with key [redacted] and [redacted]"
    assert understand(502, "<html><title>502 Bad Gateway</title><body>x</body></html>").quote == "502 Bad Gateway"
    assert len(understand(400, error("x" * 9000)).quote) < 300


@pytest.mark.parametrize(
    "body",
    [
        error("No endpoints found", 404),
        {"error": "boom"},
        [error("boom")],
        {"detail": "Not Found"},
        {"object": "error", "message": "boom"},
        {"code": 500, "msg": "404 NOT_FOUND", "success": False},
        {"base_resp": {"status_code": 1004, "status_msg": "login fail"}},
        {"error_code": 110, "error_msg": "Access token invalid"},
        {"code": "InvalidParameter", "message": "boom"},
    ],
)
def test_an_error_inside_success(body: object) -> None:
    assert error_in(body) is not None


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [], "usage": {}},
        {"choices": [{"delta": {}}], "error": None},
        {"id": "x", "object": "chat.completion.chunk", "choices": []},
        {"choices": [{"message": {"content": "x"}}], "base_resp": {"status_code": 0, "status_msg": ""}},
        {"data": [], "object": "list"},
        [],
        None,
        7,
    ],
)
def test_no_error_inside_success(body: object) -> None:
    assert error_in(body) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["error", "message", "code", "detail", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.integers(100, 599), JSON, st.dictionaries(st.sampled_from(["retry-after", "x"]), st.text(max_size=12)))
def test_any_body_has_a_meaning(status: int, body: object, headers: dict[str, str]) -> None:
    refusal = understand(status, body, headers)
    assert len(refusal.quote) < 300
    assert refusal.retry_after is None or refusal.retry_after >= 0
    error_in(body)
