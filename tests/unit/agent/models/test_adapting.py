# ruff: noqa: E501 - a refusal a line
"""What is changed in a request after a refusal, how thinking models get room, and what people are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from memgpt.endpoints.address import parse_address
from memgpt.endpoints.refusals import understand
from memgpt.memory.v1 import message_pb2
from memgpt_agent.context_window.tokens import TokenCalibration, TokenCounter
from memgpt_agent.context_window.window import raw_function_tokens, raw_size
from memgpt_agent.domain import FunctionCall, Message, Role
from memgpt_agent.functions import BUILT_IN
from memgpt_agent.memory import memory_protos
from memgpt_agent.models.answer.usage import read_usage
from memgpt_agent.models.base import BadAnswerError, ContextOverflowError, FilteredError, ModelRequest
from memgpt_agent.models.endpoint import CallMode
from memgpt_agent.models.request.dialect import Dialect
from memgpt_agent.models.request.history import CallExtras
from memgpt_runtime import errors
from memgpt_runtime.errors import Reason
from structlog.testing import capture_logs

from tests.support.scripted_llm import (
    Completion,
    Raw,
    Reply,
    Request,
    ScriptedLLM,
    Status,
    Stream,
    call,
    choose,
    chunk,
    say,
)
from tests.unit.agent.fakes import user
from tests.unit.agent.models.asking import Sink, calls, model_at, question

Start = Callable[..., ScriptedLLM]
HELLO = call("send_message", message="Hi", inner_thoughts="I greet.")
CHOSEN = choose("send_message", message="Hi")


async def sent(start: Start, *replies: Reply, mode: CallMode = CallMode.TOOLS, **more: Any) -> list[Request]:
    """The requests of one question."""
    llm = start(replies)
    async with model_at(llm, mode, **more) as model:
        assert (await model.complete(question(), Sink())).call is not None
    return llm.requests


# Options and keywords, one refusal at a time.


@pytest.mark.parametrize(
    ("refusal", "option"),
    [
        ("Unsupported parameter: 'parallel_tool_calls' is not supported with this model.", "parallel_tool_calls"),
        ("Tool choice must be auto", "tool_choice"),
        ("Streaming is not supported with tools", "stream"),
        ("extra fields not permitted: stream_options", "stream_options"),
    ],
)
async def test_an_option_that_is_refused(scripted_llm: Start, refusal: str, option: str) -> None:
    first, second = await sent(scripted_llm, Status(400, refusal), HELLO)
    assert option in first.json
    assert second.json.get(option) != first.json[option]
    assert {key for key in first.json if first.json[key] != second.json.get(key)} <= {option, "stream_options"}


@pytest.mark.parametrize(
    ("status", "refusal", "option", "left"),
    [
        (400, "'parallel_tool_calls' is not supported with this model.", "parallel_tool_calls", None),
        (400, "Tool choice must be auto", "tool_choice", "auto"),
        (400, "Use 'max_completion_tokens' instead of 'max_tokens'.", "max_tokens", None),
        (404, "Not Found", "path", "/v1/chat/completions"),
    ],
)
def test_a_refusal_of_several_calls_at_once_changes_one_thing(
    status: int, refusal: str, option: str, left: str | None
) -> None:
    dialect = Dialect(parse_address("http://localhost/gateway"), None)
    refused = [dialect.body(question(), "m", CallMode.TOOLS, 500) for _ in range(2)]
    since = dialect.changes
    understood = understand(status, {"error": {"message": refusal}})
    assert all(dialect.adapt(body, understood, since) for body in refused)
    body = {**dialect.body(question(), "m", CallMode.TOOLS, 500), "path": dialect.path}
    assert body.get(option) == left
    assert "max_tokens" in body or "max_completion_tokens" in body


async def test_a_refusal_that_echoes_the_request_removes_nothing(scripted_llm: Start) -> None:
    echo = '{"body": {"messages": [...], "tools": [...], "tool_choice": "required", "parallel_tool_calls": false, "temperature": 0, "model": "x"}} is odd'
    llm = scripted_llm([Status(400, echo)])
    async with model_at(llm) as model:
        with pytest.raises(errors.FailedPrecondition):
            await model.complete(question(), Sink())
    assert len(llm.requests) == 1


@pytest.mark.parametrize(
    ("refusal", "keyword"),
    [
        ("Invalid schema: 'additionalProperties' is not allowed", "additionalProperties"),
        ('Unknown name "minimum" at function_declarations[1].parameters.properties[1]: Cannot find field.', "minimum"),
        ("keyword `maximum` of the schema is not supported", "maximum"),
    ],
)
@pytest.mark.parametrize("mode", [CallMode.TOOLS, CallMode.JSON_SCHEMA])
async def test_a_keyword_that_is_refused(scripted_llm: Start, refusal: str, keyword: str, mode: CallMode) -> None:
    good = HELLO if mode is CallMode.TOOLS else CHOSEN
    first, second = await sent(scripted_llm, Status(400, refusal), good, mode=mode)
    assert f'"{keyword}"' in json.dumps(first.json)
    assert f'"{keyword}"' not in json.dumps([second.json.get("tools"), second.json.get("response_format")])
    assert second.json.get("tools") or second.json["response_format"]["type"] == "json_schema"


async def test_booleans_are_not_enumerated_for_tools(scripted_llm: Start) -> None:
    (only,) = await sent(scripted_llm, HELLO)
    assert "enum" not in json.dumps(only.json["tools"])
    refusal = Status(400, "Invalid value at 'generation_config.response_schema.enum[0]' (TYPE_STRING), true")
    first, second = await sent(scripted_llm, refusal, CHOSEN, mode=CallMode.JSON_SCHEMA)
    assert '"enum": [true]' in json.dumps(first.json)
    assert '"enum": [true]' not in json.dumps(second.json)
    assert second.json["response_format"]["type"] == "json_schema"


async def test_a_schema_that_is_not_understood_becomes_simpler(scripted_llm: Start) -> None:
    refusals = [Status(422, "Grammar error: cannot compile regex from schema")] * 3
    requests = await sent(scripted_llm, *refusals, CHOSEN, mode=CallMode.JSON_SCHEMA)
    formats = [request.json.get("response_format") for request in requests]
    assert [f["type"] if f else None for f in formats] == ["json_schema", "json_schema", "json_object", None]
    assert "anyOf" not in json.dumps(formats[1])


async def test_an_answer_is_constrained_again_after_a_while(scripted_llm: Start) -> None:
    def reply(request: Request) -> Reply:
        constrained = request.json.get("response_format", {}).get("type") == "json_schema"
        return Status(400, "response_format json_schema is not supported") if constrained else CHOSEN

    llm = scripted_llm(reply)
    async with model_at(llm, CallMode.JSON_SCHEMA) as model:
        for _ in range(105):
            await model.complete(question(), Sink())
    kinds = [request.json["response_format"]["type"] for request in llm.requests]
    assert kinds.count("json_schema") == 2


async def test_what_only_some_want_of_a_history(scripted_llm: Start) -> None:
    search = FunctionCall("call_0123456789abcdef01234567", "conversation_search", '{"query": "x"}')
    history = [
        Message(Role.ASSISTANT, "Look.", function_call=search),
        Message(Role.TOOL, '{"status": "OK"}', call_id=search.call_id),
        user("A"),
        user("B"),
    ]
    refusals = [
        Status(400, "Unexpected role 'user' after role 'tool'"),
        Status(400, "The `reasoning_content` in the thinking mode must be passed back to the API."),
        Status(400, "Function call is missing a thought_signature in functionCall parts."),
        Status(400, "messages: text content blocks must be non-empty"),
        Status(400, "System role not supported"),
    ]
    llm = scripted_llm([*refusals, HELLO])
    async with model_at(llm) as model:
        await model.complete(question(*history), Sink())
    first, last = llm.requests[0].messages, llm.requests[-1].messages
    assert [m["role"] for m in first] == ["system", "user", "assistant", "tool", "user"]
    assert first[2]["content"] == ""
    made = first[2]["tool_calls"][0]
    assert len(made["id"]) == 9
    assert made["id"].isalnum()
    assert first[3]["tool_call_id"] == made["id"]
    assert [m["role"] for m in last] == ["user", "assistant", "tool", "assistant", "user"]
    assert last[1]["content"] == last[1]["reasoning_content"] == "."
    assert "thought_signature" in last[1]["tool_calls"][0]["extra_content"]["google"]


async def test_reasoning_and_signatures_are_sent_back(scripted_llm: Start) -> None:
    thinking: dict[str, Any] = {"reasoning_content": "They greet."}
    extra = {"google": {"thought_signature": "abc"}}
    made = {
        "index": 0,
        "id": "x",
        "function": {"name": "send_message", "arguments": '{"message": "Hi"}'},
        "extra_content": extra,
    }
    refusals = [
        Status(400, "reasoning_content is missing in assistant tool call message"),
        Status(400, "missing thought_signature"),
    ]
    llm = scripted_llm([Stream((chunk(**thinking), chunk(tool_calls=[made]))), *refusals, HELLO])
    async with model_at(llm) as model:
        answer = await model.complete(question(), Sink())
        assert answer.call is not None
        history = [user("Hello?"), Message(Role.ASSISTANT, "", function_call=answer.call),
                   Message(Role.TOOL, "{}", call_id=answer.call.call_id), user("And?")]  # fmt: skip
        await model.complete(question(*history), Sink())
    assert "reasoning_content" not in json.dumps(llm.requests[1].json["messages"])
    assert llm.requests[-1].messages[2]["reasoning_content"] == "They greet."
    assert llm.requests[-1].messages[2]["tool_calls"][0]["extra_content"] == extra


# Thinking models.


async def test_a_model_that_thinks_gets_more_room_and_keeps_it(scripted_llm: Start) -> None:
    def reply(request: Request) -> Reply:
        return say("", finish_reason="length") if request.json["max_tokens"] < 4096 else HELLO

    llm = scripted_llm(reply)
    calibration = TokenCalibration()
    async with model_at(llm, calibration=calibration) as model:
        for _ in range(2):
            assert calls(await model.complete(question(), Sink())) == [("send_message", {"message": "Hi"})]
    assert [request.json["max_tokens"] for request in llm.requests] == [500, 4096, 4096]
    assert calibration.needed("") == 4096


TOO_LONG = "This model's maximum context length is 8192 tokens. However, you requested more tokens."


def thinks(needed: int, most: int) -> Callable[[Request], Reply]:
    """A model that needs so many tokens to answer, at a server that counts them with the prompt and takes so many."""

    def reply(request: Request) -> Reply:
        asked = request.json["max_tokens"]
        if asked > most:
            return Status(400, TOO_LONG)
        return say("", finish_reason="length") if asked < needed else HELLO

    return reply


async def answered_by(start: Start, reply: Callable[[Request], Reply], calibration: TokenCalibration) -> list[int]:
    """The rooms for an answer that were asked for, with one question in a window that has 3,000 tokens left."""
    llm = start(reply)
    async with model_at(llm, calibration=calibration) as model:
        await model.complete(replace(question(), most_tokens=3000), Sink())
    return [request.json["max_tokens"] for request in llm.requests]


async def test_a_model_that_thinks_gets_no_more_room_than_the_window_has(scripted_llm: Start) -> None:
    calibration = TokenCalibration()
    assert await answered_by(scripted_llm, thinks(2000, 3000), calibration) == [500, 3000]
    assert calibration.needed("") == 3000
    calibration.need("", 16_384)
    assert await answered_by(scripted_llm, thinks(2000, 3000), calibration) == [3000]


@pytest.mark.parametrize("most", [3000, 2500])
async def test_room_that_did_not_help_is_not_kept(scripted_llm: Start, most: int) -> None:
    calibration = TokenCalibration()
    with pytest.raises(BadAnswerError, match="max_answer_tokens"):
        await answered_by(scripted_llm, thinks(9000, most), calibration)
    assert calibration.needed("") == 0


async def test_a_prompt_that_only_seems_too_long_is_sent_with_less_room(scripted_llm: Start) -> None:
    calibration = TokenCalibration()
    calibration.need("", 4096)
    assert await answered_by(scripted_llm, thinks(100, 2000), calibration) == [3000, 500]
    with pytest.raises(ContextOverflowError):
        await answered_by(scripted_llm, thinks(2500, 2000), calibration)


async def test_a_model_that_thinks_longer_than_before_gets_more_room_again(scripted_llm: Start) -> None:
    calibration = TokenCalibration()
    calibration.need("", 4096)
    llm = scripted_llm(thinks(5000, 20_000))
    async with model_at(llm, calibration=calibration) as model:
        await model.complete(question(), Sink())
    assert [request.json["max_tokens"] for request in llm.requests] == [4096, 16_384]


async def test_a_summary_is_never_empty_or_cut(scripted_llm: Start) -> None:
    request = ModelRequest([Message(Role.SYSTEM, "Sum up."), user("Hi")], max_tokens=100)
    llm = scripted_llm([say("", finish_reason="length"), say("I know A", finish_reason="length"), say("I know Ada.")])
    async with model_at(llm) as model:
        assert (await model.complete(request, Sink())).text == "I know Ada."
    llm = scripted_llm([say("")] * 3)
    async with model_at(llm) as model:
        with pytest.raises(BadAnswerError, match="summary"):
            await model.complete(request, Sink())


SUM_UP = ModelRequest([Message(Role.SYSTEM, "Sum up."), user("Hi")], max_tokens=100)


@pytest.mark.parametrize(
    "reply",
    [
        Stream((chunk(reasoning_content="I know Ada."), chunk("stop"))),
        Stream((chunk(reasoning_content="<think>Hm.</think>I know Ada."), chunk("stop"))),
        say("<think>I know Ada."),
    ],
)
async def test_a_summary_in_the_reasoning_is_the_last_resort(scripted_llm: Start, reply: object) -> None:
    llm = scripted_llm([reply] * 3)
    async with model_at(llm) as model:
        assert (await model.complete(SUM_UP, Sink())).text == "I know Ada."
    llm = scripted_llm([reply, say("It is Ada.")])
    async with model_at(llm) as model:
        assert (await model.complete(SUM_UP, Sink())).text == "It is Ada."


@pytest.mark.parametrize(
    "reply",
    [
        say("I know A", finish_reason="content_filter"),
        Stream((chunk(refusal="I cannot do that."), chunk("stop"))),
        Stream((chunk(reasoning_content="They ask for", refusal="I cannot do that."), chunk("stop"))),
        Status(400, "Content Exists Risk"),
    ],
)
async def test_a_refused_summary_is_told_apart(scripted_llm: Start, reply: object) -> None:
    async with model_at(scripted_llm([reply] * 3)) as model:
        with pytest.raises(FilteredError):
            await model.complete(SUM_UP, Sink())


async def test_a_limit_of_answer_tokens_is_learned(scripted_llm: Start) -> None:
    refusal = Status(400, "max_tokens is too large: 500. This model supports at most 256 completion tokens")
    first, second = await sent(scripted_llm, refusal, HELLO)
    assert (first.json["max_tokens"], second.json["max_tokens"]) == (500, 256)


@pytest.mark.parametrize("reply", [say("\n" * 4000, pieces=400), say("I see. " * 900, pieces=400)])
async def test_an_answer_that_goes_round_in_circles_is_broken_off(scripted_llm: Start, reply: Completion) -> None:
    read: list[int] = []

    def events(request: Request) -> Reply:
        if len(read) > 1:
            return HELLO
        assert reply.content is not None
        size = len(reply.content) // 400
        pieces = [reply.content[n : n + size] for n in range(0, len(reply.content), size)]

        def each() -> Iterator[str]:
            read.append(0)
            for piece in pieces:
                read[-1] += 1
                yield chunk(content=piece)

        return Stream(each()) if len(read) < 1 else HELLO

    llm = scripted_llm(events)
    async with model_at(llm) as model:
        assert (await model.complete(question(), Sink())).call is not None
    assert len(llm.requests) == 2


# Addresses.


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/chat/completions"])
async def test_addresses_as_people_write_them(scripted_llm: Start, suffix: str) -> None:
    llm = scripted_llm([HELLO])
    async with model_at(llm, base_url=llm.base_url.removesuffix("/v1") + suffix) as model:
        assert (await model.complete(question(), Sink())).call is not None
    assert llm.requests[0].path == "/v1/chat/completions"


async def test_a_path_without_a_version(scripted_llm: Start) -> None:
    def reply(request: Request) -> Reply:
        return HELLO if request.path == "/openai/v1/chat/completions" else Status(404, "Not Found")

    llm = scripted_llm(reply)
    async with model_at(llm, base_url=llm.base_url.replace("/v1", "/openai")) as model:
        for _ in range(2):
            assert (await model.complete(question(), Sink())).call is not None
    assert [request.path.removesuffix("/chat/completions") for request in llm.requests] == [
        "/openai",
        "/openai/v1",
        "/openai/v1",
    ]


async def test_azures_deployments(scripted_llm: Start) -> None:
    llm = scripted_llm([HELLO])
    url = llm.base_url.replace("/v1", "/openai/deployments/d/chat/completions?api-version=2024-10-21")
    async with model_at(llm, base_url=url, headers={"X-Team": "t"}, query={"more": "1"}) as model:
        assert (await model.complete(question(), Sink())).call is not None
    request = llm.requests[0]
    assert request.path == "/openai/deployments/d/chat/completions?api-version=2024-10-21&more=1"
    assert (request.headers["api-key"], request.headers["x-team"]) == ("sk-secret-of-the-test", "t")
    assert "authorization" not in request.headers


# What people are told.


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (Status(402, "Insufficient Balance"), errors.ResourceExhausted, "Insufficient Balance"),
        (Status(403, "Country, region, or territory not supported"), errors.FailedPrecondition, "country"),
        (Status(403, "your input was flagged by moderation"), BadAnswerError, "content filter"),
        (Status(400, "Content Exists Risk"), BadAnswerError, "content filter of .* use other words"),
        (Status(404, "model 'x' not found, try pulling it first"), errors.FailedPrecondition, "try pulling it first"),
        (Status(400, "Something odd"), errors.FailedPrecondition, "Something odd"),
        (Status(500, "llama runner process has terminated: exit status 2"), errors.Unavailable, "crashed"),
        (Status(503, "Loading model"), errors.Unavailable, "loading"),
        (Raw("<html><title>Sign in</title></html>", "text/html"), errors.FailedPrecondition, "Sign in"),
        (Raw('"quota of the day used up"'), errors.Unavailable, "quota of the day"),
        (Raw('{"detail": "Not here"}'), errors.Unavailable, "Not here"),
        (Raw(""), errors.Unavailable, "empty response"),
        (
            Raw("", code=308, headers={"Location": "https://other.example/v1"}),
            errors.FailedPrecondition,
            "other.example",
        ),
        (Raw('{"object": "error", "message": "boom"}', code=502), errors.Unavailable, "boom"),
    ],
)
async def test_the_endpoints_own_words(scripted_llm: Start, reply: Reply, error: type[Exception], words: str) -> None:
    llm = scripted_llm([reply] * 4)
    async with model_at(llm) as model:
        with pytest.raises(error, match=words):
            await model.complete(question(), Sink())


async def test_a_limit_a_minute_evicts_nothing_and_says_when_to_retry(scripted_llm: Start) -> None:
    groq = Status(
        413, "Request too large on tokens per minute (TPM): Limit 6000, Requested 9000", "rate_limit_exceeded"
    )
    gemini = Raw(
        json.dumps(
            [{"error": {"code": 429, "message": "You exceeded your current quota", "details": [{"retryDelay": "34s"}]}}]
        ),
        code=429,
    )
    for reply, seconds in ((groq, 5.0), (gemini, 34.0)):
        llm = scripted_llm([reply] * 4)
        async with model_at(llm, max_retry_wait=10.0) as model:
            with pytest.raises(errors.ResourceExhausted) as caught:
                await model.complete(question(), Sink())
        assert (caught.value.reason, caught.value.retry_after) == (Reason.MODEL_RATE_LIMITED, seconds)


async def test_a_failed_generation_is_asked_for_again(scripted_llm: Start) -> None:
    failed = Status(400, "Failed to call a function. Please adjust your prompt.", "tool_use_failed")
    requests = await sent(scripted_llm, failed, failed, HELLO)
    assert all("tools" in request.json for request in requests)


WITHIN: list[dict[str, Any]] = [
    {"prompt_tokens": 900, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 800}},
    {"prompt_tokens": 900, "completion_tokens": 5, "prompt_cache_hit_tokens": 800, "prompt_cache_miss_tokens": 100},
    {"prompt_tokens": 900, "completion_tokens": 5, "cached_tokens": 800},
    {"prompt_tokens": 900, "completion_tokens": 5, "cache_read_input_tokens": 800, "prompt_tokens_details": None},
    {"input_tokens": 900, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 800}},
    {"prompt_tokens": 900, "completion_tokens": 5, "prompt_tokens_details": [], "num_cached_tokens": 800.0},
    {"promptTokens": 900, "completionTokens": 5, "promptTokensDetails": {"cachedTokens": 800}},
]
APART: list[dict[str, Any]] = [
    {"input_tokens": 60, "output_tokens": 5, "cache_read_input_tokens": 800, "cache_creation_input_tokens": 40},
    {"inputTokens": 60, "outputTokens": 5, "cacheReadInputTokens": 800, "cacheWriteInputTokens": 40},
    {"prompt_tokens": 60, "completion_tokens": 5, "cache_read_input_tokens": 800, "cache_creation_input_tokens": 40},
    {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 800}},
    {"prompt_tokens": 100, "completion_tokens": 5, "prompt_cache_hit_tokens": 800},
    {"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 800},
    {"prompt_tokens": 100, "completion_tokens": 5, "cached_prompt_tokens": 800},
    {"prompt_tokens": 100, "completion_tokens": 5, "cache_hit_tokens": 800},
    {"promptTokenCount": 100, "candidatesTokenCount": 5, "cachedContentTokenCount": 800},
    {
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 800, "cache_write": None},
    },
]


def spoken(usage: dict[str, Any]) -> Reply:
    end = json.dumps({"choices": [], "usage": usage})
    made = [{"function": {"name": "send_message", "arguments": '{"message": "Hi"}'}}]
    return Stream((chunk(tool_calls=made), end))


@pytest.mark.parametrize("usage", [*WITHIN, *APART], ids=json.dumps)
async def test_cached_tokens_are_read(scripted_llm: Start, usage: dict[str, Any]) -> None:
    llm = scripted_llm([spoken(usage)])
    async with model_at(llm) as model:
        used = (await model.complete(question(), Sink())).usage
    assert (used.prompt_tokens, used.completion_tokens, used.cached_tokens) == (900, 5, 800)


@pytest.mark.parametrize("usage", [*WITHIN, *APART], ids=json.dumps)
@pytest.mark.parametrize("half", [False, True], ids=["most is cached", "half is cached"])
async def test_cached_tokens_that_are_counted_apart_are_no_silent_window(
    scripted_llm: Start, usage: dict[str, Any], half: bool
) -> None:
    """The counts stay at about one value although the prompt grows, since the rest is cached."""
    llm, calibration = scripted_llm([]), TokenCalibration()
    prompt, read = next(iter(usage)), _read_key(usage)
    history = [*question().messages[1:]]
    with capture_logs() as logs:
        async with model_at(llm, calibration=calibration) as model:
            for number in range(14):
                history.append(user("ten words of text with a meaning of their own " * 20))
                size = sum(raw_size(message, TokenCounter()) for message in question(*history).messages)
                size += raw_function_tokens(BUILT_IN, TokenCounter())
                cached = size // 2 - 20 if half and number > 1 else size - 300
                llm.add(spoken(_with(usage, {prompt: size - cached, read: cached})))
                used = (await model.complete(question(*history), Sink())).usage
                assert used.cached_tokens == cached
                assert not half or number <= 1 or abs(used.prompt_tokens - size) <= 40
    assert "prompt_truncated_by_endpoint" not in [entry["event"] for entry in logs]
    assert 0.9 < calibration.scale("") < 1.1


def _read_key(usage: dict[str, Any]) -> str:
    """Return the name of the count of 800 cached tokens."""
    inner = [_read_key(value) for value in usage.values() if isinstance(value, dict)]
    return next(filter(None, [*(key for key, value in usage.items() if value == 800), *inner]), "")


def _with(usage: dict[str, Any], counts: dict[str, int]) -> dict[str, Any]:
    return {
        key: _with(value, counts) if isinstance(value, dict) else counts.get(key, value) for key, value in usage.items()
    }


@pytest.mark.parametrize("usage", WITHIN, ids=json.dumps)
def test_cached_tokens_within_the_prompt_hide_no_cut(usage: dict[str, Any]) -> None:
    calibration = TokenCalibration()
    found: list[bool] = []
    for ours, prompt, cached in [
        (3000, 3000, 2500),
        (4100, 4090, 3000),
        (5000, 4090, 4000),
        (6000, 4080, 4000),
        (6100, 4080, 4000),
    ]:
        read = read_usage({"usage": _with(usage, {next(iter(usage)): prompt, _read_key(usage): cached})})
        assert read is not None
        whole, most = calibration.whole_prompt("m", ours, read.usage, apart=read.apart)
        assert whole.prompt_tokens == most == prompt
        found.append(calibration.truncated("m", ours, most, kept=2000))
    assert found == [False, False, False, False, True]


@pytest.mark.parametrize("kept", [0, 2500])
def test_a_prompt_that_is_cut_without_a_word_is_noticed(kept: int) -> None:
    calibration = TokenCalibration()
    for model, window in (("m", 4096), ("smaller", 2048)):
        prompts = [(1800, 1900), (window, window), (window + 300, window), (window + 3000, window - 10)]
        found = [calibration.truncated(model, ours, reported, kept=kept) for ours, reported in prompts]
        assert not any(found)
        calibration.observe(model, *prompts[-1])
        assert calibration.scale(model) == 1.0, "a count that seems cut corrects nothing"
        assert calibration.truncated(model, window + 3100, window - 12, kept=kept)
        assert not calibration.truncated(model, window, window - 20, kept=kept), "after an eviction"
    assert not calibration.truncated("other", 6000, 4096, kept=kept)


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("sizes", [(3000, 3100, 3250, 3300, 3600, 3700, 3800), (5000, 8000, 8100, 8200, 8300)])
def test_a_count_without_the_cached_part_of_a_prompt_is_not_a_cut(sizes: tuple[int, ...], resumed: bool) -> None:
    """Older servers count what they had not cached, and do not say how much they had."""
    calibration = TokenCalibration()
    before = sizes[0] - 20 if resumed else 0
    for size in sizes:
        assert not calibration.truncated("m", size, size - before, kept=2500)
        before = size - 5  # each prompt ends with a note that the next one does not have


async def test_reasoning_and_signatures_outlive_the_process(scripted_llm: Start) -> None:
    """The call goes through Memory; another process with a client of its own sends its data back."""
    signature = {"google": {"thought_signature": "abc"}}

    def demanding(request: Request) -> Reply:
        called = [m for m in request.messages if m.get("tool_calls")]
        if any("reasoning_content" not in m for m in called):
            return Status(400, "reasoning_content is missing in assistant tool call message")
        if any("extra_content" not in m["tool_calls"][0] for m in called):
            return Status(400, "missing thought_signature")
        function = {"name": "send_message", "arguments": '{"message": "Hi"}'}
        made = {"index": 0, "id": "x", "function": function, "extra_content": signature}
        return Stream((chunk(reasoning_content="They greet."), chunk(tool_calls=[made])))

    llm = scripted_llm(demanding)
    async with model_at(llm) as model:
        answer = await model.complete(question(), Sink())
    assert answer.call is not None
    proto = memory_protos.new_message(Message(Role.ASSISTANT, "", function_call=answer.call))
    stored = memory_protos.message(message_pb2.Message(role=proto.role, function_call=proto.function_call))
    history = [user("Hello?"), stored, Message(Role.TOOL, "{}", call_id=answer.call.call_id), user("And?")]
    async with model_at(llm) as another:
        await another.complete(question(*history), Sink())
    sent = llm.requests[-1].messages[2]
    assert sent["reasoning_content"] == "They greet."
    assert sent["tool_calls"][0]["extra_content"] == signature


@pytest.mark.parametrize(
    ("reasoning", "signature", "kept"),
    [
        ("r" * 30_000, "s", ["fields"]),
        ("r", "s" * 30_000, []),
        ("\ud800", "s", ["fields", "reasoning"]),
        ("", None, []),
    ],
)
def test_no_more_is_stored_with_a_call_than_memory_takes(reasoning: str, signature: object, kept: list[str]) -> None:
    extra = {"extra_content": {"google": {"thought_signature": signature}}} if signature else None
    made = CallExtras().keep(FunctionCall("c", "f", "{}"), reasoning, extra, reasoning_demanded=True)
    assert sorted(json.loads(made.endpoint_data or "{}")) == kept
    assert len(made.endpoint_data.encode()) <= 16_384
