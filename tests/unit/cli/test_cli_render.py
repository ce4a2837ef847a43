"""How a turn looks."""

from __future__ import annotations

import io
import json

import pytest
from memgpt.agent.v1 import event_pb2 as pb
from memgpt.cli.chat.messages import argument_line, call_line, message_lines, result_line, shorten
from memgpt.cli.chat.turn_view import TurnView
from memgpt.cli.terminal.busy import Busy, BusyLine
from memgpt.cli.terminal.ui import Ui, printable
from memgpt.memory.v1.message_pb2 import FunctionCall, Message, Role, Usage
from memgpt.memory.v1.turn_pb2 import TurnState


@pytest.fixture
def show(monkeypatch):
    def run(*events, **options):
        out = io.StringIO()
        monkeypatch.setattr("sys.stdout", out)
        ui = Ui()
        with ui.busy("...") as busy:
            view = TurnView(ui, busy, **options)
            for event in events:
                view.show(event)
        return out.getvalue().splitlines()

    return run


SEARCH = pb.FunctionCalled(
    call_id="1", name="archival_memory_search", arguments='{"query": "MemGPT", "page": 1, "request_heartbeat": true}'
)
FOUND = pb.FunctionResult(
    call_id="1", name="archival_memory_search", ok=True, text='Showing 5 of 74 results (page 1/14): [{"a": 1}]'
)
TURN = [
    pb.TurnEvent(sequence=1, step=1, thought=pb.Thought(text="I look.")),
    pb.TurnEvent(sequence=2, step=1, function_call=SEARCH),
    pb.TurnEvent(sequence=3, step=1, function_result=FOUND),
    pb.TurnEvent(sequence=4, step=1, usage=Usage(prompt_tokens=10, completion_tokens=2)),
    pb.TurnEvent(sequence=5, step=2, function_call=pb.FunctionCalled(name="send_message", arguments="{}")),
    pb.TurnEvent(sequence=6, step=2, message=pb.AssistantMessage(text="It [works].")),
    pb.TurnEvent(sequence=7, step=2, function_result=pb.FunctionResult(name="send_message", ok=True, text="sent")),
    pb.TurnEvent(sequence=8, step=2, done=pb.Done(state=TurnState.TURN_STATE_COMPLETED)),
]


def test_the_phase_of_a_turn():
    """While the model is awaited, the line says how many tokens it reads, of which page, and what was used before."""
    line = BusyLine("Thinking...")
    view = TurnView(Ui(), Busy(None, line))
    phases = []
    for prompt, event in ((2803, TURN[1]), (2950, None)):
        view.show(pb.TurnEvent(step=1, model_call=pb.ModelCalled(prompt_tokens=prompt)))
        phases.append(line.text)
        if event is not None:
            view.show(event)
            phases.append(line.text)
            view.show(TURN[2])
            view.show(pb.TurnEvent(usage=Usage(prompt_tokens=2800, completion_tokens=20)))
            phases.append(line.text)
    assert phases == [
        "Reading 2,803 tokens...",
        "Searching...",
        "Reading page 2 of 15...",
        "Reading page 2 of 15, 2,950 tokens; before, 2,800 tokens read, 20 written...",
    ]


def test_a_turn(show):
    assert show(*TURN) == [
        "💭 I look.",
        "⚡🧠 [function] searching memory with archival_memory_search",
        '   query: "MemGPT", page: 1',
        "   🟢 Showing 5 of 74 results (page 1/14)",
        "🤖 It [works].",
    ]


def test_a_turn_without_its_trimmings(show):
    assert show(*TURN, strip=True) == ["It [works]."]


def test_debugging_shows_every_event(show):
    lines = show(*TURN, debug=True)
    assert "   #8 step 2: done" in lines
    assert "   10 + 2 tokens" in lines
    assert any('[{"a": 1}]' in line for line in lines)


def _delta(kind: pb.DeltaKind.ValueType, text: str) -> pb.TurnEvent:
    return pb.TurnEvent(delta=pb.Delta(kind=kind, text=text))


