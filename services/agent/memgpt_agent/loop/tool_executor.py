"""What comes of a model's answer: the messages of the step, the changes it makes, and why the agent goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from memgpt_runtime import errors

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.domain import NO_EFFECTS, Context, Effects, FunctionCall, Message, Role
from memgpt_agent.functions import Call, FunctionError, FunctionOutput, MemorySearch, functions_of, parse_call
from memgpt_agent.models.base import Completion
from memgpt_agent.remote_tools.port import ToolCall, Tools

MAX_RESULT_CHARACTERS = 3000
"""Longer results are cut, except those of searches."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What is to be committed.

    Attributes:
        messages: The model's answer, a function's result, or both.
        effects: What the function changes.
        reason: Why the agent goes on; empty when it has no reason to.
        open: Whether a call was only announced: it is committed first, and made then.
    """

    messages: tuple[Message, ...]
    effects: Effects = NO_EFFECTS
    reason: str = ""
    open: bool = False


class ToolExecutor:
    """Runs functions."""

    def __init__(self, memory: MemorySearch, tools: Tools, now: Callable[[], datetime]) -> None:
        self._memory = memory
        self._tools = tools
        self._now = now

    async def act(self, context: Context, completion: Completion) -> StepResult:
        """Runs the function that was called, unless it runs elsewhere."""
        answer = Message(
            Role.ASSISTANT,
            completion.text,
            function_call=completion.call,
            usage=completion.usage,
            created_at=self._now(),
        )
        if completion.call is None:
            # Once only: a model that thinks on in the same way is left in peace.
            return StepResult((answer,), reason="" if _thought_only(context) else prompt.HEARTBEAT_ONLY_THOUGHT)
        call: Call | None = None
        effects = NO_EFFECTS
        try:
            call = parse_call(completion.call, functions_of(context))
            if call.function.tool is not None:
                return StepResult((answer,), open=True)
            output = await execute(call, context, self._memory)
            ok, text, effects = True, output.text, output.effects
        except FunctionError as error:
            ok, text = False, str(error)
        except (errors.InvalidArgument, errors.NotFound) as error:
            ok, text = False, error.message
        result = self._result(context, completion.call, ok, cut(call, text))
        return StepResult((answer, result), effects, _reason(ok, call))

    async def finish(self, context: Context, open_call: FunctionCall, turn_id: str, step: int) -> StepResult:
        """Makes a call that was committed as ``step`` of a turn. Made again, it has the same key."""
        call: Call | None = None
        try:
            call = parse_call(open_call, functions_of(context))
            if call.function.tool is None:
                raise FunctionError(f"{open_call.name} is no longer there.")
            made = ToolCall(call.function.tool, envelopes.dumps(call.values), context.agent.agent_id, turn_id, step)
            outcome = await self._tools.call(made)
            ok, text = outcome.ok, outcome.text
        except FunctionError as error:
            # Registered anew, or taken away, since the call was committed.
            ok, text = False, str(error)
        return StepResult((self._result(context, open_call, ok, cut(call, text)),), reason=_reason(ok, call))

    def _result(self, context: Context, call: FunctionCall, ok: bool, text: str) -> Message:
        time = envelopes.format_time(self._now(), context.agent.time_zone)
        return Message(Role.TOOL, envelopes.function_result(ok, text, time), call_id=call.call_id)


def _reason(ok: bool, call: Call | None) -> str:
    if not ok:
        return prompt.HEARTBEAT_FAILED
    return prompt.HEARTBEAT_REQUESTED if call is not None and call.request_heartbeat else ""


def _thought_only(context: Context) -> bool:
    """Whether the model's last answer was a mere thought too."""
    for message in reversed(context.messages):
        if message.role is Role.ASSISTANT:
            return message.function_call is None
        if message.role is Role.USER and envelopes.kind(message.text) != "heartbeat":
            return False
    return False


async def execute(call: Call, context: Context, memory: MemorySearch) -> FunctionOutput:
    """Run a checked call of a built-in function.

    Raises:
        FunctionError: Nothing can be done, and nothing has changed. The text goes to the model.
    """
    assert call.function.handler is not None  # noqa: S101 - every built-in function has one
    return await call.function.handler(call, context, memory)


def cut(call: Call | None, text: str) -> str:
    """Return ``text`` as the model gets it: cut at 3,000 characters unless it comes from a search."""
    if len(text) <= MAX_RESULT_CHARACTERS or (call is not None and call.function.searches):
        return text
    return f"{text[:MAX_RESULT_CHARACTERS]}… [cut after {MAX_RESULT_CHARACTERS:,} of {len(text):,} characters]"
