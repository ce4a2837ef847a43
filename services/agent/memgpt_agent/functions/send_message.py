"""``send_message``: speaks to the user."""

from __future__ import annotations

from memgpt_agent.domain import Context
from memgpt_agent.functions.function import Call, Function, FunctionOutput, MemorySearch, Parameter

SENT = "The message was sent to the user."
"""Result of every call."""


async def _run(call: Call, context: Context, memory: MemorySearch) -> FunctionOutput:
    return FunctionOutput(SENT)


SEND_MESSAGE = Function(
    "send_message",
    "Sends a message to the user. This is the only way to reach them; nothing else you write is shown as a reply.",
    (Parameter("message", "string", "What to say, in the user's language. Any Unicode text."),),
    _run,
    "To answer the user, call send_message. Write in the language of their last message.",
    chains=False,
)
