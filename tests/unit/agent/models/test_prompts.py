"""Every prompt that the loop can produce is accepted by validators, request models and chat templates.

A request is refused at first where an endpoint has wishes of its own; the refusal's words must then be enough to learn
them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memgpt.endpoints.address import parse_address
from memgpt.endpoints.refusals import understand
from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.note import note_text
from memgpt_agent.context_window.tokens import TokenCounter
from memgpt_agent.context_window.window import ContextWindow, WindowTooSmallError
from memgpt_agent.domain import Agent, Block, Context, FunctionCall, Message, Role, Tool
from memgpt_agent.functions import BUILT_IN, functions_of
from memgpt_agent.models.base import ModelRequest
from memgpt_agent.models.endpoint import CallMode
from memgpt_agent.models.request.dialect import Dialect

from tests.support.vendors.templates import TEMPLATES, WITHOUT_TOOLS, render
from tests.support.vendors.validators import VALIDATORS, Body, RefusedError
from tests.unit.agent.fakes import user

TEXTS = st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace").decode()) | st.sampled_from(
    ["", " ", "\n", "\x00", "字", "🦊", "</think>", "<tool_response>", "[TOOL_CALLS]", "{{ x }}", "x " * 400]
)
NAMES = st.sampled_from(
    ["send_message", "archival_memory_search", "search the web", "functions.odd:0", "ünicode", "n" * 64, "a/b", "{}"]
) | st.text(min_size=1, max_size=64).map(str.strip).filter(bool)
ARGUMENTS = st.one_of(
    st.dictionaries(st.text(max_size=5), st.one_of(TEXTS, st.none(), st.floats(), st.booleans()), max_size=3).map(
        envelopes.dumps
    ),
    st.sampled_from(["", "{}", "null", '{"half', "[1]", '{"x": NaN}', '{"x": 1e999}', '{"inner_thoughts": null}']),
)
TOOL = Tool(
    "look_up",
    "Looks a word up. " * 300,
    json.dumps(
        {
            "type": "object",
            "properties": {
                "word": {"type": "string", "pattern": "^a$", "default": "a"},
                "anything": True,
                "maybe": {"type": ["string", "null"]},
                "tags": {"type": "array"},
                "place": {"type": "object", "properties": {"x": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}},
            },
        }
    ),
    "localhost:1",
)


@st.composite
def contexts(draw: st.DrawFn) -> Context:
    """Contexts after any turns and evictions: events in a row, thoughts, calls by any name, results without calls."""
    messages: list[Message] = []
    for number in range(draw(st.integers(0, 10))):
        call_id = draw(st.sampled_from([f"call_{number:024x}", f"c{number}", f"ab-{number}-é"]))
        result = Message(Role.TOOL, envelopes.function_result(draw(st.booleans()), draw(TEXTS), "now"), call_id=call_id)
        match draw(st.sampled_from(["event", "event", "thought", "call", "call", "result"])):
            case "event":
                messages.append(user(draw(TEXTS)))
            case "thought":
                messages.append(Message(Role.ASSISTANT, draw(TEXTS)))
            case "call":
                call = FunctionCall(call_id, draw(NAMES), draw(ARGUMENTS))
                messages += [Message(Role.ASSISTANT, draw(TEXTS), function_call=call), result]
            case _:
                messages.append(result)
    stored = tuple(replace(message, sequence=number) for number, message in enumerate(messages))
    agent = Agent("a", system=draw(st.sampled_from(["Be yourself.", "\x00", "system"])))
    tools = (TOOL,) if draw(st.booleans()) else ()
    return Context(agent, (Block("persona", draw(TEXTS)),), draw(TEXTS), stored, 99, tools=tools)


def asked(context: Context, *, summary: bool = False) -> ModelRequest:
    """Return the request of the loop for a context, or that for its summary."""
    window = ContextWindow(8192, 1024, 0.75, 0.75, TokenCounter())
    shaped = window.shaped(context)
    functions = functions_of(shaped)
    with contextlib.suppress(WindowTooSmallError):
        shaped = window.fit(shaped, functions)
    if summary:
        text = prompt.transcript(context.messages) or "user: Hello"
        return ModelRequest([Message(Role.SYSTEM, prompt.SUMMARY_INSTRUCTIONS), Message(Role.USER, text)], max_tokens=9)
    return ModelRequest(prompt.compose(shaped), functions, max_tokens=9, note=note_text(shaped, "Answer."))


def accepted(check: Callable[[Body], object], request: ModelRequest, mode: CallMode) -> dict[str, Any]:
    """Return the body that an endpoint accepts in the end, as it decodes it.

    Raises:
        RefusedError: A refusal taught nothing.
    """
    dialect = Dialect(parse_address("http://localhost/v1"), None)
    for _ in range(8):
        body = dialect.body(request, "m", mode, request.max_tokens)
        sent: dict[str, Any] = json.loads(json.dumps(body))
        try:
            check(sent)
        except RefusedError as error:
            refusal = understand(400, {"error": {"message": str(error)}})
            if not dialect.adapt(body, refusal, dialect.changes):
                raise
            continue
        return sent
    raise AssertionError("it is refused without end")


MODES = pytest.mark.parametrize("mode", [CallMode.TOOLS, CallMode.JSON_SCHEMA])
many = settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])


@MODES
@pytest.mark.parametrize("name", VALIDATORS)
@many
@given(context=contexts(), summary=st.booleans())
def test_validators(name: str, mode: CallMode, context: Context, summary: bool) -> None:
    accepted(VALIDATORS[name], asked(context, summary=summary), mode)


@MODES
@pytest.mark.parametrize("name", TEMPLATES)
@many
@given(context=contexts(), summary=st.booleans())
def test_templates(name: str, mode: CallMode, context: Context, summary: bool) -> None:
    if name in WITHOUT_TOOLS and mode is CallMode.TOOLS:
        return
    shown: list[str] = []
    sent = accepted(lambda body: shown.append(render(name, body)), asked(context, summary=summary), mode)
    # No call gets lost on the way, as the first one does with templates that take it for the user's message.
    for message in sent["messages"]:
        for call in message.get("tool_calls") or ():
            assert call["function"]["name"] in shown[-1]


@pytest.mark.parametrize("mode", CallMode)
def test_half_a_character_in_a_call_can_be_sent(mode: CallMode) -> None:
    call = FunctionCall("c", "send_message", '{"message": "\\ud83d Hello"}')
    result = Message(Role.TOOL, envelopes.function_result(True, "None", "now"), call_id="c")
    request = ModelRequest(
        (user("Hi"), Message(Role.ASSISTANT, "", function_call=call), result, user("And?")), BUILT_IN
    )
    body = Dialect(parse_address("http://localhost/v1"), None).body(request, "m", mode, 9)
    assert "Hello" in json.dumps(body, ensure_ascii=False).encode().decode()