def test_text_that_came_in_pieces_is_not_repeated(show):
    lines = show(
        _delta(pb.DELTA_KIND_THOUGHT, "I "),
        _delta(pb.DELTA_KIND_THOUGHT, "think."),
        _delta(pb.DELTA_KIND_MESSAGE, "Hel"),
        _delta(pb.DELTA_KIND_MESSAGE, "lo."),
        pb.TurnEvent(sequence=1, thought=pb.Thought(text="I think.")),
        pb.TurnEvent(sequence=2, message=pb.AssistantMessage(text="Hello.")),
        pb.TurnEvent(sequence=3, message=pb.AssistantMessage(text="Again.")),
    )
    assert lines == ["💭 I think.", "🤖 Hello.", "🤖 Again."]


def test_pieces_of_a_step_that_runs_again_are_void(show):
    lines = show(
        _delta(pb.DELTA_KIND_MESSAGE, "Hel"),
        pb.TurnEvent(step_restarted=pb.StepRestarted(attempt=2, reason="broken JSON")),
        pb.TurnEvent(sequence=1, message=pb.AssistantMessage(text="Hello.")),
    )
    assert lines == ["🤖 Hel", "↻ Starting over.", "🤖 Hello."]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("The model's endpoint cannot be reached; it is asked again in 0.5 s.",
         "The model's endpoint cannot be reached; it is asked again in 0.5 s..."),
        ("", "Trying again..."),
    ],
)  # fmt: skip
def test_why_a_step_runs_again_is_told_while_it_is_awaited(reason, told):
    line = BusyLine("...")
    view = TurnView(Ui(), Busy(None, line))
    view.show(pb.TurnEvent(step_restarted=pb.StepRestarted(attempt=2, reason=reason)))
    assert line.text == told


def test_a_turn_that_did_not_end_well(show):
    done = pb.Done(state=TurnState.TURN_STATE_STOPPED, reason="50 steps are over")
    assert show(pb.TurnEvent(sequence=1, done=done)) == ["⚠️  The turn was stopped: 50 steps are over"]


def test_calls():
    assert call_line("core_memory_append") == "⚡🧠 [function] updating memory with core_memory_append"
    assert call_line("pause_heartbeats") == "⚡ [function] calling pause_heartbeats"
    assert argument_line("{broken") == "{broken"
    assert argument_line('["x"]') == '["x"]'
    assert len(argument_line(json.dumps({"content": "x" * 1000}))) < 200


def test_quoted_text_is_cut_between_words():
    assert shorten("Some words\nand more of them", 20) == "Some words and more…"
    assert shorten("Some words and more", 19) == "Some words and more"
    assert shorten("x" * 30, 20) == "x" * 19 + "…", "a word that is longer than what is left"
    assert shorten("世界" * 15, 20) == ("世界" * 10)[:19] + "…", "a script without blanks"


def test_results():
    failed = pb.FunctionResult(name="core_memory_replace", ok=False, text="Nothing\nwas changed")
    assert result_line(failed) == "🔴 Nothing was changed"


def test_terminal_controls_are_taken_out():
    assert printable("a\x1b[2Jb\x07\tc\r\nd\x9b1m") == "a[2Jb\tc\nd1m"


@pytest.mark.parametrize(
    ("message", "lines"),
    [
        (Message(role=Role.ROLE_SYSTEM, text="You are"), ["[system] You are"]),
        (Message(role=Role.ROLE_USER, text='{"type": "user_message", "message": "Hi"}'), ["🧑 Hi"]),
        (Message(role=Role.ROLE_USER, text='{"type": "login", "last_login": "x"}'), ["[login]"]),
        (Message(role=Role.ROLE_USER, text="no JSON"), ["[event]"]),
        (
            Message(
                role=Role.ROLE_ASSISTANT,
                text="Hm.",
                function_call=FunctionCall(name="send_message", arguments='{"message": "Hello"}'),
            ),
            ["💭 Hm.", "🤖 Hello"],
        ),
        (
            Message(role=Role.ROLE_ASSISTANT, function_call=FunctionCall(name="f", arguments='{"x": 1}')),
            ["⚡ f(x: 1)"],
        ),
        (Message(role=Role.ROLE_TOOL, text='{"status": "Failed", "message": "no"}'), ["   🔴 no"]),
    ],
)
def test_messages(message, lines):
    assert list(message_lines(message)) == lines
