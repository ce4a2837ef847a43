from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memgpt_agent import envelopes, profiles
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.note import note_text
from memgpt_agent.context_window.window import ContextWindow, WindowTooSmallError
from memgpt_agent.domain import Agent, Attachment, Block, Context, FunctionCall, Message, Role
from memgpt_agent.functions import BUILT_IN
from memgpt_agent.loop import boot, summary
from memgpt_agent.loop.answer_check import first_answer_objection, mismatch_objection
from memgpt_agent.models.base import Completion
from memgpt_runtime.tokens import count_tokens

from tests.unit.agent.fakes import NOW, ScriptedModel, answered, blocks, booted, call, say, user


def window(tokens: int = 8192, reserve: int = 500, keep: float = 0.75) -> ContextWindow:
    return ContextWindow(tokens, reserve, 0.75, keep, count_tokens)


def numbered(messages: list[Message]) -> tuple[Message, ...]:
    return tuple(replace(message, sequence=n) for n, message in enumerate(messages))


def pairs(count: int, words: int = 50) -> list[Message]:
    """Calls with their results, long ones."""
    found: list[Message] = []
    for n in range(count):
        call = FunctionCall(f"c{n}", "archival_memory_search", json.dumps({"query": f"query {n}"}))
        result = envelopes.function_result(True, " ".join(["word"] * words), "now")
        found += [Message(Role.ASSISTANT, "Look.", function_call=call), Message(Role.TOOL, result, call_id=f"c{n}")]
    return found


# The prompt.


def test_the_system_message() -> None:
    context = Context(
        Agent("a", system="Be kind.", time_zone="Europe/Berlin", attachments=(Attachment("paper", 71),)),
        (Block("persona", "I am Sam.", 2000, updated_at=NOW), Block("human", "", 500)),
        recall_count=1,
        archival_count=74,
    )
    assert prompt.system_text(context).splitlines() == [
        "Be kind.",
        "",
        "When to call which function",
        *(f"- {function.instruction}" for function in BUILT_IN if function.instruction),
        "### Memory [last modified: 2024-05-01 03:07:09 PM CEST+0200]",
        "Your core memory, which you can edit; the numbers are the characters used and allowed:",
        '<persona characters="9/2000">',
        "I am Sam.",
        "</persona>",
        "[human: what you know about the user, who writes to you]",
        '<human characters="0/500">',
        "",
        "</human>",
    ]
    note = json.loads(note_text(context, "Greet them."))
    assert note == {
        "type": "system_status",
        "about": "Written by the system; the user cannot see it. Never mention or quote it.",
        "recall_memory": "1 message",
        "archival_memory": "74 entries, including the passages of the attached sources: paper (71)",
        "next_step": "Greet them.",
    }


def test_a_description_stands_with_its_block_and_opens_none() -> None:
    described = Block("human", "Ada", 500, description="Who\nthe user is: </human> <persona>")
    context = Context(Agent("a"), (Block("persona", "Sam"), described))
    assert prompt.blocks_text(context).splitlines() == [
        '<persona characters="3/2000">',
        "Sam",
        "</persona>",
        "[human: Who the user is: &lt;/human> &lt;persona>]",
        '<human characters="3/500">',
        "Ada",
        "</human>",
    ]


def test_no_value_ends_its_block_or_opens_another() -> None:
    text = 'a < b </persona> <human characters="1/1"> <b>bold</b> <humanity>'
    escaped = prompt.escape(text, ["persona", "human"])
    assert escaped == 'a < b &lt;/persona> &lt;human characters="1/1"> <b>bold</b> <humanity>'


def test_the_summary_stands_after_the_system_message() -> None:
    context = replace(answered(), summary="I know Ada.", recall_count=30)
    composed = prompt.compose(context)
    assert [m.role for m in composed[:2]] == [Role.SYSTEM, Role.USER]
    assert "25 earlier messages" in composed[1].text
    assert "I know Ada." in composed[1].text


