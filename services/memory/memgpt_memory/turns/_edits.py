"""Undo, retry and edits: what such a request commits.

Messages never change. One that is taken back is marked, and no longer in the window or in searches. An edited one is
taken back together with all that follow it, and they are added again as copies that say which message they replace. So
the window has the messages that are not taken back, in order, and every message can still be read.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from memgpt_memory.agents import AgentState, TurnStart
from memgpt_memory.messages import Message, Messages, NewMessage, Role, spoken_text
from memgpt_memory.turns._errors import nothing_to

_CHUNK = 100
_SEND_MESSAGE, _SPOKEN = "send_message", "message"


@dataclass(frozen=True, slots=True)
class Edit:
    """The beginning of a turn that takes back earlier messages.

    Attributes:
        plan: Decides what to take back when the turn's time has come, under the agent's lock.
        call_result: The result to store for an unfinished call of an abandoned turn, which the edit ends.
    """

    plan: Callable[[AgentState], Awaitable[TurnStart]]
    call_result: str = ""


class Part(StrEnum):
    """The part of an answer that is edited."""

    THOUGHT = "thought"
    SPOKEN = "spoken"


class Edits:
    """Decides what is taken back. Hold the agent's lock, so that the state does not change before the commit."""

    def __init__(self, messages: Messages) -> None:
        """Read `messages`."""
        self._messages = messages

    async def undo(self, state: AgentState, count: int) -> TurnStart:
        """Take back the last `count` messages of the window, or for 0 the user's last message and all after it.

        A function's result is not left without its call, and the boot sequence stays.

        Raises:
            FailedPrecondition: There is nothing to take back.
        """
        if not count:
            return TurnStart(rewind_from=(await self._last_input(state, "undo"))[0].sequence, completed=True)
        taken: list[Message] = []
        async for message in self._back(state, state.row.window_start):
            if len(taken) >= count and taken[-1].role is not Role.TOOL:
                break
            taken.append(message)
        if not taken:
            raise nothing_to("undo")
        return TurnStart(rewind_from=taken[-1].sequence, completed=True)

    async def retry(self, state: AgentState) -> TurnStart:
        """Take back what `undo` would, and give the agent the same input again.

        Raises:
            FailedPrecondition: There is nothing to run again.
        """
        inputs = await self._last_input(state, "retry")
        return TurnStart([_copy(message) for message in inputs], rewind_from=inputs[0].sequence)

    async def edit(self, state: AgentState, part: Part, text: str) -> TurnStart:
        """Replace the agent's last thought, or its last words to the user, by `text`.

        Raises:
            FailedPrecondition: The window holds no such text.
        """
        after: list[Message] = []
        async for message in self._back(state, state.row.window_start):
            edited = _edited(message, part, text)
            if edited is not None:
                copies = [edited, *(_copy(later) for later in reversed(after))]
                return TurnStart(copies, rewind_from=message.sequence, completed=True)
            after.append(message)
        raise nothing_to("rethink" if part is Part.THOUGHT else "rewrite")

    async def _last_input(self, state: AgentState, what: str) -> list[Message]:
        """Return the input of the last turn that a user's message began, or if there is none, of the last turn.

        The turn must reach into the window, but may have begun before it.
        """
        inputs: dict[str, list[Message]] = {}
        users_turn = ""
        previous: Message | None = None
        async for message in self._back(state, 0):
            if users_turn and message.turn_id != users_turn:
                break
            outside = message.sequence < state.row.window_start
            if outside and (previous is None or (_is_input(previous) and previous.turn_id != message.turn_id)):
                break
            if _is_input(message):
                inputs.setdefault(message.turn_id, []).insert(0, message)
                if spoken_text(message).strip():
                    users_turn = message.turn_id
            previous = message
        if not inputs:
            raise nothing_to(what)
        return inputs[users_turn] if users_turn else next(iter(inputs.values()))

    async def _back(self, state: AgentState, first: int) -> AsyncIterator[Message]:
        """Yield the messages of turns that were not taken back, the latest first, down to `first`."""
        hidden = state.hidden
        for high in range(state.row.message_count, first, -_CHUNK):
            sequences = [s for s in range(high - 1, max(high - _CHUNK, first) - 1, -1) if s not in hidden]
            for message in await self._messages.read(state.id, sequences):
                if not message.turn_id:
                    return
                yield message


def _is_input(message: Message) -> bool:
    return message.role is Role.USER and message.step == 0


def _copy(message: Message) -> NewMessage:
    # Without its usage: the tokens were spent once.
    return NewMessage(message.role, message.text, message.function_call, message.call_id, replaces=message.sequence)


def _edited(message: Message, part: Part, text: str) -> NewMessage | None:
    """Return the message with `text` in it, or None if it has no such part."""
    if message.role is not Role.ASSISTANT:
        return None
    copy = _copy(message)
    if part is Part.THOUGHT:
        return replace(copy, text=text)
    call = message.function_call
    if call is None or call.name != _SEND_MESSAGE:
        return None
    try:
        arguments = json.loads(call.arguments, strict=False)
    except (ValueError, RecursionError):
        return None
    if not isinstance(arguments, dict) or _SPOKEN not in arguments:
        return None  # The call failed, so it sent no text to the user.
    spoken = json.dumps({**arguments, _SPOKEN: text}, ensure_ascii=False)
    return replace(copy, function_call=replace(call, arguments=spoken))
