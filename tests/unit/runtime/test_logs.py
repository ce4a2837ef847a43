from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from memgpt_runtime import context, logs
from memgpt_runtime.logs import REDACTED, get_logger, redact


@contextmanager
def _configured(fmt: str) -> Iterator[io.StringIO]:
    """What is logged in the given format."""
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    stream = io.StringIO()
    try:
        logs.configure("memory", fmt=fmt, stream=stream)
        yield stream
    finally:
        root.handlers[:], root.level = handlers, level
        structlog.configure(**before)


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    with _configured("json") as stream:
        yield stream


def _lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_line(out: io.StringIO) -> None:
    get_logger("here").info("something", agent_id="agent_1", text="né")
    (line,) = _lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "something", "agent_id": "agent_1", "text": "né", "level": "info", "service": "memory"}


def test_line_within_a_call_has_its_ids(out: io.StringIO) -> None:
    with context.background("load") as request:
        get_logger("here").info("something")
        logging.getLogger("somebody.else").warning("by the %s library", "other")
    for line in _lines(out):
        assert (line["request_id"], line["method"]) == (request.request_id, "load")
        assert (line["trace_id"], line["span_id"]) == (request.trace_id, request.span_id)
    assert _lines(out)[1]["event"] == "by the other library"
    assert _lines(out)[1]["logger"] == "somebody.else"


def test_level(out: io.StringIO) -> None:
    get_logger("here").debug("unseen")
    logging.getLogger("httpx").info("unseen")
    assert out.getvalue() == ""


def test_library_that_writes_by_itself_is_adopted(out: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("library.of.its.own")
    logger.addHandler(logging.StreamHandler())
    logger.propagate = False
    logs.adopt_loggers()
    logger.warning("something")
    assert [line["event"] for line in _lines(out)] == ["something"]
    assert capsys.readouterr().err == ""


SECRETS = [
    "sk-proj-0123456789abcdefABCDEF",
    "hf_0123456789abcdefABCDEF",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijk",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_secret_is_scrubbed_wherever_it_stands(out: io.StringIO, secret: str) -> None:
    log = get_logger("here")
    log.info(f"event {secret}", value=f"in {secret} text", deep={"list": [{"x": secret}]}, odd=ValueError(secret))
    logging.getLogger("openai").warning("sent %s", secret)
    try:
        raise ValueError(f"refused {secret}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("pymilvus").exception("failed as well")
    assert secret not in out.getvalue()
    assert out.getvalue().count(REDACTED) >= 7
    assert [line["event"] for line in _lines(out)][2:] == ["failed", "failed as well"]


@pytest.mark.parametrize(
    "key",
    ["authorization", "Authorization", "api_key", "openai_api_key", "x-api-key", "token", "access_token", "password"],
)
def test_keys_of_secrets(key: str) -> None:
    assert redact({"headers": {key: "anything"}}) == {"headers": {key: REDACTED}}


def test_what_is_no_secret_stays() -> None:
    plain = {
        "page_token": "abc",
        "next_page_token": "abc",
        "prompt_tokens": 7,
        "tokens": 3,
        "key": "name",
        "none": None,
    }
    assert redact(plain) == plain
    assert redact("task-force-of-many-people at http://host:19530/path@x") == (
        "task-force-of-many-people at http://host:19530/path@x"
    )


def test_credentials_in_headers_and_addresses() -> None:
    assert redact("Authorization: Bearer abcdef123456") == f"Authorization: Bearer {REDACTED}"
    assert redact("http://root:Milvus@db:19530") == f"http://{REDACTED}@db:19530"
    assert redact("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----") == REDACTED


@pytest.mark.parametrize("kind", ["sk", "pk", "rk", "hf", "ghp", "gho", "xoxa", "xoxb", "xoxp"])
@pytest.mark.parametrize("between", "-_")
def test_every_kind_of_key_is_scrubbed_from_a_line(out: io.StringIO, kind: str, between: str) -> None:
    get_logger("here").info("something", value=f"{kind.upper()}{between}0123456789abcdef")
    assert _lines(out)[0]["value"] == REDACTED


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: BEARER abcdef123456",
        "authorization: basic cm9vdDpNaWx2dXM=",
        "http://root:Milvus@db:19530",
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_credentials_are_scrubbed_from_a_line(out: io.StringIO, text: str) -> None:
    get_logger("here").info("something", value=text)
    assert _lines(out)[0]["value"] == redact(text) != text


def test_console_format() -> None:
    with _configured("console") as stream:
        get_logger("here").info("something", count=3)
    assert "something" in stream.getvalue()
    assert "count=3" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
