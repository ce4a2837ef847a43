"""Recall memory: words, days in the agent's own time zone, roles, pages."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from memgpt.memory.v1 import agent_pb2, message_pb2
from memgpt.memory.v1 import agent_state_service_pb2 as state
from memgpt.memory.v1 import recall_memory_service_pb2 as pb

from tests.integration.memory.client import INVALID, NOT_FOUND, Memory, refused, thought, user

USER, ASSISTANT, TOOL = message_pb2.ROLE_USER, message_pb2.ROLE_ASSISTANT, message_pb2.ROLE_TOOL


async def search(memory: Memory, agent_id: str, query: str = "", **fields: Any) -> pb.SearchMessagesResponse:
    request = pb.SearchMessagesRequest(agent_id=agent_id, query=query, **fields)
    return await memory.recall.SearchMessages(request)  # type: ignore[no-any-return]


async def numbers(memory: Memory, agent_id: str, query: str = "", **fields: Any) -> list[int]:
    """Places of the messages found, the latest first."""
    page = await search(memory, agent_id, query, **fields)
    assert page.total_size == len(page.messages)
    return [message.sequence for message in page.messages]


def said(text: str) -> message_pb2.NewMessage:
    return user(json.dumps({"type": "user_message", "message": text, "time": "now"}, ensure_ascii=False))


def sent(text: str, thoughts: str = "") -> message_pb2.NewMessage:
    call = message_pb2.FunctionCall(call_id="c", name="send_message", arguments=json.dumps({"message": text}))
    return message_pb2.NewMessage(role=ASSISTANT, text=thoughts, function_call=call)


async def test_a_message_whose_arguments_are_nested_without_end_hides_no_other(memory: Memory) -> None:
    deep = message_pb2.FunctionCall(call_id="c", name="send_message", arguments='{"message": ' + "[" * 50_000)
    message = message_pb2.NewMessage(role=ASSISTANT, text="a boat", function_call=deep)
    agent = await memory.agent(messages=[said("My boat"), message])
    assert await numbers(memory, agent.agent_id, "boat") == [1, 0]


@pytest.mark.parametrize(
    "arguments", ["{}", '{"message": "' + "x" * 20_000 + '"}', '{"message": "' + "é" * 40_000 + '"}']
)
@pytest.mark.parametrize("data", ['{"fields": {"thought_signature": "abc"}}', '"\\' * 8_192, "é" * 8_192])
async def test_the_data_of_the_endpoint_is_stored_with_the_call(memory: Memory, arguments: str, data: str) -> None:
    """Also the longest data, each character of which is escaped."""
    call = message_pb2.FunctionCall(call_id="c", name="send_message", arguments=arguments, endpoint_data=data)
    message = message_pb2.NewMessage(role=ASSISTANT, text="a boat", function_call=call)
    agent = await memory.agent(messages=[message])
    (found,) = (await search(memory, agent.agent_id, "boat")).messages
    assert (found.text, found.function_call) == ("a boat", call)


@pytest.mark.parametrize("data", ["x" * 16_385, "line\nline", "\x00"])
async def test_data_of_an_endpoint_that_is_no_line_of_json_is_refused(memory: Memory, data: str) -> None:
    call = message_pb2.FunctionCall(call_id="c", name="f", arguments="{}", endpoint_data=data)
    with refused(INVALID):
        await memory.agent(messages=[message_pb2.NewMessage(role=ASSISTANT, function_call=call)])


async def test_every_word_must_be_there_and_case_is_ignored(memory: Memory) -> None:
    agent = await memory.agent(
        messages=[
            said("My boat is called GRETA and it leaks"),
            sent("A leaking Boat!", "they have a vessel"),
            user(json.dumps({"type": "heartbeat", "reason": "boat", "time": "now"})),
            message_pb2.NewMessage(role=TOOL, text='{"status": "OK", "message": "boat"}', call_id="c"),
            said("我的船叫格雷塔，它在漏水"),
            said("Straße İstanbul 100% \"quoted\" back\\slash"),
            thought(""),
        ]
    )  # fmt: skip
    assert await numbers(memory, agent.agent_id, "boat") == [1, 0]
    assert await numbers(memory, agent.agent_id, "BOAT leak") == [1, 0]
    assert await numbers(memory, agent.agent_id, "boat greta") == [0]
    assert await numbers(memory, agent.agent_id, "vessel") == [1]
    assert await numbers(memory, agent.agent_id, "格雷塔") == [4]
    assert await numbers(memory, agent.agent_id, "STRASSE") == [5]
    for nasty in ("100%", '"quoted"', "back\\slash", "%", "\\"):
        assert await numbers(memory, agent.agent_id, nasty) == [5]
    for absent in ("user_message", "now", "heartbeat", "boat zeppelin", "_"):
        assert await numbers(memory, agent.agent_id, absent) == []
    assert await numbers(memory, agent.agent_id, "  \n") == [5, 4, 1, 0]
    assert await numbers(memory, agent.agent_id) == [5, 4, 1, 0]


async def test_roles(memory: Memory) -> None:
    result = message_pb2.NewMessage(role=TOOL, text="a boat", call_id="c")
    agent = await memory.agent(messages=[said("a boat"), sent("a boat"), result])
    assert await numbers(memory, agent.agent_id, "boat", roles=[USER]) == [0]
    assert await numbers(memory, agent.agent_id, "boat", roles=[ASSISTANT]) == [1]
    assert await numbers(memory, agent.agent_id, "boat", roles=[TOOL]) == [2]
    assert await numbers(memory, agent.agent_id, "boat", roles=[TOOL, USER]) == [2, 0]
    assert await numbers(memory, agent.agent_id, "boat") == [1, 0]
    assert await numbers(memory, agent.agent_id, "boat", roles=[message_pb2.ROLE_SYSTEM]) == []
    with refused(INVALID):
        await search(memory, agent.agent_id, roles=[0])


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Niue", "Asia/Kolkata"])
async def test_a_day_is_one_of_the_agents_own_and_counts_whole(memory: Memory, zone: str) -> None:
    agent = await memory.agent(time_zone=zone, messages=[said("today")])
    stored = (await memory.history(agent.agent_id))[0].create_time.ToDatetime(tzinfo=UTC)
    day = stored.astimezone(ZoneInfo(zone)).date()
    before, after = str(day - timedelta(days=1)), str(day + timedelta(days=1))
    today = str(day)
    assert await numbers(memory, agent.agent_id, start_date=today, end_date=today) == [0]
    assert await numbers(memory, agent.agent_id, start_date=today) == [0]
    assert await numbers(memory, agent.agent_id, end_date=today) == [0]
    assert await numbers(memory, agent.agent_id, "TODAY", start_date=before, end_date=after) == [0]
    assert await numbers(memory, agent.agent_id, "other", start_date=before, end_date=after) == []
    assert await numbers(memory, agent.agent_id, start_date=after) == []
    assert await numbers(memory, agent.agent_id, end_date=before) == []


async def test_the_day_follows_a_change_of_the_time_zone(memory: Memory) -> None:
    agent = await memory.agent(time_zone="Pacific/Kiritimati", messages=[said("x")])  # UTC+14
    there = datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
    assert await numbers(memory, agent.agent_id, start_date=str(there), end_date=str(there)) == [0]
    changed = agent_pb2.Agent(agent_id=agent.agent_id, time_zone="Pacific/Niue")  # UTC-11: always another day
    mask = FieldMask(paths=["time_zone"])
    await memory.agents.UpdateAgent(state.UpdateAgentRequest(agent=changed, update_mask=mask))
    assert await numbers(memory, agent.agent_id, start_date=str(there), end_date=str(there)) == []


@pytest.mark.parametrize("day", ["2026-02-30", "yesterday", "20260101", "2026-1-1", "2026-W01-1", "٢٠٢٦-٠١-٠١"])
async def test_a_day_that_is_none_is_refused(memory: Memory, day: str) -> None:
    agent = await memory.agent()
    for field in ("start_date", "end_date"):
        with refused(INVALID) as error:
            await search(memory, agent.agent_id, **{field: day})
        assert "YYYY-MM-DD" in error.message


async def test_the_ends_of_time_and_a_range_the_wrong_way_round(memory: Memory) -> None:
    agent = await memory.agent(messages=[said("x")])
    for zone in ("UTC", "Pacific/Kiritimati", "Pacific/Niue"):
        changed = agent_pb2.Agent(agent_id=agent.agent_id, time_zone=zone)
        mask = FieldMask(paths=["time_zone"])
        await memory.agents.UpdateAgent(state.UpdateAgentRequest(agent=changed, update_mask=mask))
        assert await numbers(memory, agent.agent_id, start_date="0001-01-01", end_date="9999-12-31") == [0]
        assert await numbers(memory, agent.agent_id, start_date="9999-12-31") == []
        assert await numbers(memory, agent.agent_id, end_date="0001-01-01") == []
    with refused(INVALID):
        await search(memory, agent.agent_id, start_date="2026-01-02", end_date="2026-01-01")
    with refused(NOT_FOUND):
        await search(memory, "agent_nobody")


async def test_pages_hold_every_match_once_while_messages_arrive(memory: Memory) -> None:
    agent = await memory.agent(messages=[said(f"{'red' if n % 3 else 'blue'} {n}") for n in range(40)])
    expected = [n for n in reversed(range(40)) if n % 3]
    found, token = [], ""
    while True:
        page = await search(memory, agent.agent_id, "red", page_size=5, page_token=token)
        assert page.total_size == len(expected)
        assert len(page.messages) <= 5
        found += [message.sequence for message in page.messages]
        await memory.turn(agent.agent_id, json.dumps({"type": "user_message", "message": "red later"}), "red thought")
        token = page.next_page_token
        if not token:
            break
    assert found == expected


async def test_skipping_and_sizes(memory: Memory) -> None:
    agent = await memory.agent(messages=[said(f"red {n}") for n in range(64)])
    page = await search(memory, agent.agent_id, "red", page_size=10, skip=5)
    assert [message.sequence for message in page.messages] == list(range(58, 48, -1))
    page = await search(memory, agent.agent_id, "red", page_size=10, skip=5, page_token=page.next_page_token)
    assert [message.sequence for message in page.messages] == list(range(48, 38, -1))
    assert len((await search(memory, agent.agent_id)).messages) == 50
    assert len((await search(memory, agent.agent_id, page_size=2**31 - 1)).messages) == 64
    beyond = await search(memory, agent.agent_id, "red", skip=64)
    assert (len(beyond.messages), beyond.next_page_token, beyond.total_size) == (0, "", 64)
    for fields in ({"page_size": -1}, {"skip": -1}, {"page_token": "forged"}):
        with refused(INVALID):
            await search(memory, agent.agent_id, "red", **fields)
    with refused(INVALID) as error:
        await search(memory, agent.agent_id, "red", page_size=-1, skip=-1)
    assert "page_size" in error.message
    assert "skip" in error.message
    with refused(INVALID, "INVALID_PAGE_TOKEN"):
        await search(memory, agent.agent_id, "blue", page_token=page.next_page_token)


async def test_listing_pages_while_messages_arrive(memory: Memory) -> None:
    agent = await memory.agent(messages=[said(f"{n}") for n in range(23)])
    found, token = [], ""
    while True:
        page = await memory.recall.ListMessages(
            pb.ListMessagesRequest(agent_id=agent.agent_id, page_size=5, page_token=token)
        )
        assert page.total_size == 23
        found += [message.sequence for message in page.messages]
        await memory.turn(agent.agent_id, "later")
        token = page.next_page_token
        if not token:
            break
    assert found == list(reversed(range(23)))
