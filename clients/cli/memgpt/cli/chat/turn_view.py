"""Display of a turn, event by event."""

from __future__ import annotations

from memgpt.agent.v1.event_pb2 import Delta, DeltaKind, FunctionCalled, FunctionResult, TurnEvent
from memgpt.cli.chat.messages import SEARCHES, argument_line, call_line, page_of, result_line
from memgpt.cli.terminal.busy import Busy
from memgpt.cli.terminal.markdown import MarkdownStream
from memgpt.cli.terminal.ui import Ui, plural, printable
from memgpt.memory.v1.message_pb2 import Usage
from memgpt.memory.v1.turn_pb2 import TurnState

THINKING = "Thinking..."

_STYLES = {DeltaKind.DELTA_KIND_THOUGHT: "italic dim", DeltaKind.DELTA_KIND_MESSAGE: "bold yellow"}
_PREFIXES = {DeltaKind.DELTA_KIND_THOUGHT: "💭 ", DeltaKind.DELTA_KIND_MESSAGE: "🤖 "}
_ENDS = {
    TurnState.TURN_STATE_STOPPED: "The turn was stopped",
    TurnState.TURN_STATE_CANCELLED: "The turn was cancelled",
    TurnState.TURN_STATE_FAILED: "The turn failed",
}


class TurnView:
    """Shows the events of one turn as they arrive.

    Attributes:
        state: How the turn ended; unspecified while it runs.
    """

    def __init__(self, ui: Ui, busy: Busy, *, strip: bool = False, debug: bool = False) -> None:
        """Start the view of a turn.

        Args:
            ui: The terminal.
            busy: The spinner line; it is hidden while text is streamed.
            strip: Whether to show only the agent's messages, without decoration.
            debug: Whether to show sequence numbers, full results and token counts as well.
        """
        self.state: TurnState.ValueType = TurnState.TURN_STATE_UNSPECIFIED
        self._ui = ui
        self._busy = busy
        self._strip = strip
        self._debug = debug
        self._streamed: dict[DeltaKind.ValueType, str] = {}
        self._stream: MarkdownStream | None = None
        self._kind: DeltaKind.ValueType = DeltaKind.DELTA_KIND_UNSPECIFIED
        self._read = self._written = 0
        self._page = ""

    def show(self, event: TurnEvent) -> None:
        """Show an event."""
        body = event.WhichOneof("event")
        if self._debug and body not in ("delta", "keep_alive"):
            self._break_line()
            self._ui.note(f"   #{event.sequence} step {event.step}: {body}")
        match body:
            case "queued":
                self._busy.say(f"Waiting for {plural(event.queued.ahead, 'earlier turn')}...")
            case "model_call":
                self._reading(event.model_call.prompt_tokens)
            case "delta":
                self._delta(event.delta)
            case "step_restarted":
                self._restarted(event.step_restarted.reason)
            case "thought":
                self._text(DeltaKind.DELTA_KIND_THOUGHT, event.thought.text)
            case "message":
                self._text(DeltaKind.DELTA_KIND_MESSAGE, event.message.text)
            case "function_call":
                self._call(event.function_call)
            case "function_result":
                self._result(event.function_result)
            case "notice":
                self._break_line()
                if not self._strip:
                    self._ui.note(f"📝 {event.notice.text}")
            case "usage":
                self._usage(event.usage)
            case "done":
                self._done(event.done.state, event.done.reason)
            case _:
                pass

    def stopped(self) -> None:
        """End a streamed text that will not continue."""
        self._break_line()
        self._streamed.clear()

    def interrupted(self) -> None:
        """Show that the connection was lost and is being restored."""
        self.stopped()
        self._busy.say("The Agent does not answer; trying again...")

    def _prefix(self, kind: DeltaKind.ValueType) -> str:
        return "" if self._strip else _PREFIXES[kind]

    def _hidden(self, kind: DeltaKind.ValueType) -> bool:
        return self._strip and kind == DeltaKind.DELTA_KIND_THOUGHT

    def _text(self, kind: DeltaKind.ValueType, text: str) -> None:
        came = self._streamed.pop(kind, "")
        streaming = self._stream is not None and self._kind == kind
        if streaming and came and text.startswith(came):
            self._piece(text[len(came) :])
            came = text
        if streaming or not came:
            self._break_line()
        if self._hidden(kind) or (came and came.strip() == text.strip()):
            return
        self._break_line()
        self._busy.pause()
        self._ui.answer(self._prefix(kind), text, _STYLES[kind])
        self._busy.resume()

    def _delta(self, delta: Delta) -> None:
        if self._hidden(delta.kind) or delta.kind not in _STYLES:
            return
        if delta.kind not in self._streamed:
            self._break_line()
            self._busy.say("Writing...")
            self._busy.pause()
            self._streamed[delta.kind] = ""
            prefix, style = self._prefix(delta.kind), _STYLES[delta.kind]
            self._ui.piece(prefix, style)
            self._stream, self._kind = self._ui.answering(prefix, style), delta.kind
        self._streamed[delta.kind] += delta.text
        self._piece(delta.text)

    def _piece(self, text: str) -> None:
        if self._stream is not None:
            self._ui.piece(self._stream.feed(printable(text)))

    def _break_line(self) -> None:
        """End a streamed text and resume the spinner."""
        if self._stream is not None:
            self._ui.piece(self._stream.end())
            self._stream = None
            self._ui.line()
            self._busy.resume()

    def _restarted(self, reason: str) -> None:
        self._break_line()
        if self._streamed and not self._strip:
            self._ui.note("↻ Starting over.")
        self._streamed.clear()
        self._busy.say(f"{reason.rstrip('.') or 'Trying again'}...")
        if self._debug:
            self._ui.note(f"   {reason}")

    def _reading(self, prompt_tokens: int) -> None:
        page = f"{self._page}, " if self._page else ""
        before = f"; before, {self._used()}" if self._read else ""
        self._busy.say(f"Reading {page}{plural(prompt_tokens, 'token')}{before}...")
        self._page = ""

    def _used(self) -> str:
        return f"{plural(self._read, 'token')} read, {self._written:,} written"

    def _call(self, call: FunctionCalled) -> None:
        self._busy.say("Searching..." if call.name in SEARCHES else THINKING)
        if call.name == "send_message" or self._strip:  # the message itself is shown
            return
        self._break_line()
        self._ui.line(call_line(call.name), "magenta", indent=3)
        arguments = argument_line(call.arguments)
        if arguments:
            self._ui.note(f"   {arguments}")

    def _result(self, result: FunctionResult) -> None:
        self._page = page_of(result)
        if self._page:
            self._busy.say(f"Reading {self._page}...")
        if (result.name == "send_message" and result.ok) or self._strip:
            return
        self._break_line()
        self._ui.line(f"   {result_line(result)}", "dim" if result.ok else "red")
        if self._debug:
            self._ui.note(f"   {result.text}")

    def _usage(self, usage: Usage) -> None:
        self._streamed.clear()
        self._read += usage.prompt_tokens
        self._written += usage.completion_tokens
        if not self._page:
            self._busy.say(f"Thinking; {self._used()}...")
        if self._debug:
            cached = f", {usage.cached_tokens} of them cached" if usage.cached_tokens else ""
            self._ui.note(f"   {usage.prompt_tokens} + {usage.completion_tokens} tokens{cached}")

    def _done(self, state: TurnState.ValueType, reason: str) -> None:
        self.state = state
        self._break_line()
        if state in _ENDS:
            self._ui.line(f"⚠️  {_ENDS[state]}{f': {reason}' if reason else ''}", "yellow")
