"""Facts about the user beside a call, in the mode ``json_schema``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from memgpt_agent import envelopes
from memgpt_agent.domain import FunctionCall, Message, Role
from memgpt_agent.functions import BUILT_IN
from memgpt_agent.models.answer.function_names import FunctionNames
from memgpt_agent.models.answer.partial_json import PartialCall
from memgpt_agent.models.answer.text_calls import calls_in
from memgpt_agent.models.base import DeltaKind
from memgpt_agent.models.request import schemas
from memgpt_agent.models.request.plain import json_messages

NAMES = FunctionNames(BUILT_IN)


def answer(**beside: object) -> dict[str, Any]:
    call = {"function": "send_message", "arguments": {"message": "Hello, Ada!"}}
    return {"inner_thoughts": "A name.", **beside, "call": call}


@pytest.mark.parametrize("flat", [True, False])
def test_the_place_is_in_the_schema_only_if_there_may_be_facts(flat: bool) -> None:
    for learns in (True, False):
        form: Any = schemas.json_schema(BUILT_IN, learns=learns, flat=flat)
        schema = form["json_schema"]["schema"]
        assert ("new_about_user" in schema["properties"]) is learns
        assert schema["required"] == list(schema["properties"])


def test_facts_are_saved_before_the_call_beside_them_is_made() -> None:
    found = calls_in(json.dumps(answer(new_about_user=" The user's name is Ada. ")), NAMES)
    assert found.thought == "A name."
    assert [call.name for call in found.calls] == ["core_memory_append", "send_message"]
    assert json.loads(found.calls[0].arguments) == {"name": "human", "content": "The user's name is Ada."}


@pytest.mark.parametrize("nothing", ["", "  ", None, 7, ["x"], "None", "n/a", "(nothing new)", "无。"])
def test_nothing_is_saved_if_there_is_no_fact(nothing: object) -> None:
    found = calls_in(json.dumps(answer(new_about_user=nothing)), NAMES)
    assert [call.name for call in found.calls] == ["send_message"]


class Shown:
    """Keeps what a reader of the stream sees."""

    def __init__(self) -> None:
        self.text: list[tuple[DeltaKind, str]] = []

    def delta(self, kind: DeltaKind, text: str) -> None:
        self.text.append((kind, text))

    def restart(self, reason: str) -> None:
        raise AssertionError(reason)


@pytest.mark.parametrize(("fact", "streams"), [("The user likes tea.", False), ("", True), (" ", True)])
def test_a_reply_is_not_streamed_before_the_fact_beside_it_is_saved(fact: str, streams: bool) -> None:
    shown = Shown()
    partial = PartialCall(shown)
    for char in json.dumps(answer(new_about_user=fact)):
        partial.answer(char)
    said = "".join(text for kind, text in shown.text if kind is DeltaKind.MESSAGE)
    assert said == ("Hello, Ada!" if streams else "")


def messages(*, saved: bool = True, thought: str = "") -> list[Message]:
    fact = FunctionCall("c1", "core_memory_append", envelopes.dumps({"name": "human", "content": "Likes tea."}))
    spoken = FunctionCall("c2", "send_message", envelopes.dumps({"message": "Noted!"}))
    return [
        Message(Role.USER, envelopes.user_message("I like tea.", "now")),
        Message(Role.ASSISTANT, "Tea.", function_call=fact),
        Message(Role.TOOL, envelopes.function_result(saved, "The result.", "now"), call_id="c1"),
        Message(Role.ASSISTANT, thought, function_call=spoken),
        Message(Role.TOOL, envelopes.function_result(True, "Sent.", "now"), call_id="c2"),
        Message(Role.USER, envelopes.user_message("And cocoa.", "now")),
    ]


def test_the_model_sees_its_earlier_answers_in_the_form_in_which_it_gave_them() -> None:
    rendered = json_messages(messages(), BUILT_IN)
    assert [one["role"] for one in rendered] == ["user", "assistant", "user"]
    assert json.loads(str(rendered[1]["content"])) == {
        "inner_thoughts": "Tea.",
        "new_about_user": "Likes tea.",
        "call": {"function": "send_message", "arguments": {"message": "Noted!"}},
    }
    assert "Sent." not in str(rendered), "a sent message has no result that matters"


@pytest.mark.parametrize("history", [messages(saved=False), messages(thought="Now I speak.")])
def test_a_write_that_failed_or_stood_alone_is_shown_with_its_result(history: list[Message]) -> None:
    rendered = json_messages(history, BUILT_IN)
    assert [one["role"] for one in rendered] == ["user", "assistant", "user", "assistant", "user"]
    assert "The result." in str(rendered[2]["content"])
    assert "new_about_user" not in str(rendered)
