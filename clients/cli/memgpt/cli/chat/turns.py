"""The turns of a chat: sends, shows, cancels and resumes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.agent.v1.event_pb2 import TurnEvent
from memgpt.cli.chat.choose_agent import RunOptions
from memgpt.cli.chat.turn_view import THINKING, TurnView
from memgpt.cli.errors import CliError, explain
from memgpt.cli.terminal.ui import Ui
from memgpt.client import MemGPT, ServiceError, new_request_id
from memgpt.memory.v1.turn_pb2 import Turn, TurnState

_KEPT = "your message is kept and will be answered before the next one; /undo takes it back"
_NOT_SENT = "your message was not sent, because an earlier one is still to be answered; /undo takes that one back"

_TURNS_SEARCHED = 100
"""Number of recent turns to search for an unfinished one; at most 64 turns wait at a time."""


@dataclass(frozen=True, slots=True)
class _UnfinishedTurn:
    """An unfinished turn, which was shown up to and including the event `sequence`."""

    request_id: str
    sequence: int = 0


class Turns:
    """The turns of one agent in a chat."""

    def __init__(self, ui: Ui, memgpt: MemGPT, agent_id: str, wishes: RunOptions) -> None:
        self._ui = ui
        self._memgpt = memgpt
        self._agent_id = agent_id
        self._wishes = wishes
        self._stream = wishes.stream if wishes.stream is not None else ui.terminal
        self._left: _UnfinishedTurn | None = None

    def look_back(self) -> None:
        """Find a turn that an earlier chat left unfinished, for example because the model was unreachable."""
        running = self._find(lambda turn: turn.state == TurnState.TURN_STATE_RUNNING)
        self._left = _UnfinishedTurn(running.request_id) if running else None

    def send(self, *, text: str = "", event: pb.SystemEvent.ValueType = pb.SYSTEM_EVENT_UNSPECIFIED) -> bool:
        """Send a message or an event and show the turn; return whether it succeeded."""
        if not self.take_up():
            return False
        request = pb.SendMessageRequest(
            agent_id=self._agent_id,
            request_id=new_request_id(),
            stream_deltas=self._stream,
            skip_verify=self._wishes.no_verify,
        )
        if event:
            request.event = event
        else:
            request.text = text
        return self._follow(lambda told: self._memgpt.agents.send(request, told), _UnfinishedTurn(request.request_id))

    def retry(self) -> bool:
        """Take back the last answer and run the turn again; return whether it succeeded."""
        request = pb.RetryRequest(
            agent_id=self._agent_id,
            request_id=new_request_id(),
            stream_deltas=self._stream,
            skip_verify=self._wishes.no_verify,
        )
        return self._follow(lambda told: self._memgpt.agents.retry(request, told), _UnfinishedTurn(request.request_id))

    def take_up(self) -> bool:
        """Show the rest of an unfinished turn; return whether the next one may be sent.

        The Agent would finish it before the next one anyway, but its events would not be shown.
        """
        left = self._left
        if left is None:
            return True
        turn = self._find(lambda turn: turn.request_id == left.request_id)
        if turn is None or turn.state == TurnState.TURN_STATE_CANCELLED:  # it never started, or was undone
            self._left = None
            return True
        if not self._wishes.strip_ui:
            self._ui.note("↻ First, the answer to your earlier message:")
        try:
            self._follow(lambda told: self._resume(left.request_id, left.sequence, told), left, _NOT_SENT)
        except ServiceError as error:
            if self._left is not None:
                raise
            self._ui.error(explain(error))
        if self._left is not None:
            self._ui.note(f"{_NOT_SENT.capitalize()}.")
        return self._left is None

    def _resume(
        self, request_id: str, sequence: int, told: Callable[[ServiceError], None] | None = None
    ) -> Iterator[TurnEvent]:
        return self._memgpt.agents.resume(
            self._agent_id, request_id, sequence, stream_deltas=self._stream, on_interrupt=told
        )

    def _find(self, wanted: Callable[[Turn], bool]) -> Turn | None:
        turns = islice(self._memgpt.agents.turns(self._agent_id), _TURNS_SEARCHED)
        return next(filter(wanted, turns), None)

    def _follow(
        self,
        begin: Callable[[Callable[[ServiceError], None]], Iterator[TurnEvent]],
        left: _UnfinishedTurn,
        consequence: str = _KEPT,
    ) -> bool:
        """Show a turn; return whether it succeeded. Ctrl-C cancels it.

        Args:
            begin: Starts the stream; its argument is called when the stream breaks.
            left: The turn, and how much of it was already shown.
            consequence: Text to add to an error that leaves the turn unfinished.
        """
        request_id, sequence = left.request_id, left.sequence
        with self._ui.busy(THINKING) as busy:
            view = TurnView(self._ui, busy, strip=self._wishes.strip_ui, debug=self._wishes.debug)
            try:
                for event in begin(lambda _: view.interrupted()):
                    sequence = max(sequence, event.sequence)
                    view.show(event)
            except KeyboardInterrupt:
                try:
                    view.stopped()
                    busy.say("Cancelling at the next step; Ctrl-C again leaves the turn to itself...")
                    self._memgpt.agents.cancel(self._agent_id, request_id)
                    for event in self._resume(request_id, sequence):
                        sequence = max(sequence, event.sequence)
                        view.show(event)
                except KeyboardInterrupt:
                    self._ui.note("The turn goes on by itself.")
                if not self._ui.interactive:
                    raise
            except ServiceError as error:
                view.stopped()
                if not view.state and self._find(lambda turn: turn.request_id == request_id):
                    raise CliError(f"{explain(error)}; {consequence}") from error
                raise
            finally:
                self._left = None if view.state else _UnfinishedTurn(request_id, sequence)
        if self._ui.terminal and not self._wishes.strip_ui:
            self._ui.line()
        return view.state == TurnState.TURN_STATE_COMPLETED
