"""Every prompt begins with the one before it, byte for byte, unless core memory, the tools or the window changed.

The requests are those that an endpoint gets, in both modes of calling functions.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memgpt.endpoints.address import parse_address
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


@pytest.mark.parametrize("mode", [CallMode.TOOLS, CallMode.JSON_SCHEMA])
def test_only_the_first_edit_of_a_block_in_a_window_changes_the_prefix(mode: CallMode) -> None:
    begin = NOW - timedelta(hours=1)
    human = next(block for block in answered().blocks if block.label == "human")
    messages = tuple(replace(m, created_at=begin) for m in answered().messages)

    def sent_with(value: str, minutes: int) -> tuple[list[dict[str, Any]], str]:
        edited = replace(human, value=value, updated_at=begin + timedelta(minutes=minutes))
        blocks = tuple(edited if block.label == "human" else block for block in answered().blocks)
        view = make_loop(FakeMemory(), ScriptedModel()).view(replace(answered(), blocks=blocks, messages=messages))
        request_ = ModelRequest(view.messages(), view.functions, note=view.note(), guided_note=view.guided_note())
        return sent(request_, mode)

    unedited, first, second = sent_with("Likes tea.", -1), sent_with("Likes tea.", 1), sent_with("Likes cocoa.", 2)
    assert "Likes tea." in unedited[0][0]["content"]
    assert "Likes tea." not in unedited[1]
    assert "Likes tea." not in str(first[0][:-1])
    assert "Likes tea.\n</human>" in first[1]
    assert "Likes cocoa.\n</human>" in second[1]
    assert first[0][:-1] == second[0][:-1], "what the second edit changed is in the note"


def test_the_usage_of_a_window_is_the_same_wherever_a_block_is_shown() -> None:
    edited = tuple(replace(block, updated_at=NOW + timedelta(hours=1)) for block in answered().blocks)
    shown_late = replace(
        answered(), blocks=edited, messages=tuple(replace(m, created_at=NOW) for m in answered().messages)
    )
    loop = make_loop(FakeMemory(), ScriptedModel())
    early, late = loop.view(answered()), loop.view(shown_late)
    assert abs(late.prompt_tokens - early.prompt_tokens) <= 2
    before, after = (measure(view.context, view.window, view.functions)[0] for view in (early, late))
    assert abs(after.blocks - before.blocks) <= 2
    assert abs(after.total - before.total) <= 60, "the mark, and the line that points to the note"


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