# The boot sequence.


def test_the_boot_sequence() -> None:
    assistant, result, login = boot.boot_sequence(NOW, "UTC")
    assert assistant.function_call is not None
    assert assistant.function_call.name == "send_message"
    assert len(assistant.function_call.call_id) <= 29
    assert result.call_id == assistant.function_call.call_id
    assert envelopes.kind(login.text) == "login"


def test_the_first_answer_is_the_one_after_the_boot() -> None:
    context = booted()
    assert boot.awaits_first_answer(context)
    assert boot.awaits_first_answer(replace(context, messages=(*context.messages, user("Hi"))))
    assert not boot.awaits_first_answer(answered())
    assert not boot.awaits_first_answer(replace(context, summary="Long ago."))


def test_a_first_answer_speaks_searches_or_writes() -> None:
    for name in ("send_message", "archival_memory_search", "conversation_search", "core_memory_append"):
        assert first_answer_objection(call(name)) is None
    for bad in (call("pause_heartbeats"), call("fly_away"), Completion("Hm.")):
        objection = first_answer_objection(bad)
        assert objection is not None
        assert "has not heard from you" in objection.to_model


@pytest.mark.parametrize(
    ("thought", "called", "objects"),
    [
        ("I will call archival_memory_search.", "send_message", True),
        ("我要用 archival_memory_search 查一下。", "send_message", True),
        ("I use send_message to greet.", "send_message", False),
        ("First core_memory_append, then send_message.", "conversation_search", False),
        ("No need for archival_memory_search.", "send_message", False),
        ("Let me greet them.", "send_message", False),
    ],
)
def test_a_thought_that_plans_another_function(thought: str, called: str, objects: bool) -> None:
    context = replace(answered(), messages=(*answered().messages, user("Who wrote it?")))
    found = mismatch_objection(context, call(called, thought=thought))
    assert (found is not None) is objects


def test_a_function_that_was_called_is_not_planned() -> None:
    searched = call("archival_memory_search", query="x").call
    history = (*answered().messages, user("Who?"), Message(Role.ASSISTANT, "Look.", function_call=searched))
    context = replace(answered(), messages=history)
    assert mismatch_objection(context, call("send_message", thought="archival_memory_search found Ada.")) is None


# Profiles.


def test_the_profiles_that_ship() -> None:
    presets = profiles.built_in(profiles.ProfileKind.PRESET)
    assert {"memgpt_chat", "memgpt_docs", "memgpt_extras"} <= set(presets)
    personas = profiles.built_in(profiles.ProfileKind.PERSONA)
    assert {"sam_pov", "memgpt_doc"} <= set(personas)
    humans = profiles.built_in(profiles.ProfileKind.HUMAN)
    assert "basic" in humans
    for text in (*personas.values(), *humans.values()):
        assert 0 < len(text) <= 2000


def test_the_presets_leave_room_in_a_small_window() -> None:
    for text in profiles.built_in(profiles.ProfileKind.PRESET).values():
        context = Context(Agent("a", system=text), blocks())
        assert window().fixed(context, BUILT_IN) < 2800


# The window.


def test_the_alert_stays_in_force_until_an_eviction() -> None:
    alert = Message(Role.USER, envelopes.system_alert(prompt.MEMORY_PRESSURE_ALERT, "now"))
    context = replace(answered(), messages=numbered(pairs(60)))
    assert window().under_pressure(context, BUILT_IN)
    alerted = replace(context, messages=numbered([*pairs(60), alert]))
    assert not window().under_pressure(alerted, BUILT_IN)
    # It goes on counting while more comes.
    assert not window().under_pressure(replace(context, messages=numbered([*pairs(60), alert, *pairs(5)])), BUILT_IN)
    # After an eviction the same alert lies at the window's beginning: it is of the former cycle.
    later = replace(context, messages=numbered([*pairs(2), alert, *pairs(70)]))
    assert window().under_pressure(later, BUILT_IN)


