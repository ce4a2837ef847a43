"""Every prompt begins with the one before it, byte for byte, unless core memory, the tools or the window changed.

The requests are those that an endpoint gets, in both modes of calling functions.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memgpt.endpoints.address import parse_address
from memgpt_agent.context_window.prompt import changed_blocks
from memgpt_agent.context_window.usage import measure
from memgpt_agent.domain import Agent, Attachment, Context, PassageHit
from memgpt_agent.models.base import Completion, ModelRequest
from memgpt_agent.models.endpoint import CallMode
from memgpt_agent.models.request.dialect import Dialect
from memgpt_agent.remote_tools.description import describe
from memgpt_agent.remote_tools.port import ToolResult

from tests.unit.agent.fakes import (
    NOW,
    FakeMemory,
    FakeTools,
    ScriptedModel,
    answered,
    call,
    make_loop,
    request,
    run,
    say,
)

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(str.strip)

STEPS = st.one_of(
    st.builds(lambda text: call("archival_memory_search", query=text, request_heartbeat=True), TEXT),
    st.builds(lambda text: call("conversation_search", query=text, request_heartbeat=True), TEXT),
    st.builds(lambda text: call("archival_memory_insert", content=text, request_heartbeat=False), TEXT),
    st.builds(lambda text: call("send_message", thought=text, message=7), TEXT),
    st.builds(lambda text: call("no_such_function", raw=text), TEXT),
    st.builds(lambda text: call("send_message", thought="Use conversation_search.", message=text), TEXT),
    st.builds(Completion, TEXT),
)
"""Answers after which the agent continues: found, failed, written, objected to."""

TURNS = st.lists(st.tuples(TEXT, st.lists(STEPS, max_size=4)), min_size=1, max_size=4)


def sent(asked: ModelRequest, mode: CallMode) -> tuple[list[dict[str, Any]], str]:
    """The messages of a request on the wire, and the note at their end."""
    body = Dialect(parse_address("http://localhost/v1"), None).body(asked, "m", mode, 500)
    messages: list[dict[str, Any]] = body["messages"]  # type: ignore[assignment]
    note = asked.guided_note if mode is CallMode.JSON_SCHEMA else asked.note
    assert note
    assert str(messages[-1]["content"]).endswith(note)
    assert not any(note_of(message) for message in messages[:-1]), "an earlier note stayed in the conversation"
    return messages, note


def note_of(message: dict[str, Any]) -> bool:
    return message["role"] == "user" and '"system_status"' in str(message["content"])


def assert_prefix(earlier: ModelRequest, later: ModelRequest, mode: CallMode) -> None:
    before, note = sent(earlier, mode)
    after, _ = sent(later, mode)
    # Whole messages, without the trailing one that holds the note.
    assert after[: len(before) - 1] == before[:-1]
    # What the note was joined to is continued as it was.
    last = str(before[-1]["content"]).removesuffix(note).removesuffix("\n")
    if last:
        assert str(after[len(before) - 1]["content"]).startswith(last)
        assert after[len(before) - 1]["role"] == before[-1]["role"]


async def requests_of(turns: list[tuple[str, list[Completion]]]) -> list[ModelRequest]:
    """The requests of some turns; between two of them, what the note tells changes."""
    memory = FakeMemory(answered(attachments=(Attachment("paper", 71),)))
    asked: list[ModelRequest] = []
    for number, (text, steps) in enumerate(turns):
        model = ScriptedModel(*steps, *[say(f"Number {number}, {n}: {text}") for n in range(9)])
        await run(make_loop(memory, model), request(text, f"r{number}"))
        asked += model.requests
        memory.passages.append(PassageHit("one more", NOW))
        sources = (*memory.context.agent.attachments, Attachment(f"source-{number}", number))
        memory.context = replace(memory.context, agent=replace(memory.context.agent, attachments=sources))
    return asked


@pytest.mark.parametrize("mode", [CallMode.TOOLS, CallMode.JSON_SCHEMA])
@settings(deadline=None, max_examples=60)
@given(TURNS)
def test_each_prompt_begins_with_the_one_before(mode: CallMode, turns: list[tuple[str, list[Completion]]]) -> None:
    asked = asyncio.run(requests_of(turns))
    assert len(asked) >= len(turns)
    for earlier, later in itertools.pairwise(asked):
        assert_prefix(earlier, later, mode)
        assert [f.name for f in earlier.functions] == [f.name for f in later.functions]


@pytest.mark.parametrize("mode", [CallMode.TOOLS, CallMode.JSON_SCHEMA])
async def test_an_edit_of_core_memory_changes_the_system_message_only(mode: CallMode) -> None:
    memory = FakeMemory(answered())
    append = call("core_memory_append", name="human", content="Likes tea.", request_heartbeat=True)
    model = ScriptedModel(append, say("Tea it is."))
    await run(make_loop(memory, model), request("I like tea."))
    before, after = (sent(one, mode)[0] for one in model.requests)
    assert before[0] != after[0]
    assert after[1 : len(before) - 1] == before[1:-1]


def remember(line: str) -> Completion:
    return call("core_memory_append", name="human", content=line, request_heartbeat=True)


@pytest.mark.parametrize("mode", [CallMode.TOOLS, CallMode.JSON_SCHEMA])
async def test_only_the_first_edit_of_a_block_in_a_window_changes_the_prefix(mode: CallMode) -> None:
    memory = FakeMemory(answered())
    model = ScriptedModel(remember("Likes tea."), remember("Likes cocoa."), say("Noted."), say("Hello again."))
    loop = make_loop(memory, model)
    await run(loop, request("I like tea, and cocoa.", "r1"))
    await run(loop, request("Hello?", "r2"))
    unedited, first, second, later = model.requests
    assert sent(unedited, mode)[0][0] != sent(first, mode)[0][0]
    assert_prefix(first, second, mode)
    assert_prefix(second, later, mode)
    assert "Likes tea.\n</human>" in sent(first, mode)[1]
    assert "Likes tea.\nLikes cocoa.\n</human>" in sent(later, mode)[1]
    assert "<human" not in sent(later, mode)[0][0]["content"]


async def test_a_long_block_and_one_that_was_not_edited_stay_in_the_system_message() -> None:
    memory = FakeMemory(answered())
    model = ScriptedModel(
        call("core_memory_append", name="human", content="", request_heartbeat=True),
        remember("x" * 1_001),
        say("Noted."),
    )
    await run(make_loop(memory, model), request("I like tea."))
    for asked in model.requests:
        messages, note = sent(asked, CallMode.TOOLS)
        assert "<human" in messages[0]["content"]
        assert "<human" not in note


async def test_the_usage_of_a_window_is_the_same_wherever_a_block_is_shown() -> None:
    memory = FakeMemory(answered())
    loop = make_loop(memory, ScriptedModel(remember("Likes tea."), say("Noted.")))
    await run(loop, request("I like tea."))
    late = loop.view(memory.context)
    assert changed_blocks(late.context)
    unedited = tuple(
        m for m in late.context.messages if m.function_call is None or m.function_call.name == "send_message"
    )
    early = loop.view(replace(late.context, messages=unedited))
    assert not changed_blocks(early.context)
    before, after = (measure(view.context, view.window, view.functions)[0] for view in (early, late))
    assert abs(after.blocks - before.blocks) <= 2
    assert abs(after.functions - before.functions) <= 20
    assert abs(after.instructions - before.instructions) <= 50, "the line that points to the note"


@pytest.mark.parametrize("mode", [CallMode.TOOLS, CallMode.JSON_SCHEMA])
async def test_remote_calls_keep_the_prefix(mode: CallMode) -> None:
    context = replace(answered(), tools=(describe("roll", "Rolls a die.", "", "localhost:7"),))
    model = ScriptedModel(call("roll", request_heartbeat=True), say("A six."))
    await run(make_loop(FakeMemory(context), model, FakeTools(ToolResult(True, "six"))), request())
    assert_prefix(model.requests[0], model.requests[1], mode)


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.2, 1.4])
def test_learning_how_the_endpoint_counts_does_not_change_the_form(scale: float) -> None:
    loop = make_loop(FakeMemory(), ScriptedModel(), context_window=8192)
    context = Context(Agent("a", system="Be kind. " * 330), answered().blocks, messages=answered().messages)
    window = loop.view(context).window
    first = window.shaped(context)
    assert replace(window, scale=scale).shaped(context).brief == first.brief
