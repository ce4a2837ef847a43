from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from memgpt_agent.domain import (
    NO_EFFECTS,
    Block,
    BlockEdit,
    Citation,
    Context,
    FunctionCall,
    Message,
    MessageHit,
    MessagePage,
    PassageHit,
    Role,
)
from memgpt_agent.functions import BUILT_IN, FunctionError, parameters_schema, parse_call
from memgpt_agent.functions.function import FunctionOutput
from memgpt_agent.loop.tool_executor import cut, execute

from tests.unit.agent.fakes import NOW, FakeMemory, answered, say, user


def parsed(function: str, /, **arguments: object):
    return parse_call(FunctionCall("c", function, json.dumps(arguments)), BUILT_IN)


async def do(function: str, context: Context | None = None, /, memory: FakeMemory | None = None, **arguments: object):
    memory = memory or FakeMemory(answered())
    output = await execute(parsed(function, **arguments), context or memory.context, memory)
    assert isinstance(output, FunctionOutput)
    return output


def test_models_see_them_in_this_order() -> None:
    assert [f.name for f in BUILT_IN] == [
        "send_message",
        "pause_heartbeats",
        "core_memory_append",
        "core_memory_replace",
        "conversation_search",
        "conversation_search_date",
        "archival_memory_insert",
        "archival_memory_search",
    ]


def test_all_but_two_ask_for_a_heartbeat() -> None:
    for function in BUILT_IN:
        schema = parameters_schema(function, inner_thoughts=False)
        chains = "request_heartbeat" in schema["required"]  # type: ignore[operator]
        assert chains == (function.name not in ("send_message", "pause_heartbeats"))


def test_schemas() -> None:
    search = next(f for f in BUILT_IN if f.name == "archival_memory_search")
    loose = parameters_schema(search, inner_thoughts=True)
    assert loose["required"] == ["inner_thoughts", "query", "request_heartbeat"]
    strict = parameters_schema(search, inner_thoughts=False, strict=True)
    assert strict["required"] == ["query", "page", "request_heartbeat"]
    assert strict["additionalProperties"] is False


def test_what_small_models_get_almost_right_is_taken() -> None:
    call = parsed("archival_memory_search", query="x", page="2", request_heartbeat="True", inner_thoughts="hm")
    assert (call.number("page"), call.request_heartbeat) == (2, True)
    assert parsed("archival_memory_search", query="x", page=2.0).number("page") == 2
    assert parsed("archival_memory_search", query="x", page=None).number("page") == 0


