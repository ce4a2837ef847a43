"""Conversion of the committed steps of a turn to its durable events.

The events are derived from what is stored alone, so a live stream and every replay of it are equal.
"""

from __future__ import annotations

from memgpt_agent import envelopes
from memgpt_agent.domain import FunctionCall, Role, Step, Turn, Usage
from memgpt_agent.functions.send_message import SEND_MESSAGE
from memgpt_agent.loop.events import (
    NOTICE_EVICTED,
    NOTICE_PRESSURE,
    AssistantMessage,
    Body,
    Done,
    Event,
    FunctionCalled,
    FunctionResult,
    Notice,
    Thought,
)


class EventMapper:
    """Maps the committed steps of one turn to its durable events, in order and densely numbered."""

    def __init__(self) -> None:
        self.next_step = 0
        """Index of the next step to map."""
        self.model_steps = 0
        """Steps so far in which the model was asked."""
        self.usage = Usage()
        """Tokens of the steps so far."""
        self._sequence = 0
        self._called: FunctionCall | None = None

    def step(self, step: Step) -> list[Event]:
        """Return the events of a step; none if it was mapped before. Skipped steps before it have no messages."""
        events: list[Event] = []
        while self.next_step < step.index:
            events += self._tell(Step(self.next_step))
        if self.next_step == step.index:
            events += self._tell(step)
        return events

    def end(self, turn: Turn) -> list[Event]:
        """Return the last events of a turn that has ended."""
        events: list[Event] = []
        while self.next_step <= turn.committed_steps:
            events += self._tell(Step(self.next_step))
        done = Done(turn.state, turn.reason, self.model_steps, self.usage)
        return [*events, self._event(max(self.next_step - 1, 0), done)]

    def _tell(self, step: Step) -> list[Event]:
        self.next_step = step.index + 1
        if step.index == 0:
            return []
        bodies = self._bodies(step)
        for message in step.messages:
            # The message that the loop adds to a turn without one has no usage.
            if message.role is Role.ASSISTANT and message.usage is not None:
                self.model_steps += 1
                self.usage += message.usage
        return [self._event(step.index, body) for body in bodies]

    def _bodies(self, step: Step) -> list[Body]:
        if not step.messages:
            return [Notice(NOTICE_EVICTED)]
        bodies: list[Body] = []
        for message in step.messages:
            match message.role:
                case Role.ASSISTANT:
                    if message.text:
                        bodies.append(Thought(message.text))
                    # The result of a remote tool comes in the next step.
                    self._called = message.function_call
                    if message.function_call is not None:
                        call = message.function_call
                        bodies.append(FunctionCalled(call.call_id, call.name, call.arguments))
                case Role.TOOL:
                    ok = envelopes.result_ok(message.text)
                    name = self._called.name if self._called is not None else ""
                    if ok and self._called is not None and name == SEND_MESSAGE.name:
                        bodies.append(AssistantMessage(_spoken(self._called)))
                    bodies.append(FunctionResult(message.call_id, name, ok, envelopes.result_text(message.text)))
                case Role.USER if envelopes.kind(message.text) == "system_alert":
                    bodies.append(Notice(NOTICE_PRESSURE))
                case _:
                    pass
        bodies += [message.usage for message in step.messages if message.role is Role.ASSISTANT and message.usage]
        return bodies

    def _event(self, step: int, body: Body) -> Event:
        self._sequence += 1
        return Event(self._sequence, step, body)


def _spoken(call: FunctionCall) -> str:
    return str(envelopes.parse(call.arguments).get("message", ""))
