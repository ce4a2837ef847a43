"""The chat resumes an unfinished turn before the next message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from memgpt.agent.v1.agent_service_pb2 import SummarizeResponse
from memgpt.agent.v1.event_pb2 import AssistantMessage, Done, TurnEvent
from memgpt.cli.chat.choose_agent import ChosenAgent, RunOptions
from memgpt.cli.chat.session import Chat
from memgpt.cli.terminal.ui import Ui
from memgpt.client import Agent, FailedPrecondition, Reason
from memgpt.memory.v1 import agent_pb2
from memgpt.memory.v1.turn_pb2 import (
    TURN_STATE_CANCELLED,
    TURN_STATE_COMPLETED,
    TURN_STATE_FAILED,
    TURN_STATE_RUNNING,
    Turn,
)

Happening = TurnEvent | BaseException

INTERRUPT = KeyboardInterrupt()
REFUSED = FailedPrecondition(Reason.MODEL_UNUSABLE, "the key is refused", request_id="r")


def said(text: str, sequence: int) -> TurnEvent:
    return TurnEvent(sequence=sequence, message=AssistantMessage(text=text))


def done(state: Any, sequence: int) -> TurnEvent:
    return TurnEvent(sequence=sequence, done=Done(state=state))


class Agents:
    """The client's part for agents: what happens in each stream is given, what is asked is noted."""

    def __init__(self, resumed: Iterable[list[Happening]]) -> None:
        self.asked: list[str] = []
        self._resumed = list(resumed)

    def turns(self, _agent_id: str) -> Iterator[Turn]:
        yield Turn(request_id="left", state=TURN_STATE_RUNNING)

    def send(self, request: Any, _told: Any = None) -> Iterator[TurnEvent]:
        self.asked.append(f"send {request.text}")
        yield said("Second.", 1)
        yield done(TURN_STATE_COMPLETED, 2)

    def summarize(self, _agent_id: str) -> SummarizeResponse:
        self.asked.append("summarize")
        return SummarizeResponse(evicted_count=2, summary="They greeted.")

    def cancel(self, _agent_id: str, request_id: str) -> None:
        self.asked.append(f"cancel {request_id}")

    def resume(
        self,
        _agent_id: str,
        request_id: str,
        after_sequence: int = 0,
        *,
        stream_deltas: bool = False,
        on_interrupt: Any = None,
    ) -> Iterator[TurnEvent]:
        self.asked.append(f"resume {request_id} {after_sequence}")
        for each in self._resumed.pop(0):
            if isinstance(each, BaseException):
                raise each
            yield each


def chat(*resumed: list[Happening], line: str = "Hello.", then: str = "", leaves: bool = False) -> list[str]:
    """Return what one line, or two, asked of the Agent, which has an unfinished turn; `leaves` answers the question."""

    class Terminal(Ui):
        def prompt(self, _question: str, _history: Path | None, *, multiline: bool = False) -> str:
            if not lines:
                raise EOFError
            return lines.pop(0)

        def confirm(self, question: str, *, default: bool = True) -> bool:
            assert question == "Leave the chat?"
            return leaves

    class Client:
        agents = Agents(resumed)

    lines = [line, *filter(None, [then])]
    ui = Terminal(plain=True)
    ui.interactive = True
    client: Any = Client()
    agent = Agent(client, agent_pb2.Agent(agent_id="a"))
    Chat(ui, client, ChosenAgent(agent, new=True), RunOptions(agent="Ada", first=True), Path("/none")).run()
    return client.agents.asked  # type: ignore[no-any-return]


def test_it_is_shown_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    asked = chat([said("First.", 1), done(TURN_STATE_COMPLETED, 2)])
    assert asked == ["resume left 0", "send Hello."]
    printed = capsys.readouterr().out
    assert printed.index("First.") < printed.index("Second.")


def test_it_is_shown_before_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert chat([said("First.", 1), done(TURN_STATE_COMPLETED, 2)], line="/summarize") == ["resume left 0", "summarize"]
    printed = capsys.readouterr().out
    assert printed.index("First.") < printed.index("They greeted.")
    assert chat([said("First, half.", 3), REFUSED], line="/summarize") == ["resume left 0"]


def test_one_that_fails_for_good_holds_nothing_up(capsys: pytest.CaptureFixture[str]) -> None:
    asked = chat([done(TURN_STATE_FAILED, 1), REFUSED])
    assert asked == ["resume left 0", "send Hello."]
    assert "the key is refused" in capsys.readouterr().err


def test_one_that_cannot_go_on_holds_the_next_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert chat([said("First, half.", 3), REFUSED]) == ["resume left 0"]
    assert "the key is refused; your message was not sent, because an earlier one is still to be answered" in (
        capsys.readouterr().err
    )


def test_ctrl_c_cancels_it_and_the_next_is_sent() -> None:
    asked = chat([said("First, half.", 3), INTERRUPT], [done(TURN_STATE_CANCELLED, 4)])
    assert asked == ["resume left 0", "cancel left", "resume left 3", "send Hello."]


def test_ctrl_c_again_sends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert chat([INTERRUPT], [INTERRUPT]) == ["resume left 0", "cancel left", "resume left 0"]
    printed = capsys.readouterr().out
    assert "The turn goes on by itself." in printed
    assert "Your message was not sent, because an earlier one is still to be answered" in printed


END: list[Happening] = [done(TURN_STATE_COMPLETED, 2)]


@pytest.mark.parametrize("line", ["/exit", "/quit", "/exit now"])
def test_commands_that_leave(line: str) -> None:
    assert chat(line=line, then="Hello.") == []


@pytest.mark.parametrize("line", ["exit", "Quit", ":q"])
def test_words_that_seem_to_leave_are_asked_about(line: str) -> None:
    assert chat(line=line, then="Hello.", leaves=True) == []
    assert chat(END, line=line) == ["resume left 0", f"send {line}"]


@pytest.mark.parametrize(
    ("typed", "meant"), [("/swich", "/switch"), ("/HELP", "/help"), ("/exot", "/exit"), ("/retri", "/retry")]
)
def test_every_command_is_suggested(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    chat(line=typed)
    assert f"unknown command {typed}; did you mean {meant}?" in capsys.readouterr().err