def test_a_search_without_request_heartbeat_is_read() -> None:
    assert parsed("conversation_search", query="x").request_heartbeat
    assert not parsed("core_memory_append", name="human", content="x").request_heartbeat
    assert not parsed("conversation_search", query="x", request_heartbeat=False).request_heartbeat


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        ("send_message", {}, 'needs the argument "message"'),
        ("send_message", {"message": ["a"]}, "must be text"),
        ("send_message", {"message": "  "}, "must not be empty"),
        ("send_message", {"message": "a", "mood": "b"}, 'no argument "mood". It takes: message'),
        ("pause_heartbeats", {"minutes": 361}, "at most 360"),
        ("pause_heartbeats", {"minutes": -1}, "at least 0"),
        ("pause_heartbeats", {"minutes": True}, "whole number"),
        ("archival_memory_search", {"query": "x", "page": -1}, "at least 0"),
        ("archival_memory_search", {"query": "x", "page": 1.5}, "whole number"),
        ("archival_memory_search", {"query": "x", "page": 2**40}, "at most"),
        ("archival_memory_search", {"query": "x", "page": "--5"}, "whole number"),
        ("archival_memory_search", {"query": "x", "page": "9" * 5000}, "whole number"),
        ("archival_memory_search", {"query": "x", "request_heartbeat": "maybe"}, "true or false"),
    ],
)
def test_bad_arguments(name: str, arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(FunctionError) as caught:
        parsed(name, **arguments)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("arguments", ["{", "[1]", '"text"', "__import__('os')"])
def test_arguments_that_are_no_object(arguments: str) -> None:
    with pytest.raises(FunctionError, match="JSON"):
        parse_call(FunctionCall("c", "send_message", arguments), BUILT_IN)


def test_arguments_that_are_nested_too_deeply() -> None:
    for arguments in ('{"message": ' + "[" * 50_000, '{"message": ' + "[" * 50_000 + "]" * 50_000 + "}"):
        with pytest.raises(FunctionError, match="nested too deeply"):
            parse_call(FunctionCall("c", "send_message", arguments), BUILT_IN)


def test_line_ends_inside_a_string_are_forgiven() -> None:
    call = parse_call(FunctionCall("c", "send_message", '{"message": "two\nlines"}'), BUILT_IN)
    assert call.text("message") == "two\nlines"


async def test_append() -> None:
    output = await do("core_memory_append", name="human", content="Likes tea.")
    assert output.effects.blocks == (BlockEdit("human", "Nobody yet.\nLikes tea.", "h1"),)
    empty = replace(answered(), blocks=(Block("human", ""),))
    assert (await do("core_memory_append", empty, name="human", content="x")).effects.blocks[0].value == "x"


async def test_append_over_the_limit_changes_nothing() -> None:
    with pytest.raises(FunctionError, match=r"Nothing was changed.*2,012 characters, but its limit is 2,000"):
        await do("core_memory_append", name="human", content="x" * 2000)


async def test_the_limit_counts_characters() -> None:
    context = replace(answered(), blocks=(Block("human", "", 3),))
    assert (await do("core_memory_append", context, name="human", content="🙂🙂🙂")).effects.blocks


async def test_replace() -> None:
    assert (await do("core_memory_replace", name="persona", old_content="Sam", new_content="Ann")).effects.blocks[
        0
    ].value == "I am Ann."
    deleted = await do("core_memory_replace", name="persona", old_content=" Sam", new_content="")
    assert deleted.effects.blocks[0].value == "I am."


@pytest.mark.parametrize("old", ["sam", "Sam ", "absent"])
async def test_replace_wants_an_exact_match(old: str) -> None:
    with pytest.raises(FunctionError, match="does not contain"):
        await do("core_memory_replace", name="persona", old_content=old, new_content="x")


async def test_an_unknown_block() -> None:
    with pytest.raises(FunctionError, match="Its blocks: persona, human"):
        await do("core_memory_append", name="mood", content="x")


async def test_insert() -> None:
    assert (await do("archival_memory_insert", content="A note.")).effects.notes == ("A note.",)


async def test_search_tells_the_true_total_and_the_citation() -> None:
    memory = FakeMemory(answered())
    memory.passages = [PassageHit(f"p{n}", NOW + timedelta(days=n)) for n in range(11)]
    memory.passages.append(PassageHit("cited", NOW, Citation("paper", "paper.pdf", 3)))
    first = (await do("archival_memory_search", memory=memory, query="x", page=0)).text
    assert first.startswith("Showing 5 of 12 results (page 0/2): [")
    hits = json.loads(first.partition(": ")[2])
    assert hits[1] == {"timestamp": "2024-05-02 01:07:09 PM UTC+0000", "content": "p1"}
    last = (await do("archival_memory_search", memory=memory, query="x", page=2)).text
    assert last.startswith("Showing 2 of 12 results (page 2/2): [")
    cited = json.loads(last.partition(": ")[2])[1]
    assert (cited["file"], cited["page"]) == ("paper.pdf", 3)
    beyond = (await do("archival_memory_search", memory=memory, query="x", page=7)).text
    assert beyond == "Showing 0 of 12 results (page 7/2): [] There is no page after 2."


async def test_deep_pages_are_reached() -> None:
    memory = FakeMemory(answered())
    memory.passages = [PassageHit(f"p{n}", NOW) for n in range(1003)]
    text = (await do("archival_memory_search", memory=memory, query="x", page=200)).text
    assert text.startswith("Showing 3 of 1003 results (page 200/200): [")
    assert memory.searches == [("x", 1000)]


async def test_nothing_found() -> None:
    assert (await do("archival_memory_search", query="x")).text == "No results found."


async def test_conversation_search_shows_what_was_said() -> None:
    memory = FakeMemory(answered())
    memory._store([user("I like green tea.")])
    context = answered()
    text = (await do("conversation_search", context, memory=memory, query="green tea")).text
    hit = json.loads(text.partition(": ")[2])[0]
    assert (hit["role"], hit["message"]) == ("user", "I like green tea.")


async def test_conversation_search_shows_the_speaker_the_date_and_what_was_said_around() -> None:
    memory = FakeMemory(answered())
    reply = say("So you do! " + "Indeed. " * 50).call
    answer = Message(Role.ASSISTANT, "A thought.", function_call=reply, created_at=NOW)
    hit = MessageHit(user("I like green tea."), before=user("Hello."), after=answer)

    async def found(*_: object, **__: object) -> MessagePage:
        return MessagePage((hit, MessageHit(Message(Role.ASSISTANT, "Only thought of tea."))), 2)

    memory.search_recall = found  # type: ignore[method-assign]
    text = (await do("conversation_search", memory=memory, query="tea")).text
    assert text.startswith("Showing 1 of 2 results (page 0/0): [")
    (shown,) = json.loads(text.partition(": ")[2])
    assert (shown["role"], shown["message"], shown["before"]) == ("user", "I like green tea.", "user: Hello.")
    assert "timestamp" in shown
    assert shown["after"].startswith("assistant: So you do!")
    assert len(shown["after"]) < 200
    assert "thought" not in text.casefold(), "what was only thought is not shown"
    other = (await do("conversation_search", memory=memory, query="coffee")).text
    assert "never have been said" in other


async def test_the_message_to_answer_is_not_searched() -> None:
    memory = FakeMemory(answered())
    memory._store([user("I like tea."), user("What do I like to drink, tea?")])
    context = replace(memory.context, messages=tuple(memory.history))
    search = parsed("conversation_search", query="tea")
    text = (await execute(search, context, memory)).text
    assert "I like tea." in text
    assert "drink" not in text


async def test_days_in_words_are_those_of_the_agents_time_zone() -> None:
    memory = FakeMemory(answered())
    late = datetime(2024, 5, 1, 23, 30, tzinfo=UTC)
    tokyo = replace(memory.context, now=late, agent=replace(memory.context.agent, time_zone="Asia/Tokyo"))
    for words, days in (("today", "2024-05-02..2024-05-02"), ("last week", "2024-04-22..2024-04-28")):
        await execute(parsed("conversation_search_date", start_date=words), tokyo, memory)
        assert memory.searches[-1] == (days, 0)
    both = parsed("conversation_search_date", start_date="2024-04-01", end_date="yesterday")
    await execute(both, tokyo, memory)
    assert memory.searches[-1] == ("2024-04-01..2024-05-01", 0)


@pytest.mark.parametrize("day", ["1.5.2024", "20240501", "2024-02-30", "sometime", "99999 weeks ago"])
async def test_days_that_are_none(day: str) -> None:
    with pytest.raises(FunctionError, match="YYYY-MM-DD"):
        await do("conversation_search_date", start_date=day, end_date="2024-05-01")
    with pytest.raises(FunctionError, match="YYYY-MM-DD"):
        await do("conversation_search_date", start_date="2024-05-01", end_date=day)


async def test_a_line_that_a_block_has_is_not_added_again() -> None:
    context = answered()
    line = context.blocks[-1].value.splitlines()[-1]
    output = await do("core_memory_append", name=context.blocks[-1].label, content=f" {line} ")
    assert output.effects == NO_EFFECTS
    assert "already has this line" in output.text


async def test_dates_the_wrong_way_round() -> None:
    with pytest.raises(FunctionError, match="Swap them"):
        await do("conversation_search_date", start_date="2024-05-02", end_date="2024-05-01")


async def test_a_query_that_is_too_long() -> None:
    with pytest.raises(FunctionError, match="the limit is 8,192"):
        await do("archival_memory_search", query="x" * 8193)


def test_long_results_are_cut_unless_they_come_from_a_search() -> None:
    text = "x" * 3001
    assert cut(parsed("send_message", message="x"), text).endswith("[cut after 3,000 of 3,001 characters]")
    assert cut(None, text) != text
    assert cut(parsed("archival_memory_search", query="x"), text) == text
