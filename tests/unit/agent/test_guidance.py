"""What small models are told to do next."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.guidance import next_step
from memgpt_agent.domain import Attachment, Context, FunctionCall, Message, Role

from tests.unit.agent.fakes import answered, say, user


def after(*messages: Message, attached: bool = False, summary: str = "") -> str:
    context = answered(attachments=(Attachment("paper", 71),) if attached else ())
    return next_step(replace(context, messages=messages, summary=summary))


def searched(name: str) -> tuple[Message, Message]:
    call = FunctionCall("c", name, '{"query": "x"}')
    result = Message(Role.TOOL, '{"status": "OK", "message": "Showing…"}', call_id="c")
    return Message(Role.ASSISTANT, "Look.", function_call=call), result


def test_the_question_is_repeated_after_results() -> None:
    told = after(user("Who wrote it?"), *searched("conversation_search"))
    assert "“Who wrote it?”" in told
    assert "only by archival_memory_search" in told
    assert "only by" not in after(user("Who wrote it?"), *searched("archival_memory_search"))


@pytest.mark.parametrize("question", ["What is it about?", "它讲的是什么？", "你看过那篇论文吗"])
def test_a_question_with_sources_attached_points_to_them(question: str) -> None:
    assert "archival_memory_search first" in after(user(question), attached=True)
    assert "archival_memory_search" not in after(user(question))


@pytest.mark.parametrize("attached", [True, False])
def test_a_fact_is_to_be_saved_whatever_is_attached(attached: bool) -> None:
    assert "core_memory_append" in after(user("My name is Anna."), attached=attached)


def test_nothing_is_added_once_the_agent_has_spoken_or_nobody_asked() -> None:
    spoken = Message(Role.ASSISTANT, "", function_call=say("Hi.").call)
    assert after(user("Hi"), spoken) == ""
    assert after(Message(Role.USER, envelopes.heartbeat("go on", "now"))) == ""
    assert next_step(Context(answered().agent)) == ""


def test_a_question_that_left_the_window_is_still_repeated() -> None:
    summary = f"We talked.{prompt.STILL_OPEN}Who wrote it?"
    assert "“Who wrote it?”" in after(*searched("conversation_search"), summary=summary)


def test_a_long_question_is_cut() -> None:
    told = after(user("why " * 500 + "?"), *searched("archival_memory_search"))
    assert len(told) < 700
