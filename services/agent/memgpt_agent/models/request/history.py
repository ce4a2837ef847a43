"""The prompt in the mode ``tools``: messages with tool calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memgpt_agent import envelopes
from memgpt_agent.domain import FunctionCall, Message, Role
from memgpt_agent.functions.function import INNER_THOUGHTS
from memgpt_agent.models.request.wire import Wire


def tool_messages(messages: Sequence[Message]) -> list[Wire]:
    """The prompt with tool calls; a thought goes back into the call it was taken from."""
    return [_tool_message(message) for message in messages]


def _tool_message(message: Message) -> Wire:
    call = message.function_call
    if message.role is Role.TOOL:
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
    if call is None:
        return {"role": message.role.value, "content": message.text}
    function = {"name": call.name, "arguments": _with_thought(call, message.text)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call.call_id, "type": "function", "function": function}],
    }


def _with_thought(call: FunctionCall, thought: str) -> str:
    arguments: Mapping[str, object] = envelopes.parse(call.arguments)
    if not arguments and call.arguments.strip() not in ("", "{}"):
        # It did not parse. Endpoints refuse such a history, and the error beside it shows what was written.
        return envelopes.dumps({INNER_THOUGHTS: thought})
    return envelopes.dumps({INNER_THOUGHTS: thought, **arguments})
