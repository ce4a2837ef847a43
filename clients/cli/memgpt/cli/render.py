"""How a turn looks: its events as lines."""

from __future__ import annotations

import json
from collections.abc import Iterable

from memgpt.agent.v1.event_pb2 import Delta, DeltaKind, FunctionCalled, FunctionResult, TurnEvent
from memgpt.cli.ui import Busy, Ui
from memgpt.memory.v1.message_pb2 import Message, Role
from memgpt.memory.v1.turn_pb2 import TurnState

THINKING = "Thinking..."

_SEARCHES = {"archival_memory_search", "conversation_search", "conversation_search_date"}
_UPDATES = {"core_memory_append", "core_memory_replace", "archival_memory_insert"}
# The agent's own business: the first is for the loop, the second is told as a thought.
_HIDDEN_ARGUMENTS = {"request_heartbeat", "inner_thoughts"}
_ARGUMENT_CHARACTERS = 160
_RESULT_CHARACTERS = 200


def shorten(text: str, limit: int) -> str:
    """`text` on one line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def call_line(name: str) -> str:
    """What a function call is told as."""
    if name in _SEARCHES:
        return f"⚡🧠 [function] searching memory with {name}"
    if name in _UPDATES:
        return f"⚡🧠 [function] updating memory with {name}"
    return f"⚡ [function] calling {name}"


def argument_line(arguments: str) -> str:
    """A call's arguments, `key: value` one after the other; as they are when they do not parse."""
    try:
        values = json.loads(arguments)
    except (ValueError, RecursionError):
        return shorten(arguments, _ARGUMENT_CHARACTERS)
    if not isinstance(values, dict):
        return shorten(arguments, _ARGUMENT_CHARACTERS)
    shown = [
        f"{key}: {shorten(json.dumps(value, ensure_ascii=False), _ARGUMENT_CHARACTERS)}"
        for key, value in values.items()
        if key not in _HIDDEN_ARGUMENTS
    ]
    return ", ".join(shown)


def result_line(result: FunctionResult) -> str:
    """A function's result in a line: of a search no more than its paging."""
    head, found, _ = result.text.partition("): [")
    text = f"{head})" if found and head.startswith("Showing ") else result.text
    return f"{'🟢' if result.ok else '🔴'} {shorten(text, _RESULT_CHARACTERS)}"


def message_lines(message: Message) -> Iterable[str]:
    """A message of the context window, for people."""
    if message.role == Role.ROLE_SYSTEM:
        yield f"[system] {message.text}"
    elif message.role == Role.ROLE_ASSISTANT:
        if message.text:
            yield f"💭 {message.text}"
        if message.HasField("function_call"):
            call = message.function_call
            spoken = _field(call.arguments, "message") if call.name == "send_message" else ""
            yield f"🤖 {spoken}" if spoken else f"⚡ {call.name}({argument_line(call.arguments)})"
    else:
        kind = _field(message.text, "type")
        text = _field(message.text, "message") or _field(message.text, "reason")
        if message.role == Role.ROLE_TOOL:
            mark = "🔴" if _field(message.text, "status") == "Failed" else "🟢"
            yield f"   {mark} {shorten(text, _RESULT_CHARACTERS)}"
        elif kind == "user_message":
            yield f"🧑 {text}"
        else:
            yield f"[{kind or 'event'}] {text}".rstrip()


def _field(envelope: str, key: str) -> str:
    try:
        value = json.loads(envelope)
    except (ValueError, RecursionError):
        return ""
    return str(value.get(key, "")) if isinstance(value, dict) else ""


