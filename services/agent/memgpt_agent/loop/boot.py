"""The first messages of a new agent, and the check of its first answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from memgpt_agent import envelopes
from memgpt_agent.domain import Context, FunctionCall, Message, Role, new_call_id
from memgpt_agent.functions.send_message import SEND_MESSAGE

_THOUGHT = "I am awake and my memory works. Somebody may be about to log in: let me be ready to greet them."
_GREETING = "Hello, I am here."


def boot_sequence(now: datetime, time_zone: str, call_id: Callable[[], str] = new_call_id) -> list[Message]:
    """Return an assistant message with a thought and a ``send_message``, its result, and the user's first login.

    It shows the model by example how to answer.
    """
    time = envelopes.format_time(now, time_zone)
    call = FunctionCall(call_id(), SEND_MESSAGE.name, envelopes.dumps({"message": _GREETING}))
    return [
        Message(Role.ASSISTANT, _THOUGHT, function_call=call),
        Message(
            Role.TOOL, envelopes.function_result(True, "The message was sent to the user.", time), call_id=call.call_id
        ),
        Message(Role.USER, envelopes.login(envelopes.NEVER, time)),
    ]


def awaits_first_answer(context: Context) -> bool:
    """Whether the agent has not answered any event yet since its boot sequence."""
    if context.summary:
        return False
    answered = False
    for message in context.messages:
        if message.role is Role.USER:
            answered = True
        elif message.role is Role.ASSISTANT and answered:
            return False
    return True
