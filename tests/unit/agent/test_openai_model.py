"""The model behind an endpoint, asked over real HTTP."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from memgpt.endpoints.address import parse_address
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.tokens import TokenCalibration, TokenCounter
from memgpt_agent.domain import Message, Role
from memgpt_agent.functions import BUILT_IN
from memgpt_agent.models.base import BadAnswerError, ContextOverflowError, DeltaKind, ModelRequest
from memgpt_agent.models.endpoint import CallMode, ChatEndpointSettings
from memgpt_agent.models.openai_model import OpenAIModel
from memgpt_agent.models.request import plain, schemas
from memgpt_agent.models.request.dialect import Dialect
from memgpt_agent.models.router import ModelRouter
from memgpt_agent.models.transport import END
from memgpt_runtime import errors
from memgpt_runtime.errors import Reason

from tests.support.scripted_llm import (
    NO_CHOICES,
    Completion,
    Drop,
    Hang,
    Raw,
    Reply,
    ScriptedLLM,
    Status,
    Stream,
    call,
    choose,
    chunk,
    say,
)
from tests.unit.agent.fakes import answered, user

Start = Callable[..., ScriptedLLM]
KEY = "sk-very-secret"


class Sink:
    def __init__(self) -> None:
        self.text = {DeltaKind.THOUGHT: "", DeltaKind.MESSAGE: ""}
        self.restarts: list[str] = []

    def delta(self, kind: DeltaKind, text: str) -> None:
        self.text[kind] += text

    def restart(self, reason: str) -> None:
        self.restarts.append(reason)
        self.text = {DeltaKind.THOUGHT: "", DeltaKind.MESSAGE: ""}


@pytest.fixture
def asked(scripted_llm: Start):
    """A model, the endpoint behind it, and a sink."""

    @asynccontextmanager
    async def run(
        *replies: Reply,
        mode: CallMode = CallMode.TOOLS,
        seconds: float = 20.0,
        retries: int = 0,
        keep_alive: bool = False,
    ) -> AsyncIterator[tuple[OpenAIModel, ScriptedLLM, Sink]]:
        llm = scripted_llm(replies, keep_alive=keep_alive)
        settings = ChatEndpointSettings("scripted", llm.base_url, KEY, mode, seconds, None, retries, pause=0.01)
        model = OpenAIModel(settings, TokenCalibration(), TokenCounter())
        try:
            yield model, llm, Sink()
        finally:
            await model.close()

    return run


def question(*messages: Message) -> ModelRequest:
    history = messages or (*answered().messages, user("Hello?"))
    return ModelRequest([Message(Role.SYSTEM, "Be yourself."), *history], BUILT_IN, max_tokens=500)


async def test_a_connection_serves_many_requests(asked) -> None:
    async with asked(say("One."), say("Two."), say("Three."), keep_alive=True) as (model, llm, sink):
        for _ in range(3):
            await model.complete(question(), sink)
    assert len({request.port for request in llm.requests}) == 1


async def test_what_follows_the_end_of_an_answer_is_not_awaited(asked) -> None:
    released = threading.Event()

    def events() -> Iterator[str]:
        yield chunk(content="One.")
        yield chunk("stop")
        yield END
        released.wait(60)
        yield "something else"

    async with asked(Stream(events())) as (model, _, sink):
        try:
            async with asyncio.timeout(30):
                assert (await model.complete(question(), sink)).text == "One."
        finally:
            released.set()


async def test_tools(asked) -> None:
    async with asked(call("send_message", message="Grüß dich!", inner_thoughts="I greet.")) as (model, llm, sink):
        answer = await model.complete(question(), sink)
    assert answer.text == "I greet."
    assert answer.call is not None
    assert json.loads(answer.call.arguments) == {"message": "Grüß dich!"}
    assert len(answer.call.call_id) <= 29
    assert answer.usage.total == 110
    # Streamed as it came.
    assert sink.text == {DeltaKind.THOUGHT: "I greet.", DeltaKind.MESSAGE: "Grüß dich!"}
    body = llm.requests[0].json
    assert len(body["tools"]) == len(BUILT_IN)
    assert "inner_thoughts" in body["tools"][0]["function"]["parameters"]["required"]
    assert body["tool_choice"] == "required"
    # The history has thoughts inside its calls, as the model is to write them.
    former = next(m for m in llm.requests[0].messages if m.get("tool_calls"))
    assert "inner_thoughts" in former["tool_calls"][0]["function"]["arguments"]


async def test_a_thought_beside_the_call(asked) -> None:
    async with asked(call("send_message", thought="Beside.", message="Hi")) as (model, _, sink):
        answer = await model.complete(question(), sink)
    assert answer.text == "Beside."


async def test_only_the_first_of_several_calls(asked) -> None:
    two = Completion(tool_calls=(("send_message", '{"message": "1"}'), ("send_message", '{"message": "2"}')))
    async with asked(two) as (model, _, sink):
        answer = await model.complete(question(), sink)
    assert answer.call is not None
    assert json.loads(answer.call.arguments) == {"message": "1"}
    assert sink.text[DeltaKind.MESSAGE] == "1"


async def test_json_schema(asked) -> None:
    reply = choose("archival_memory_search", inner_thoughts="Look.", query="x", page=0, request_heartbeat=True)
    async with asked(reply, mode=CallMode.JSON_SCHEMA) as (model, llm, sink):
        answer = await model.complete(question(), sink)
    assert answer.text == "Look."
    assert answer.call is not None
    assert answer.call.name == "archival_memory_search"
    body = llm.requests[0].json
    assert "tools" not in body
    # Constrained decoders want an object at the root.
    schema = body["response_format"]["json_schema"]["schema"]
    assert (schema["type"], schema["required"]) == ("object", ["inner_thoughts", "call"])
    branches = schema["properties"]["call"]["anyOf"]
    assert [b["properties"]["function"]["enum"][0] for b in branches] == [f.name for f in BUILT_IN]
    assert all(b["additionalProperties"] is False for b in branches)
    roles = [m["role"] for m in body["messages"]]
    assert set(roles) == {"system", "user", "assistant"}
    assert all(one != other for one, other in itertools.pairwise(roles))
    assert json.loads(body["messages"][2]["content"])["call"]["function"] == "send_message"


@pytest.mark.parametrize("flat", [True, False])
def test_what_is_withheld_is_not_in_the_schema(flat: bool) -> None:
    schema = json.dumps(schemas.json_schema(BUILT_IN, frozenset({"conversation_search"}), flat=flat))
    assert '"conversation_search"' not in schema
    assert '"archival_memory_search"' in schema


async def test_auto_finds_out_once(asked) -> None:
    hello = call("send_message", message="Hello.", inner_thoughts="Greet.")
    async with asked(hello, hello, mode=CallMode.AUTO) as (model, llm, sink):
        assert model.mode() is CallMode.AUTO
        await model.complete(question(), sink)
        await model.complete(question(), sink)
        assert model.mode() is CallMode.TOOLS
    # The first question is the probe: it has a real history and all functions.
    assert len(llm.requests) == 2


async def test_auto_takes_json_schema_where_tools_do_not_work(asked) -> None:
    written = say('{"name": "send_message"}')
    async with asked(written, choose("send_message", message="Hi"), mode=CallMode.AUTO) as (model, _, sink):
        answer = await model.complete(question(), sink)
        assert model.mode() is CallMode.JSON_SCHEMA
    assert answer.call is not None


@pytest.mark.parametrize(
    "first", [say(""), say("Hello!"), Status(400, "Invalid request"), Status(422, "no"), say("\n" * 999)]
)
async def test_auto_tries_the_other_mode_where_no_function_was_called_yet(asked, first: Reply) -> None:
    async with asked(first, choose("send_message", message="Hi"), mode=CallMode.AUTO) as (model, _, sink):
        answer = await model.complete(question(), sink)
        assert model.mode() is CallMode.JSON_SCHEMA
    assert answer.call is not None
    assert len(sink.restarts) == 1


@pytest.mark.parametrize(
    "bad", [say(""), Status(400, "Invalid request"), Status(400, "Failed to call a function", "tool_use_failed")]
)
async def test_one_bad_draw_never_switches_for_good(asked, bad: Reply) -> None:
    hello, chosen = call("send_message", message="Hello."), choose("send_message", message="Hi")
    async with asked(hello, bad, chosen, hello, bad, chosen, hello, mode=CallMode.AUTO) as (model, llm, sink):
        for _ in range(5):
            assert (await model.complete(question(), sink)).call is not None
            assert model.mode() is CallMode.TOOLS
    assert ["tools" in r.json for r in llm.requests] == [True, True, False, True, True, False, True]


async def test_a_mode_that_was_found_is_revised(asked) -> None:
    hello, chosen = call("send_message", message="Hello."), choose("send_message", message="Hi")
    async with asked(hello, say(""), chosen, say(""), chosen, chosen, mode=CallMode.AUTO) as (model, llm, sink):
        for _ in range(4):
            assert (await model.complete(question(), sink)).call is not None
        assert model.mode() is CallMode.JSON_SCHEMA
    assert "tools" not in llm.requests[-1].json


@pytest.mark.parametrize("bad", ["nonsense", '{"function": "send_message"', '{"arguments": {}}', "[]", ""])
async def test_one_repair(asked, bad: str) -> None:
    async with asked(say(bad), choose("send_message", message="Hi"), mode=CallMode.JSON_SCHEMA) as (
        model,
        llm,
        sink,
    ):
        answer = await model.complete(question(), sink)
    assert answer.call is not None
    assert answer.usage.total == 220
    assert "could not be used" in llm.requests[1].messages[-1]["content"]
    assert len(sink.restarts) == 1


@pytest.mark.parametrize("mode", [CallMode.TOOLS, CallMode.JSON_SCHEMA])
async def test_a_repair_still_shows_edited_blocks(asked, mode: CallMode) -> None:
    note = '<human characters="9/500">\nName: Ada\n</human>\n{"type": "system_status"}'
    good = choose("send_message", message="Hi") if mode is CallMode.JSON_SCHEMA else call("send_message", message="Hi")
    async with asked(say(""), good, mode=mode) as (model, llm, sink):
        await model.complete(replace(question(), note=note, guided_note=note), sink)
    last = llm.requests[1].messages[-1]["content"]
    assert "Name: Ada" in last
    assert "system_status" not in last
    assert "could not be used" in last


async def test_then_a_typed_failure(asked) -> None:
    async with asked(say("no"), say("never"), mode=CallMode.JSON_SCHEMA) as (model, llm, sink):
        with pytest.raises(BadAnswerError, match=r"agent\.mode"):
            await model.complete(question(), sink)
    assert len(llm.requests) == 2


async def test_arguments_that_do_not_parse_fail_as_a_call_first(asked) -> None:
    broken = Completion(tool_calls=(("send_message", '{"message": "x'),))
    async with asked(broken, broken, broken) as (model, llm, sink):
        answer = await model.complete(question(), sink)
        assert answer.call is not None
        assert answer.call.arguments == '{"message": "x'
        history = [
            user("Hello?"),
            Message(Role.ASSISTANT, "", function_call=answer.call),
            Message(Role.TOOL, '{"status": "Failed"}', call_id=answer.call.call_id),
        ]
        with pytest.raises(BadAnswerError):
            await model.complete(question(*history), sink)
    # Endpoints refuse a history with broken JSON.
    shown = next(m for m in llm.requests[1].messages if m.get("tool_calls"))
    json.loads(shown["tool_calls"][0]["function"]["arguments"])


@pytest.mark.parametrize(
    ("reply", "error", "reason", "words"),
    [
        (Status(401), errors.FailedPrecondition, Reason.MODEL_UNUSABLE, "MEMGPT_AGENT_API_KEY"),
        (Status(403), errors.FailedPrecondition, Reason.MODEL_UNUSABLE, "MEMGPT_AGENT_API_KEY"),
        (Status(404), errors.FailedPrecondition, Reason.MODEL_UNUSABLE, "agent.base_url"),
        (Status(400), errors.FailedPrecondition, Reason.MODEL_UNUSABLE, "HTTP 400"),
        (Status(429, retry_after=7), errors.ResourceExhausted, Reason.MODEL_RATE_LIMITED, "too many requests"),
        (Status(500), errors.Unavailable, Reason.MODEL_UNAVAILABLE, "agent.base_url"),
        (Status(503), errors.Unavailable, Reason.MODEL_UNAVAILABLE, "agent.base_url"),
        (Drop(), errors.Unavailable, Reason.MODEL_UNAVAILABLE, "agent.base_url"),
        (Completion("half", drop_after=1), errors.Unavailable, Reason.MODEL_UNAVAILABLE, "agent.base_url"),
    ],
)
async def test_errors(asked, reply: Reply, error: type[errors.ServiceError], reason: Reason, words: str) -> None:
    async with asked(reply) as (model, llm, sink):
        with pytest.raises(error) as caught:
            await model.complete(question(), sink)
    assert caught.value.reason == reason
    assert words in caught.value.message
    assert KEY not in caught.value.message
    assert caught.value.retry_after == (
        7 if isinstance(reply, Status) and reply.retry_after else caught.value.retry_after
    )
    assert len(llm.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Status(400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded"),
        Status(400, "the request exceeds the available context size"),
        Status(413),
    ],
)
async def test_a_prompt_that_is_too_long(asked, reply: Reply) -> None:
    async with asked(reply) as (model, _, sink):
        with pytest.raises(ContextOverflowError):
            await model.complete(question(), sink)


async def test_no_answer_in_time(asked) -> None:
    async with asked(Hang(), seconds=0.2) as (model, _, sink):
        with pytest.raises(errors.Unavailable, match=r"agent\.model_timeout"):
            await model.complete(question(), sink)


@pytest.mark.parametrize("reply", [NO_CHOICES, Raw("<html>It works!</html>", "text/html"), Raw("")])
async def test_an_endpoint_that_is_none(asked, reply: Reply) -> None:
    async with asked(reply, reply) as (model, _, sink):
        with pytest.raises((BadAnswerError, errors.ServiceError)):
            await model.complete(question(), sink)


async def test_an_endpoint_that_does_not_know_required(asked) -> None:
    hello = call("send_message", message="Hello.")
    async with asked(Status(400, "unknown tool_choice 'required'"), hello, hello) as (model, llm, sink):
        await model.complete(question(), sink)
        await model.complete(question(), sink)
    assert [r.json["tool_choice"] for r in llm.requests] == ["required", "auto", "auto"]


async def test_an_endpoint_out_of_reach(scripted_llm: Start) -> None:
    llm = scripted_llm([])
    llm.close()
    where = llm.base_url.replace("://", "://user:secret@")
    model = OpenAIModel(
        ChatEndpointSettings("m", where, KEY, CallMode.TOOLS, 5.0, retries=0),
        TokenCalibration(),
        TokenCounter(),
    )
    with pytest.raises(errors.Unavailable) as caught:
        await model.complete(question(), Sink())
    assert "secret" not in caught.value.message
    await model.close()


async def test_plain_text_for_a_summary(asked) -> None:
    async with asked(say("I know Ada.")) as (model, llm, sink):
        answer = await model.complete(ModelRequest([Message(Role.SYSTEM, "Sum up."), user("Hi")], max_tokens=9), sink)
    assert answer.text == "I know Ada."
    assert "tools" not in llm.requests[0].json


async def test_the_offline_model_never_stands_in(asked) -> None:
    async with asked(Status(500)) as (model, _, sink):
        with pytest.raises(errors.Unavailable):
            await ModelRouter("scripted", _Never(), model).complete(question(), sink)
    with pytest.raises(errors.FailedPrecondition, match="no endpoint is configured"):
        await ModelRouter("scripted", _Never(), None).complete(question(), Sink())


class _Never:
    async def complete(self, request: ModelRequest, sink: object):
        raise AssertionError("the offline model was asked")


def test_functions_stand_before_what_changes() -> None:
    text = str(plain.json_messages([Message(Role.SYSTEM, prompt.system_text(answered()))], BUILT_IN)[0]["content"])
    assert text.index("Be yourself.") < text.index("### Functions") < text.index("### Memory") < text.index("<persona")


@pytest.mark.parametrize("mode", [CallMode.TOOLS, CallMode.JSON_SCHEMA])
def test_the_note_ends_the_last_message_and_no_earlier_one(mode: CallMode) -> None:
    messages = [Message(Role.SYSTEM, "Be yourself."), Message(Role.ASSISTANT, "Hello."), user("Hi")]

    def sent(note: str) -> list[dict[str, Any]]:
        dialect = Dialect(parse_address("http://localhost/v1"), None)
        body = dialect.body(ModelRequest(messages, BUILT_IN, note=note), "m", mode, 500)
        return cast(list[dict[str, Any]], body["messages"])

    plain_messages, noted = sent(""), sent("note")
    assert noted[:-1] == plain_messages[:-1]
    assert noted[-1]["content"] == f"{plain_messages[-1]['content']}\nnote"
