"""Every prompt that the loop can produce is a history that every endpoint takes."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from memgpt_agent import envelopes
from memgpt_agent.domain import FunctionCall, Message, Role
from memgpt_agent.functions import BUILT_IN
from memgpt_agent.models.request import plain, schemas
from memgpt_agent.models.request.history import tool_messages, wire_id
from memgpt_agent.models.request.wire import Quirks

from tests.support.scripted_llm import Request
from tests.support.vendors import VENDORS
from tests.unit.agent.models.asking import question

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
IDS = st.sampled_from(["", "call_0123456789abcdef01234567", "abc"]) | TEXTS


@st.composite
def histories(draw: st.DrawFn) -> list[Message]:
    """Summaries, logins, messages, heartbeats and alerts, with and without answers between them."""
    messages = [Message(Role.SYSTEM, draw(TEXTS.filter(str.strip)))]
    for number in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from(["event", "call", "calls", "thought", "orphan", "bad call"]))
        call_id = f"{draw(IDS)}{number}"
        if kind == "event":
            messages.append(Message(Role.USER, envelopes.heartbeat(draw(TEXTS), "now")))
        elif kind == "thought":
            messages.append(Message(Role.ASSISTANT, draw(TEXTS)))
        elif kind == "orphan":
            messages.append(Message(Role.TOOL, envelopes.function_result(True, draw(TEXTS), "now"), call_id=call_id))
        else:
            for part in range(2 if kind == "calls" else 1):
                arguments = '{"half' if kind == "bad call" else json.dumps({"message": draw(TEXTS)})
                call = FunctionCall(f"{call_id}-{part}", "send_message", arguments)
                messages.append(Message(Role.ASSISTANT, draw(TEXTS), function_call=call))
                messages.append(Message(Role.TOOL, envelopes.function_result(True, "x", "now"), call_id=call.call_id))
    if draw(st.booleans()) or len(messages) == 1:
        messages.append(Message(Role.USER, envelopes.user_message(draw(TEXTS), "now")))
    return messages


def check(rendered: list[dict[str, Any]], *, system: bool = True) -> None:
    roles = [message["role"] for message in rendered]
    assert roles.count("system") == system
    assert roles[system] == "user"
    assert all(isinstance(message["content"], str) for message in rendered)
    assert not {("user", "user"), ("system", "assistant"), ("assistant", "assistant")} & set(itertools.pairwise(roles))
    open_ids: list[str] = []
    for message in rendered:
        for call in message.get("tool_calls") or []:
            assert len(call["id"]) == 9
            assert call["id"].isascii()
            assert call["id"].isalnum()
            json.loads(call["function"]["arguments"])
            open_ids.append(call["id"])
        if message["role"] == "tool":
            assert message["tool_call_id"] == open_ids.pop()
        elif not message.get("tool_calls"):
            assert not open_ids


@settings(deadline=None, max_examples=300)
@given(histories())
def test_roles_ids_and_contents(messages: list[Message]) -> None:
    check(tool_messages(messages))
    strict = tool_messages(messages, Quirks(True, True, True, True, True))
    check(strict, system=False)
    roles = [message["role"] for message in strict]
    assert ("tool", "user") not in itertools.pairwise(roles)
    assert all(message["content"] for message in strict)
    assert all("reasoning_content" in message for message in strict if message.get("tool_calls"))
    alternating = [m["role"] for m in plain.json_messages(messages, BUILT_IN)]
    assert all(one != other for one, other in itertools.pairwise(alternating))
    assert alternating[1] == "user"


@settings(deadline=None, max_examples=100)
@given(histories())
def test_no_vendor_refuses_a_history_once_its_wishes_are_known(messages: list[Message]) -> None:
    """What is left of the vendors' rules concerns options, which are learned one by one."""
    strict = tool_messages(messages, Quirks(True, False, True, True, True))
    request = Request("/v1/chat/completions", {}, {"messages": strict, "tools": schemas.tools(BUILT_IN)})
    for vendor in VENDORS:
        if vendor.name in ("Mistral", "Gemini, /v1beta/openai", "DeepSeek V4", "vLLM with a Mistral template"):
            for rule in vendor.chat or ():
                assert rule(request) is None, vendor.name


def test_ids_are_stable_and_differ() -> None:
    ids = {wire_id(f"call_{number:024x}") for number in range(10_000)}
    assert len(ids) == 10_000
    assert wire_id("call_1") == wire_id("call_1")


def test_schemas_are_within_every_vendors_limits() -> None:
    long = question(functions=BUILT_IN)
    declared = schemas.tools(long.functions)
    assert len(declared) <= 128
    for tool in declared:
        function: Any = tool["function"]
        assert len(function["name"]) <= 64
        assert len(function["description"]) <= 1024
    schema: Any = schemas.without({"type": "object", "properties": {"enum": {"description": "x" * 5000}}}, frozenset())
    assert len(schema["properties"]["enum"]["description"]) == 1024
