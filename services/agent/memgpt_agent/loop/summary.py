"""The recursive summary that replaces the messages that leave the window."""

from __future__ import annotations

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.window import ContextWindow
from memgpt_agent.domain import Context, Eviction, Message, Role, Usage
from memgpt_agent.functions.send_message import SEND_MESSAGE
from memgpt_agent.models.base import BadAnswerError, ChatModel, DeltaKind, ModelRequest

_MAX_QUESTION_CHARACTERS = 600


class _NullSink:
    def delta(self, kind: DeltaKind, text: str) -> None:
        pass

    def restart(self, reason: str) -> None:
        pass


async def evict(context: Context, count: int, model: ChatModel, window: ContextWindow) -> tuple[Eviction, Usage]:
    """Summarize the ``count`` oldest messages of the window together with the earlier summary.

    A user message that is not answered yet is kept verbatim.
    """
    gone = context.messages[:count]
    instructions = Message(Role.SYSTEM, prompt.SUMMARY_INSTRUCTIONS)
    room = window.limit - window.size(instructions) - window.size(Message(Role.USER, ""))
    # Without the open question, which the model might repeat after it is answered.
    former = window.shorten(context.summary.partition(prompt.STILL_OPEN)[0], room // 3)
    former = f"Your earlier summary: {former}\n\n" if former else ""
    text = former + window.shorten(prompt.transcript(gone), max(room - window.text_size(former), 1))
    messages = instructions, Message(Role.USER, text)
    most = max(window.tokens - sum(map(window.size, messages)), window.reserve)
    request = ModelRequest(messages, model=context.agent.model, max_tokens=window.answer_tokens, most_tokens=most)
    completion = await model.complete(request, _NullSink())
    if not completion.text.strip():
        # Without a summary, the evicted messages would be forgotten.
        raise BadAnswerError("the model wrote no summary of the oldest messages; retry, or choose another model")
    summary = window.shorten(completion.text.strip(), window.summary_tokens)
    question = window.shorten(open_question(context, count), window.summary_tokens)
    if question:
        summary += prompt.STILL_OPEN + question
    return Eviction(context.messages[count].sequence, summary), completion.usage


def open_question(context: Context, count: int) -> str:
    """Return the user's question that must be kept when the ``count`` oldest messages leave the window.

    Empty if the agent has answered since, or if the question stays in the window. A question that an earlier eviction
    kept in the summary stays open until then, too.
    """
    failed: set[str] = set()
    for position, message in reversed(tuple(enumerate(context.messages))):
        call = message.function_call
        if message.role is Role.TOOL and not envelopes.result_ok(message.text):
            failed.add(message.call_id)
        elif call is not None and call.name == SEND_MESSAGE.name and call.call_id not in failed:
            return ""
        elif message.role is Role.USER and envelopes.kind(message.text) == "user_message":
            if position >= count:
                return ""
            text = str(envelopes.parse(message.text).get("message", ""))
            return text if len(text) <= _MAX_QUESTION_CHARACTERS else text[:_MAX_QUESTION_CHARACTERS] + "…"
    return context.summary.partition(prompt.STILL_OPEN)[2]
