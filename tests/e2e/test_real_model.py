"""A long conversation with a real language model in a small window; run it by hand:

    .venv/bin/pytest -s --timeout=0 tests/e2e/test_real_model.py --model-endpoint http://127.0.0.1:8101/v1

Thirty turns in a window of 2,048 tokens: no turn may fail, for length or otherwise, and what was said in the second one
is known in the last, when its message has long left the window.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from memgpt.agent.v1.agent_service_pb2 import CreateAgentRequest, SendMessageRequest
from memgpt.agent.v1.event_pb2 import TurnEvent
from memgpt.client import MemGPT, new_request_id
from memgpt.memory.v1.turn_pb2 import TURN_STATE_COMPLETED, TURN_STATE_STOPPED

from tests.support.suite import Suite

WINDOW = 2048
FACT = "Please remember this about me: my sister Ingrid keeps bees in Tromsø."
QUESTION = "Search our earlier conversation for Ingrid, then tell me: where does my sister keep her bees?"
ANSWER = "Troms"

TALK = (
    "Good evening! My name is Ada.",
    FACT,
    "What is the capital of Portugal?",
    "I had lentil soup for lunch. Do you know a spice that goes with it?",
    "Give me one sentence about the moon.",
    "And one about the sun, please.",
    "I work as a carpenter.",
    "Which wood is good for a garden bench?",
    "How should I protect it from rain?",
    "Say something that makes me smile.",
    # Longer than the window.
    "This is a protocol of a meeting; you need not keep it. Just say that you got it. "
    + " ".join(
        f"Item {number}: the committee talked about shelf {number} and decided nothing." for number in range(200)
    ),
    "Thank you. How many days has a week?",
    "My favorite color is green.",
    "What could I paint green in my workshop?",
    "Tell me in one sentence what a dovetail joint is.",
    "Do you prefer tea or coffee?",
    "What rhymes with wood?",
    "How far is it from the earth to the moon, roughly?",
    "I slept badly last night.",
    "Any advice, in one sentence?",
    "What is seven times eight?",
    "Name a river in France.",
    "Name a mountain in Austria.",
    "It is raining here.",
    "What could I do indoors?",
    "Which tool do I need to make a straight cut?",
    "Tell me one fact about owls.",
    "And one about cats.",
    "I am almost done for today.",
    QUESTION,
)


@pytest.fixture
def suite(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Suite]:
    """The services, with the endpoint that the command line names."""
    endpoint = str(request.config.getoption("--model-endpoint"))
    if not endpoint:
        pytest.skip("needs a real model: --model-endpoint URL")
    settings = {
        "MEMGPT_AGENT_MODEL": "local",
        "MEMGPT_AGENT_BASE_URL": endpoint,
        "MEMGPT_AGENT_MODE": "json_schema",
        "MEMGPT_AGENT_MODEL_TIMEOUT": "1200",
        "MEMGPT_AGENT_TEMPERATURE": "0",
    }
    with Suite(tmp_path, **settings) as running:
        yield running


def test_thirty_turns_in_a_small_window(suite: Suite) -> None:
    assert len(TALK) == 30
    evictions = 0
    with suite.client() as memgpt:
        agent = memgpt.agents.create(CreateAgentRequest(context_window=WINDOW)).agent_id
        for number, text in enumerate(TALK, 1):
            _show(f"\n{number}. {text[:200]}")
            if text is QUESTION:
                window = memgpt.agents.context(agent)
                assert not any(FACT in shown.message.text for shown in window.messages), "the fact never left"
            start = time.monotonic()
            events = list(_turn(memgpt, agent, text))
            filled = memgpt.agents.context(agent).total_tokens
            _show(f"   [{time.monotonic() - start:.0f} s, {filled} of {WINDOW} tokens]")
            evictions += sum("left the context window" in event.notice.text for event in events)
            assert events[-1].done.state in (TURN_STATE_COMPLETED, TURN_STATE_STOPPED), events[-1]
            assert filled <= WINDOW
    assert evictions, "the window was never full: the conversation proves nothing"
    spoken = [event.message.text for event in events if event.HasField("message")]
    assert any(ANSWER in text for text in spoken), spoken


def _turn(memgpt: MemGPT, agent: str, text: str) -> Iterator[TurnEvent]:
    request = SendMessageRequest(agent_id=agent, text=text, request_id=new_request_id(), max_steps=8)
    for event in memgpt.agents.send(request):
        if line := _told(event):
            _show(f"   {line}")
        yield event


def _told(event: TurnEvent) -> str:
    match event.WhichOneof("event"):
        case "thought":
            return f"thinks: {event.thought.text[:300]}"
        case "function_call":
            return f"calls:  {event.function_call.name} {event.function_call.arguments[:300]}"
        case "function_result":
            return f"gets:   {event.function_result.text[:300]}"
        case "message":
            return f"SAYS:   {event.message.text[:600]}"
        case "notice":
            return f"notice: {event.notice.text}"
        case "usage":
            return f"took:   {event.usage.prompt_tokens} + {event.usage.completion_tokens} tokens"
        case "done":
            return f"done:   {event.done.reason or 'completed'}"
        case _:
            return ""


def _show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
