"""A turn with two searches, an edit of core memory, a note and a remote tool call, and checks of its transcript."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Any

import grpc
from memgpt.memory.v1 import recall_memory_service_pb2 as recall_pb
from memgpt.memory.v1.message_pb2 import ROLE_USER, Message
from memgpt.memory.v1.recall_memory_service_pb2_grpc import RecallMemoryServiceStub

from tests.support.scripted_llm import Reply, Request, call, say

STEPS = (
    "archival_memory_search",
    "conversation_search",
    "core_memory_append",
    "archival_memory_insert",
    "ring",
    "send_message",
)
"""Functions called in a turn, in order."""

COMMITS = len(STEPS) + 1
"""Number of steps that it commits; the tool's result is a separate one."""


def plan(mark: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls of the turn whose message is `mark`."""
    again = {"request_heartbeat": True}
    return [
        ("archival_memory_search", {"query": mark, **again}),
        ("conversation_search", {"query": mark, **again}),
        ("core_memory_append", {"name": "human", "content": f"saw {mark}", **again}),
        ("archival_memory_insert", {"content": f"note {mark}", **again}),
        ("ring", again),
        ("send_message", {"message": f"done {mark}"}),
    ]


def answer(request: Request) -> Reply:
    """Act as the model: a pure function of the request, so that another replica can continue a turn."""
    if not request.functions:
        return say("A summary.")
    mark, done = "", 0
    for message in request.messages:
        if message["role"] == "assistant":
            done += 1
        for envelope in envelopes(message["content"]) if message["role"] == "user" else ():
            if envelope.get("type") == "user_message":
                mark, done = envelope["message"], 0
    # An alert after the last call causes one more request.
    name, arguments = plan(mark)[min(done, len(STEPS) - 1)]
    return call(name, thought=f"step {done} of {mark}", **arguments)


def history(memory_address: str, agent_id: str) -> list[Message]:
    """Return every message of an agent, oldest first."""
    found: list[Message] = []
    with grpc.insecure_channel(memory_address) as channel:
        stub, token = RecallMemoryServiceStub(channel), ""
        while True:
            request = recall_pb.ListMessagesRequest(agent_id=agent_id, page_size=1000, page_token=token)
            page = stub.ListMessages(request, wait_for_ready=True, timeout=60)
            found += page.messages
            token = page.next_page_token
            if not token:
                return list(reversed(found))


def check_transcript(messages: Sequence[Message], marks: Sequence[str]) -> None:
    """Assert that a history consists of the boot sequence and these turns: complete, once each, in order."""
    assert [message.sequence for message in messages] == list(range(len(messages)))
    told = deque(messages[3:])
    for mark in marks:
        event = told.popleft()
        assert (event.role, _envelope(event.text).get("message")) == (ROLE_USER, mark), mark
        for number, (name, arguments) in enumerate(plan(mark)):
            _check_call(told, number, mark, name, arguments)
            if name != "send_message":
                assert _envelope(told.popleft().text)["type"] in ("heartbeat", "system_alert")
        if told and told[0].role == ROLE_USER and _envelope(told[0].text)["type"] == "system_alert":
            told.popleft()
            _check_call(told, len(STEPS), mark, *plan(mark)[-1])
    assert not told


def _check_call(told: deque[Message], number: int, mark: str, name: str, arguments: dict[str, Any]) -> None:
    made, result = told.popleft(), told.popleft()
    assert made.text == f"step {number} of {mark}"
    assert (made.function_call.name, json.loads(made.function_call.arguments)) == (name, arguments)
    assert result.call_id == made.function_call.call_id
    assert _envelope(result.text)["status"] == "OK", result.text


def envelopes(text: object) -> list[dict[str, Any]]:
    """Return the envelopes of a message as the model sees it, including several in a row and the Agent's notes."""
    return [_envelope(line) for line in str(text).splitlines() if line.startswith("{")]


def _envelope(text: object) -> dict[str, Any]:
    value = json.loads(str(text))
    assert isinstance(value, dict)
    return value