class TurnView:
    """Shows the events of one turn as they come."""

    def __init__(self, ui: Ui, busy: Busy, *, strip: bool = False, debug: bool = False) -> None:
        """Begins a turn.

        Args:
            ui: Where to.
            busy: The spinner, which steps aside for text that comes in pieces.
            strip: Only the agent's messages, bare.
            debug: Sequence numbers, whole results and the usage as well.
        """
        self._ui = ui
        self._busy = busy
        self._strip = strip
        self._debug = debug
        self._streamed: dict[DeltaKind.ValueType, str] = {}
        self._open = False
        self.state: TurnState.ValueType = TurnState.TURN_STATE_UNSPECIFIED

    def show(self, event: TurnEvent) -> None:
        """Shows an event."""
        body = event.WhichOneof("event")
        if self._debug and body not in ("delta", "keep_alive"):
            self._break_line()
            self._ui.note(f"   #{event.sequence} step {event.step}: {body}")
        match body:
            case "queued":
                self._busy.say(f"Waiting for {event.queued.ahead} earlier turns...")
            case "delta":
                self._delta(event.delta)
            case "step_restarted":
                self._break_line()
                self._streamed.clear()
                if not self._strip:
                    self._ui.note(f"↻ the step runs again: {event.step_restarted.reason}")
            case "thought":
                self._text(DeltaKind.DELTA_KIND_THOUGHT, "💭 ", event.thought.text, "italic dim")
            case "message":
                self._text(DeltaKind.DELTA_KIND_MESSAGE, "🤖 ", event.message.text, "bold yellow")
            case "function_call":
                self._call(event.function_call)
            case "function_result":
                self._result(event.function_result)
            case "notice":
                self._break_line()
                if not self._strip:
                    self._ui.note(f"📝 {event.notice.text}")
            case "usage":
                self._streamed.clear()
                if self._debug:
                    self._ui.note(f"   {event.usage.prompt_tokens} + {event.usage.completion_tokens} tokens")
            case "done":
                self.state = event.done.state
                self._break_line()
                if self.state != TurnState.TURN_STATE_COMPLETED:
                    state = TurnState.Name(self.state).removeprefix("TURN_STATE_").lower()
                    verb = "" if self.state == TurnState.TURN_STATE_FAILED else "was "
                    reason = f": {event.done.reason}" if event.done.reason else ""
                    self._ui.line(f"⚠️  The turn {verb}{state}{reason}", "yellow")
            case _:
                pass

    def _prefix(self, prefix: str) -> str:
        return "" if self._strip else prefix

    def _text(self, kind: DeltaKind.ValueType, prefix: str, text: str, style: str) -> None:
        came = self._streamed.pop(kind, "")
        self._break_line()
        if came.strip() == text.strip() or (self._strip and kind == DeltaKind.DELTA_KIND_THOUGHT):
            return  # It stands there already, or is not wanted.
        self._ui.paragraph(self._prefix(prefix) + text, style)

    def _delta(self, delta: Delta) -> None:
        thought = delta.kind == DeltaKind.DELTA_KIND_THOUGHT
        if thought and self._strip:
            return
        style = "italic dim" if thought else "bold yellow"
        if delta.kind not in self._streamed:
            self._break_line()
            self._busy.pause()
            self._open = True
            self._streamed[delta.kind] = ""
            self._ui.piece(self._prefix("💭 " if thought else "🤖 "), style)
        self._streamed[delta.kind] += delta.text
        self._ui.piece(delta.text, style)

    def _break_line(self) -> None:
        """Ends a line that came in pieces, and lets the spinner go on."""
        if self._open:
            self._open = False
            self._ui.line()
            self._busy.resume()

    def _call(self, call: FunctionCalled) -> None:
        if call.name == "send_message" or self._strip:  # The message itself says it all.
            return
        self._break_line()
        self._ui.line(call_line(call.name), "magenta")
        arguments = argument_line(call.arguments)
        if arguments:
            self._ui.note(f"   {arguments}")

    def _result(self, result: FunctionResult) -> None:
        if (result.name == "send_message" and result.ok) or self._strip:
            return
        self._break_line()
        self._ui.line(f"   {result_line(result)}", "dim" if result.ok else "red")
        if self._debug:
            self._ui.note(f"   {result.text}")
