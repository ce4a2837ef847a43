"""The effects of the flags of `memgpt run`, as seen by the scripted model and by the user."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.scripted_llm import Completion, Request, ScriptedLLM, call, say
from tests.support.suite import Suite

MESSAGE = "Hello there."
"""The model's answer."""


def answer(request: Request) -> Completion:
    """Pause heartbeats once when requested; otherwise answer."""
    if not request.functions:
        return say("A summary.")
    last = [message for message in request.messages if message["role"] == "user"][-1]["content"]
    paused = "pause_heartbeats" in str(request.messages[-1]) or "You called pause_heartbeats" in request.note
    if "Pause" in last and not paused:
        return call("pause_heartbeats", thought="First a pause.", minutes=5)
    return call("send_message", thought="I greet.", message=MESSAGE)


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedLLM]:
    with ScriptedLLM(answer) as server:
        yield server


@pytest.fixture(scope="module")
def suite(model: ScriptedLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    settings = {
        "MEMGPT_AGENT_MODEL": model.model,
        "MEMGPT_AGENT_BASE_URL": model.base_url,
        "MEMGPT_AGENT_MODE": "tools",
        "MEMGPT_AGENT_CONTEXT_WINDOW": "32768",
    }
    with Suite(tmp_path_factory.mktemp("home"), **settings) as started:
        yield started


Chat = Callable[..., tuple[str, list[Request]]]


@pytest.fixture
def chat(suite: Suite, model: ScriptedLLM) -> Chat:
    """Run `memgpt run` with a new agent, or `agent`; return its output and the requests to the model."""

    def run(*flags: str, text: str = "Hi.\n", agent: str = "") -> tuple[str, list[Request]]:
        before = len(model.requests)
        ended = suite.run("run", "--agent", agent or f"agent-{uuid4().hex[:8]}", *flags, stdin=text)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout, model.requests[before:]

    return run


def test_the_agent_speaks_first_unless_the_person_does(chat: Chat) -> None:
    printed, asked = chat("--yes", text="")
    assert f"🤖 {MESSAGE}" in printed
    assert len(asked) == 1
    assert '"login"' in json.dumps(asked[0].messages).replace("\\", "")

    printed, asked = chat("--yes", "--first", text="")
    assert MESSAGE not in printed
    assert asked == []


def test_the_first_answer_is_verified_unless_it_shall_not_be(chat: Chat) -> None:
    printed, asked = chat(text="Pause.\n")
    assert "pause_heartbeats" not in printed, "its first answer must speak, search or write to memory"
    assert ["You called pause_heartbeats" in request.note for request in asked] == [False, True]

    printed, asked = chat("--no-verify", text="Pause.\n")
    assert "pause_heartbeats" in printed
    assert not any("You called" in request.note for request in asked)


def test_instructions_come_from_a_flag_or_a_file(chat: Chat, tmp_path: Path) -> None:
    file = tmp_path / "system.txt"
    file.write_text("Speak like a sailor.\n")
    for flags in (("--system", "Speak like a sailor."), ("--system-file", str(file))):
        _, asked = chat(*flags)
        assert str(asked[0].messages[0]["content"]).startswith("Speak like a sailor.")


def test_the_model_and_its_window(chat: Chat, suite: Suite) -> None:
    printed, asked = chat("--model", "another", "--context-window", "4096", text="Hi.\n/context\n", agent="Wanda")
    assert asked[0].json["model"] == "another"
    assert " of 4,096 tokens" in printed

    # Of an agent that there is, both can be changed.
    printed, asked = chat("--model", "third", "--context-window", "8192", text="Hi.\n/context\n", agent="Wanda")
    assert "Using existing agent 'Wanda'" in printed
    assert asked[0].json["model"] == "third"
    assert " of 8,192 tokens" in printed


def test_the_blocks_of_a_new_agent(chat: Chat, suite: Suite) -> None:
    suite.cli("add", "persona", "--name", "sailor", "--text", "I have sailed the seven seas.")
    suite.cli("add", "human", "--name", "mate", "--text", "They are new on board.")
    flags = ("--persona", "sailor", "--human", "mate", "--core-memory-limit", "300")
    printed, asked = chat(*flags, text="Hi.\n/memory\n", agent="Jim")
    assert "[persona: 29 of 300 characters]\nI have sailed the seven seas.\n" in printed
    assert "[human: 22 of 300 characters]\nThey are new on board.\n" in printed
    assert "I have sailed the seven seas." in json.dumps(asked[0].json)

    # What was made stays as it is, and the person is told.
    printed, _ = chat("--persona", "sam_pov", "--core-memory-limit", "500", text="/memory\n", agent="Jim")
    assert "--persona sam_pov is for new agents; this one was created with sailor" in printed
    assert "--core-memory-limit is for new agents" in printed
    assert "[persona: 29 of 300 characters]" in printed


def test_how_long_it_keeps_messages_and_notes(chat: Chat, suite: Suite) -> None:
    chat("--message-ttl", "30d", "--note-ttl", "1y", agent="Tim")
    shown = suite.cli("show", "agent", "Tim")
    assert "Message TTL:    30d" in shown
    assert "Note TTL:       365d" in shown
    chat("--message-ttl", "1d", agent="Tim")
    shown = suite.cli("show", "agent", "Tim")
    assert "Message TTL:    1d" in shown
    assert "Note TTL:       365d" in shown
    chat("--note-ttl", "forever", agent="Tim")
    assert "Note TTL" not in suite.cli("show", "agent", "Tim")


def test_the_preset_decides_how_it_reads(chat: Chat) -> None:
    _, plain = chat()
    _, docs = chat("--preset", "memgpt_docs")
    assert docs[0].messages[0]["content"] != plain[0].messages[0]["content"]


def test_what_is_shown_of_a_turn(chat: Chat) -> None:
    plain, _ = chat()
    assert f"💭 I greet.\n🤖 {MESSAGE}\n" in plain

    streamed, asked = chat("--stream")
    assert (streamed.count("I greet."), streamed.count(MESSAGE)) == (1, 1)
    assert asked[0].json["stream"]

    bare, _ = chat("--strip-ui")
    assert bare == f"{MESSAGE}\n"

    debugged, _ = chat("--debug")
    assert len(debugged.splitlines()) > len(plain.splitlines())
    assert MESSAGE in debugged