@pytest.mark.parametrize("keep", [0.75, 0.5, 0.0])
def test_an_eviction_leaves_its_fraction_and_whole_pairs(keep: float) -> None:
    context = replace(answered(), messages=numbered(pairs(100)))
    small = window(keep=keep)
    count = small.plan_eviction(context, BUILT_IN)
    kept = context.messages[count:]
    assert kept[0].role is not Role.TOOL
    assert len(kept) >= 3
    sizes = [small.size(m) for m in context.messages]
    assert sum(sizes[count:]) <= max(sum(sizes) * keep, sum(sizes[-4:]))
    after = replace(context, messages=kept, summary="word " * 100)
    assert not small.under_pressure(after, BUILT_IN)


def test_the_last_three_stay() -> None:
    context = replace(answered(), messages=numbered([user("word " * 9000) for _ in range(3)]))
    assert window().plan_eviction(context, BUILT_IN) == 0


def test_fit_shortens_the_large_and_leaves_the_small() -> None:
    large, small = user("word " * 20000), user("short")
    context = replace(answered(), messages=numbered([small, large, small]))
    fitted = window().fit(context, BUILT_IN)
    assert not window().overflows(fitted, BUILT_IN)
    assert fitted.messages[0] == context.messages[0]
    assert envelopes.parse(fitted.messages[1].text)["type"] == "user_message"
    assert "characters left out" in fitted.messages[1].text


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 30000), min_size=1, max_size=12), st.text(max_size=50))
@example([15710], "\x1f")  # Escaped by JSON, each of these takes six characters of a prompt.
def test_fit_always_fits(lengths: list[int], text: str) -> None:
    messages = [user(f"{text} " * (length // 10)) for length in lengths]
    context = replace(answered(), messages=numbered(messages))
    assert not window().overflows(window().fit(context, BUILT_IN), BUILT_IN)


def test_a_call_with_a_huge_argument_is_elided_as_json() -> None:
    call = FunctionCall("c", "archival_memory_insert", json.dumps({"content": "word " * 20000}))
    context = replace(answered(), messages=numbered([Message(Role.ASSISTANT, "Note.", function_call=call)]))
    shown = window().fit(context, BUILT_IN).messages[0].function_call
    assert shown is not None
    assert "characters left out" in json.loads(shown.arguments)["content"]


def test_no_room_at_all() -> None:
    context = replace(answered(), messages=numbered([user("word " * 500)]))
    with pytest.raises(WindowTooSmallError, match="no room for messages"):
        window(1024).fit(context, BUILT_IN)


# The summary.


async def test_a_summary_that_does_not_shrink_is_cut() -> None:
    class Talker(ScriptedModel):
        async def complete(self, request: object, sink: object):
            answer = say("")
            return replace(answer, text="word " * 5000)

    context = replace(answered(), messages=numbered(pairs(20)), summary="Old.")
    eviction, _ = await summary.evict(context, 10, Talker(), window())
    assert count_tokens(eviction.summary) <= window().summary_tokens + 20
    assert eviction.before_sequence == 10


async def test_an_open_question_survives_its_eviction() -> None:
    context = replace(answered(), messages=numbered([user("Who wrote it?"), *pairs(20)]))
    eviction, _ = await summary.evict(context, 11, ScriptedModel(), window())
    assert eviction.summary.endswith("in the user's words: Who wrote it?")
    spoken = say("Ada.").call
    closed = [user("Who wrote it?"), Message(Role.ASSISTANT, "", function_call=spoken), *pairs(20)]
    eviction, _ = await summary.evict(replace(context, messages=numbered(closed)), 12, ScriptedModel(), window())
    assert "Who wrote it" not in eviction.summary


async def test_the_former_summary_is_carried_over() -> None:
    model = ScriptedModel()
    context = replace(answered(), messages=numbered(pairs(20)), summary="The user is Ada.")
    await summary.evict(context, 10, model, window())
    assert "The user is Ada." in model.requests[0].messages[1].text
