"""Fitting what other systems' files contain to the contracts, without a service."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from memgpt.cli.errors import CliError
from memgpt.cli.imports.blocks import fit_blocks
from memgpt.cli.imports.conversation import Conversation
from memgpt.cli.imports.metadata import tags_of
from memgpt.cli.imports.pieces import (
    Agent,
    Assistant,
    Block,
    Call,
    Contents,
    Message,
    Passage,
    Result,
    Results,
    User,
)
from memgpt.cli.imports.plan import AgentPlan, Options, plan_agents
from memgpt.cli.imports.report import Kind, Report
from memgpt.cli.imports.shared_blocks import plan_shared_blocks
from memgpt.memory.v1 import message_pb2 as pb

NOON = datetime(2025, 4, 1, 12, tzinfo=UTC)


@pytest.fixture
def report() -> Iterator[Report]:
    with Report() as opened:
        yield opened


def converted(report: Report, *messages: Message, zone: str = "UTC") -> tuple[list[pb.Message], Conversation]:
    conversation = Conversation(zone, report)
    return list(conversation.convert(messages)), conversation


def planned(report: Report, agent: Agent, **options: object) -> AgentPlan:
    return plan_agents(Contents(agents=(agent,)), "test", Options(**options), report)[0]  # type: ignore[arg-type]


def shape(messages: Sequence[pb.Message]) -> list[tuple[str, str]]:
    """Role of each message, and the function that it calls or the id of the call that it answers."""
    return [(pb.Role.Name(m.role).removeprefix("ROLE_"), m.function_call.name or m.call_id) for m in messages]


def test_plain_text_of_a_user_gets_an_envelope_in_the_agents_time_zone_and_an_envelope_stays(report: Report) -> None:
    envelope = '{"type": "login", "last_login": "never", "time": "then"}'
    own = '{"type": "invoice", "total": 3}'
    told, _ = converted(
        report,
        Message(User("Hello\u200b", name="Zoë\n"), NOON),
        Message(User(envelope), NOON),
        Message(User(own)),
        zone="Asia/Tokyo",
    )
    assert json.loads(told[0].text) == {
        "type": "user_message",
        "message": "Hello\u200b",
        "time": "2025-04-01 09:00:00 PM JST+0900",
        "name": "Zoë",
    }
    assert told[1].text == envelope
    assert json.loads(told[2].text) == {"type": "user_message", "message": own}, "a user's own JSON is no event"
    assert [m.sequence for m in told] == [0, 1, 2]
    assert [m.create_time.seconds for m in told] == [int(NOON.timestamp())] * 3, "a missing time is the one before"


def test_parallel_calls_become_single_ones_each_followed_by_its_result(report: Report) -> None:
    calls = (Call("a", "one", "{}"), Call("b" * 40, "two", "{}"), Call("c", "three", "{}"))
    told, _ = converted(
        report,
        Message(Assistant(thought="Let me look.", calls=calls)),
        Message(Results((Result("b" * 40, "second", ok=False),))),
        Message(User("later")),
        Message(Results((Result("a", '{"status": "OK", "message": "first"}'),))),
        Message(Assistant(thought="Done.")),
    )
    long = told[2].function_call.call_id
    assert long.startswith("c_")
    assert len(long) == 29
    assert shape(told) == [
        ("ASSISTANT", "one"),
        ("TOOL", "a"),
        ("ASSISTANT", "two"),
        ("TOOL", long),
        ("ASSISTANT", "three"),
        ("TOOL", "c"),
        ("USER", ""),
        ("ASSISTANT", ""),
    ]
    assert [m.text for m in told if m.role == pb.ROLE_ASSISTANT] == ["Let me look.", "", "", "Done."]
    results = [json.loads(m.text) for m in told if m.role == pb.ROLE_TOOL]
    assert [(r["status"], r["message"]) for r in results[:2]] == [("OK", "first"), ("Failed", "second")]
    assert results[2]["status"] == "Failed"
    assert report.count(Kind.CHANGED, "call without a result; a failed one was made") == 1


def test_a_result_without_its_call_is_left_out_and_reported(report: Report) -> None:
    told, _ = converted(report, Message(Results((Result("x", "lost"),))), Message(User("hi")))
    assert shape(told) == [("USER", "")]
    assert report.count(Kind.LEFT_OUT, "result without its call") == 1


def test_results_that_do_not_tell_their_calls_follow_in_order(report: Report) -> None:
    told, _ = converted(
        report,
        Message(Assistant(calls=(Call("a", "one", "{}"), Call("b", "two", "{}"), Call("c", "three", "{}")))),
        Message(Results((Result("a", "first"), Result("", "second")))),
        Message(Results((Result("", "third"), Result("", "lost")))),
    )
    assert [json.loads(m.text)["message"] for m in told if m.role == pb.ROLE_TOOL] == ["first", "second", "third"]
    assert report.count(Kind.LEFT_OUT, "result without its call") == 1


def test_a_plain_reply_becomes_a_call_of_send_message(report: Report) -> None:
    told, _ = converted(report, Message(Assistant(thought="Hm.", reply="Höi!", calls=(Call("a", "look", "{}"),))))
    call_id = told[0].function_call.call_id
    assert shape(told)[:3] == [("ASSISTANT", "send_message"), ("TOOL", call_id), ("ASSISTANT", "look")]
    assert json.loads(told[0].function_call.arguments) == {"message": "Höi!"}
    assert [told[0].text, told[2].text] == ["Hm.", ""]


def test_the_label_of_a_core_memory_call_is_renamed_so_that_a_model_can_copy_it(report: Report) -> None:
    arguments = '{"label": "system/human", "content": "Ada"}'
    told, _ = converted(
        report, Message(Assistant(calls=(Call("a", "core_memory_append", arguments), Call("b", "other", arguments))))
    )
    assert json.loads(told[0].function_call.arguments) == {"name": "system_human", "content": "Ada"}
    assert told[2].function_call.arguments == arguments


def test_the_window_is_the_tail_and_a_result_stays_with_its_call(report: Report) -> None:
    told, conversation = converted(
        report,
        Message(User("old"), in_window=False),
        Message(Assistant(calls=(Call("a", "look", "{}"),)), in_window=False),
        Message(Results((Result("a", "found"),)), in_window=True),
        Message(User("gap"), in_window=False),
        Message(User("new"), in_window=True),
    )
    assert conversation.start == 1
    assert conversation.widened == 1
    assert conversation.count == len(told) == 5
    _, empty = converted(report, Message(User("old"), in_window=False))
    assert empty.start == 1


def test_over_long_and_odd_values_are_cut_and_reported(report: Report) -> None:
    far = datetime(9999, 1, 1, tzinfo=UTC)
    told, _ = converted(
        report,
        Message(User('{"type": "user_message", "message": "' + "é" * (1 << 20) + '"}'), NOON),
        Message(Assistant(calls=(Call("", "f" * 70, "not json"),)), far),
    )
    assert len(told[0].text.encode()) <= 1 << 20
    assert len(told[1].function_call.name) == 64
    assert told[1].create_time.seconds == int(NOON.timestamp())
    assert report.count(Kind.LEFT_OUT, "rest of a message over 1 MiB") == 1
    assert report.count(Kind.CHANGED, "time is not in the years 1970 to 9998") >= 1


def test_labels_limits_and_long_values_of_blocks(report: Report) -> None:
    blocks = [
        Block("system/human/work", "a", 100_000, "What the user does."),
        Block("system_human_work", "b", 5),
        Block("../../etc/passwd", "c" * 9, 5, read_only=True),
        Block("1", "d" * 20_003, 5_000),
        Block("日本", "", 0, "x" * 1_001),
        *(Block(f"more{n}", f"text {n}") for n in range(29)),
    ]
    result = fit_blocks(blocks, "agent", report)
    fitted, notes = result.blocks, result.notes
    assert [(b.label, b.limit, b.read_only) for b in fitted[:5]] == [
        ("system_human_work", 20_000, False),
        ("system_human_work_2", 5, False),
        ("etc_passwd", 9, True),
        ("block_1", 20_000, False),
        ("block", 2_000, False),
    ]
    assert fitted[0].description == "What the user does."
    assert len(fitted[4].description) == 1_000
    assert len(fitted) == 32
    assert [(note.text, note.tags) for note in notes] == [
        ("ddd", ("block:block_1",)),
        ("text 27", ("block:more27",)),
        ("text 28", ("block:more28",)),
    ]


def test_two_passes_say_the_same_and_the_same_content_has_the_same_origin(report: Report) -> None:
    messages = [Message(User(f"message {n}"), NOON + timedelta(minutes=n), in_window=n >= 3) for n in range(5)]
    agent = Agent("Ada\u202e \n", messages=messages, passages=(Passage("note", ("a" * 70, "")), Passage(" ")))
    plan = planned(report, agent)
    assert (plan.name, plan.message_count, plan.window_start, plan.passage_count) == ("Ada", 5, 3, 1)
    pieces = list(plan.pieces("You are kind."))
    assert pieces[1].agent.system == "You are kind."
    assert pieces[1].agent.origin == plan.origin
    assert (pieces[-1].end.message_count, pieces[-1].end.passage_count) == (5, 1)
    assert [piece.WhichOneof("piece") for piece in pieces].count("message") == 5
    with Report() as again:
        assert planned(again, agent).origin == plan.origin
        assert planned(again, agent, name="Other").origin != plan.origin
        messages.append(Message(User("one more")))
        assert planned(again, agent).origin != plan.origin


def test_an_agent_has_the_same_origin_whatever_comes_with_it(report: Report) -> None:
    one, two = Agent("Ada", summary="one"), Agent("Ada", summary="two")
    first, second = plan_agents(Contents(agents=(one, two)), "test", Options(), report)
    assert (first.name, second.name, second.settings.name) == ("Ada", "Ada-2", "Ada-2")
    assert first.origin != second.origin
    assert planned(report, two).origin == second.origin


def test_equal_agents_are_all_imported_and_found_again(report: Report) -> None:
    agents = tuple(Agent("Ada") for _ in range(3))
    plans = plan_agents(Contents(agents=agents), "test", Options(), report)
    assert [plan.name for plan in plans] == ["Ada", "Ada-2", "Ada-3"]
    origins = [plan.origin for plan in plans]
    assert len(set(origins)) == 3
    assert origins[0] == planned(report, agents[0]).origin
    assert origins == [plan.settings.origin for plan in plans]
    assert origins == [plan.origin for plan in plan_agents(Contents(agents=agents), "test", Options(), report)]


def test_a_block_of_several_agents_is_one_and_of_a_single_one_its_own(report: Report) -> None:
    both, own = Block("system/human", "Ada", identity="b"), Block("persona", "I am one.", identity="p")
    agents = tuple(Agent(name, blocks=(own, both, both)[number:]) for number, name in enumerate(("One", "Two")))
    plans = plan_agents(Contents(agents=agents), "test", Options(), report)
    (shared,) = plan_shared_blocks(plans)
    assert (shared.name, shared.block.value) == ("system_human of One", "Ada")
    assert [(plan.name, label) for plan, label in shared.agents] == [("One", "system_human"), ("Two", "system_human")]
    alone = planned(report, agents[1])
    assert plan_shared_blocks([alone]) == []
    assert alone.origin == plans[1].origin, "an agent is the same whatever comes with it"


def test_secrets_in_the_metadata_of_notes_get_into_neither_tags_nor_the_report(report: Report) -> None:
    metadata = {"topic": "tea", "api_key": "sk-1", "nested": {"password": "sk-2", "kept": "x" * 80}, "none": None}
    assert list(tags_of(metadata, "note", report)) == ["topic=tea"]
    saved = io.BytesIO()
    report.save(saved, {})
    assert b"sk-" not in saved.getvalue()
    assert b"xxx" in saved.getvalue()
    assert report.count(Kind.LEFT_OUT, "metadata that may be a secret") == 1


def test_instructions_are_kept_or_replaced_as_asked(report: Report) -> None:
    own, stock = Agent("own", system="Be kind."), Agent("stock", system="You are Letta.", stock_system=True)
    assert planned(report, own).settings.system == "Be kind."
    assert planned(report, stock).uses_preset
    assert not planned(report, stock, system="keep").uses_preset
    assert planned(report, own, system="preset").uses_preset
    assert report.count(Kind.LEFT_OUT) == 2, "what is replaced is in the report"


def test_settings_that_do_not_fit(report: Report) -> None:
    agent = Agent(
        "a" * 200,
        time_zone="Mars/Olympus",
        model="gpt-5",
        context_window=128_000,
        tags=("x", "x", *map(str, range(40))),
    )
    plan = planned(report, agent, time_zone="Europe/Berlin")
    assert plan.settings.time_zone == "Europe/Berlin"
    assert not plan.settings.model
    assert len(plan.settings.tags) == 32
    assert len(plan.name) == 128
    kept = planned(report, agent, keep_model=True).settings
    assert (kept.model, kept.context_window) == ("gpt-5", 128_000)
    with pytest.raises(CliError, match="time zone"):
        planned(report, agent, time_zone="Nowhere")
    with pytest.raises(CliError, match="--name"):
        plan_agents(Contents(agents=(agent, agent)), "test", Options(name="one"), report)
