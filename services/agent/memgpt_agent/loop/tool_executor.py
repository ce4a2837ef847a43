"""The result of a model's answer: the messages of the step, its changes, and why the agent continues."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from memgpt_runtime import errors, tracing

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.domain import NO_EFFECTS, Context, Effects, FunctionCall, Message, Role, new_call_id
from memgpt_agent.functions import Call, FunctionError, FunctionOutput, MemorySearch, functions_of, parse_call
from memgpt_agent.functions.send_message import SEND_MESSAGE
from memgpt_agent.loop import final_reply
from memgpt_agent.loop.observer import Observer
from memgpt_agent.models.base import Completion
from memgpt_agent.remote_tools.port import ToolCall, Tools

MAX_RESULT_CHARACTERS = 3000
"""Maximum number of characters of a result; longer ones are cut, except those of searches."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """The content of a step to commit.

    Attributes:
        messages: The model's answer, a function's result, or both.
        effects: What the function changes.
        reason: Why the agent continues; empty if it has no reason to.
        open: Whether a call was only announced: it is committed first, then made.
        failed: Whether the function failed.
    """

    messages: tuple[Message, ...]
    effects: Effects = NO_EFFECTS
    reason: str = ""
    open: bool = False
    failed: bool = False


@dataclass(slots=True)
class _Made:
    """The outcome of a call, as it is recorded."""

    ok: bool = True
    text: str = ""


class ToolExecutor:
    """Runs the functions that models call."""

    def __init__(
        self, memory: MemorySearch, tools: Tools, now: Callable[[], datetime], observer: Observer | None = None
    ) -> None:
        self._memory = memory
        self._tools = tools
        self._now = now
        self._observer = observer or Observer()

    async def act(self, context: Context, completion: Completion, *, asked: bool = True) -> StepResult:
        """Run the called function, unless it is a remote tool's.

        Args:
            context: The context that the model answered.
            completion: The model's answer.
            asked: Whether the model was asked for this step; further calls of an earlier answer used no tokens.
        """
        if completion.call is None and _thought_only(context) and final_reply.owes_reply(context):
            completion = _as_message(completion)
        answer = Message(
            Role.ASSISTANT,
            completion.text,
            function_call=completion.call,
            usage=completion.usage if asked else None,
            created_at=self._now(),
        )
        if completion.call is None:
            # Only once: an agent without a waiting user may think again without a call.
            return StepResult((answer,), reason="" if _thought_only(context) else prompt.HEARTBEAT_ONLY_THOUGHT)
        call: Call | None = None
        effects = NO_EFFECTS
        try:
            call = parse_call(completion.call, functions_of(context))
            if call.function.tool is not None:
                return StepResult((answer,), open=True)
            _must_be_new(context, call)
            with self._observed(call, completion.call) as made:
                output = await execute(call, replace(context, now=self._now()), self._memory)
                made.text = output.text
            ok, text, effects = True, output.text, output.effects
        except FunctionError as error:
            ok, text = False, str(error)
        except (errors.InvalidArgument, errors.NotFound) as error:
            ok, text = False, error.message
        except errors.ResourceExhausted as error:
            if error.reason != errors.Reason.QUOTA_EXCEEDED:
                raise
            ok, text = False, error.message  # a turn that has begun runs to its end, without the search
        result = self._result(context, completion.call, ok, cut(call, text))
        return StepResult((answer, result), effects, _reason(ok, call), failed=not ok)

    async def finish(self, context: Context, open_call: FunctionCall, turn_id: str, step: int) -> StepResult:
        """Make a call that was committed as ``step`` of a turn. If it is made again, it has the same key."""
        call: Call | None = None
        try:
            call = parse_call(open_call, functions_of(context))
            if call.function.tool is None:
                raise FunctionError(f"{open_call.name} is no longer available.")
            tool_call = ToolCall(
                call.function.tool, envelopes.dumps(call.values), context.agent.agent_id, turn_id, step
            )
            with self._observed(call, open_call) as made:
                outcome = await self._tools.call(tool_call)
                made.ok, made.text = outcome.ok, outcome.text
            ok, text = outcome.ok, outcome.text
        except FunctionError as error:
            # The tool was registered again, or removed, since the call was committed.
            ok, text = False, str(error)
        return StepResult(
            (self._result(context, open_call, ok, cut(call, text)),), reason=_reason(ok, call), failed=not ok
        )

    def conflict(self, context: Context, answer: Message, label: str) -> StepResult:
        """Return the result of an edit that another edit of the shared block overtook; it has the current value.

        Args:
            context: The context now.
            answer: The model's answer, whose call made the edit.
            label: The block.
        """
        assert answer.function_call is not None  # noqa: S101 - only calls edit blocks
        block = next((block for block in context.blocks if block.label == label), None)
        text = f'Nothing was changed: the block "{label}" no longer exists.'
        if block is not None:
            text = (
                f'Nothing was changed: another agent or a person changed the shared block "{label}" in the meantime.'
                f" Its value is now: {block.value}"
            )
        result = self._result(context, answer.function_call, False, cut(None, text))
        return StepResult((answer, result), reason=prompt.HEARTBEAT_FAILED, failed=True)

    @contextmanager
    def _observed(self, call: Call, written: FunctionCall) -> Iterator[_Made]:
        """Time a call, and record its span."""
        function, made, returned, began = call.function, _Made(), False, time.perf_counter()
        attributes: tracing.Attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": function.name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": written.call_id,
        }
        try:
            with tracing.span(f"execute_tool {function.name}", attributes) as span:
                span.set_contents(lambda: {"gen_ai.tool.call.arguments": written.arguments})
                yield made
                span.set_contents(lambda: {"gen_ai.tool.call.result": made.text})
                if not made.ok:
                    span.fail("tool_failed")
            returned = True
        finally:
            seconds = time.perf_counter() - began
            self._observer.function_called(
                function.name, seconds, ok=returned and made.ok, remote=function.tool is not None
            )

    def _result(self, context: Context, call: FunctionCall, ok: bool, text: str) -> Message:
        time = envelopes.format_time(self._now(), context.agent.time_zone)
        return Message(Role.TOOL, envelopes.function_result(ok, text, time), call_id=call.call_id)


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


def cancelled_call(time: str) -> str:
    """Return the result of a call that a cancelled turn leaves behind."""
    return envelopes.function_result(False, prompt.CALL_CANCELLED, time)


def interrupted_call(time: str) -> str:
    """Return the result of a call that a failed turn leaves without one."""
    return envelopes.function_result(False, prompt.CALL_INTERRUPTED, time)


def _must_be_new(context: Context, call: Call) -> None:
    """Reject a message that only repeats the agent's last one, unless the model insists."""
    if call.function.name != SEND_MESSAGE.name:
        return
    if question := final_reply.repeated_answer(context, call.text("message")):
        raise FunctionError(
            "The message was not sent: it repeats your last message word for word. The user has written since:"
            f" “{question[:200]}”. Answer that."
        )


def _as_message(completion: Completion) -> Completion:
    """Convert a plain text to the call that sends it."""
    arguments = envelopes.dumps({"message": completion.text})
    return replace(completion, text="", call=FunctionCall(new_call_id(), SEND_MESSAGE.name, arguments))


def _reason(ok: bool, call: Call | None) -> str:
    if not ok:
        return prompt.HEARTBEAT_FAILED
    return prompt.HEARTBEAT_REQUESTED if call is not None and call.request_heartbeat else ""


def _thought_only(context: Context) -> bool:
    """Whether the model's last answer was plain text too."""
    for message in reversed(context.messages):
        if message.role is Role.ASSISTANT:
            return message.function_call is None
        if message.role is Role.USER and envelopes.kind(message.text) != "heartbeat":
            return False
    return False
