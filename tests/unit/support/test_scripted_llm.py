"""The scripted model, seen through the client that the services use."""

from __future__ import annotations

import json

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.support.scripted_llm import (
    BROKEN_JSON,
    NO_CHOICES,
    Completion,
    Drop,
    Hang,
    ScriptedLLM,
    Status,
    call,
    embed,
    say,
)

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


def client_of(llm: ScriptedLLM, key: str = "key", timeout: float = 20) -> openai.OpenAI:
    return openai.OpenAI(base_url=llm.base_url, api_key=key, max_retries=0, timeout=timeout)


def test_replies_come_in_order_and_requests_are_recorded():
    with ScriptedLLM([say("one"), call("send_message", thought="t", message="two ✓")]) as llm, client_of(llm) as client:
        first = client.chat.completions.create(model="m", messages=HELLO)
        second = client.chat.completions.create(model="m", messages=HELLO)
        with pytest.raises(openai.InternalServerError, match="end"):
            client.chat.completions.create(model="m", messages=HELLO)
        assert [request.messages for request in llm.requests] == [HELLO] * 3
        assert llm.unused == 0
    assert (first.choices[0].message.content, first.choices[0].finish_reason) == ("one", "stop")
    made = second.choices[0].message.tool_calls
    assert made is not None
    assert made[0].type == "function"
    assert (made[0].function.name, made[0].function.arguments) == ("send_message", '{"message": "two ✓"}')


def test_a_stream_comes_in_pieces_and_ends_with_the_usage():
    with ScriptedLLM([call("f", thought="abcdefgh", x=1)]) as llm, client_of(llm) as client:
        stream = client.chat.completions.create(
            model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        events = list(stream)
    deltas = [event.choices[0].delta for event in events if event.choices]
    assert [delta.content for delta in deltas if delta.content] == ["ab", "cd", "ef", "gh"]
    calls = [delta.tool_calls[0] for delta in deltas if delta.tool_calls]
    assert "".join(made.function.arguments or "" for made in calls if made.function) == '{"x": 1}'
    assert events[-1].usage is not None
    assert events[-1].usage.total_tokens == 110


@pytest.mark.parametrize(
    ("code", "error"),
    [(401, openai.AuthenticationError), (429, openai.RateLimitError), (500, openai.InternalServerError)],
)
def test_errors(code: int, error: type[openai.APIStatusError]):
    reply = Status(code, "why", retry_after=7)
    with ScriptedLLM([reply]) as llm, client_of(llm) as client, pytest.raises(error, match="why") as caught:
        client.chat.completions.create(model="m", messages=HELLO)
    assert caught.value.response.headers["retry-after"] == "7"


def test_a_wrong_key_is_refused():
    with ScriptedLLM([say("x")], api_key="right") as llm:
        with client_of(llm, "wrong") as client, pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model="m", messages=HELLO)
        with client_of(llm, "right") as client:
            client.chat.completions.create(model="m", messages=HELLO)


@pytest.mark.parametrize("reply", [Drop(), Completion(content="abc", drop_after=2)])
@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_breaks(reply: Completion | Drop, stream: bool):
    with (
        ScriptedLLM([reply]) as llm,
        client_of(llm) as client,
        pytest.raises((openai.APIConnectionError, httpx2.HTTPError)),
    ):
        for _ in client.chat.completions.create(model="m", messages=HELLO, stream=stream):
            pass


def test_broken_json():
    with ScriptedLLM([BROKEN_JSON]) as llm, client_of(llm) as client, pytest.raises(json.JSONDecodeError):
        client.chat.completions.create(model="m", messages=HELLO)


def test_no_choices():
    with ScriptedLLM([NO_CHOICES]) as llm, client_of(llm) as client:
        assert client.chat.completions.create(model="m", messages=HELLO).choices == []


@pytest.mark.parametrize("reply", [Hang(), Completion(content="abc", hang_after=1)])
def test_hanging_ends_with_the_client_or_the_server(reply: Completion | Hang):
    with (
        ScriptedLLM([reply]) as llm,
        client_of(llm, timeout=0.2) as client,
        pytest.raises(openai.APITimeoutError),
    ):
        client.chat.completions.create(model="m", messages=HELLO)


def test_embeddings_have_the_dimension_and_stay_the_same():
    with ScriptedLLM(dimension=8) as llm, client_of(llm) as client:
        answer = client.embeddings.create(model="e", input=["a cat sleeps", "a cat sits", "ohne Bezug"])
        as_floats = client.embeddings.create(model="e", input="a cat sleeps", encoding_format="float")
        llm.fail_embeddings(Status(503))
        with pytest.raises(openai.InternalServerError):
            client.embeddings.create(model="e", input="x")
        assert len(llm.embedding_requests) == 3
    vectors = [item.embedding for item in answer.data]
    assert [len(vector) for vector in vectors] == [8, 8, 8]
    assert vectors[0] == pytest.approx(embed("a cat sleeps", 8), abs=1e-6)
    assert as_floats.data[0].embedding == pytest.approx(vectors[0], abs=1e-6)
    near, far = (sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:])
    assert near > far
