"""The recursive summary that replaces the messages that leave the window.

A content filter may refuse some of these messages, whenever they are to be summarized. Then they are tried in smaller
parts. A fact takes the place of what cannot be summarized, so that the agent can go on: recall memory has it all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

import structlog
from memgpt_runtime import errors

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.window import ContextWindow
from memgpt_agent.domain import NO_USAGE, Context, Eviction, Message, Role, Usage
from memgpt_agent.functions.send_message import SEND_MESSAGE
from memgpt_agent.models.base import (
    BadAnswerError,
    ChatModel,
    FilteredError,
    ModelRequest,
    NullSink,
    may_be_for_content,
)

_log = structlog.get_logger(__name__)

_MAX_QUESTION_CHARACTERS = 600

_PARTS = 8
"""Refused messages are halved down to an eighth: at most 15 requests."""

_MAX_REFUSAL_CHARACTERS = 400
_REFUSAL = re.compile(
    r"\W*(?:i['’]?m (?:really |very |so )?sorry|i am sorry|sorry|i apologi[sz]e|unfortunately)\b[^.!]{0,40}?"
    r"\bi(?:['’]m| am)? (?:can(?:['’]t|not)|unable|not able|won['’]t|do(?:n['’]t| not))\b"
    r"|\W*(?:as an ai\b.{0,60}?, )?i (?:can(?:['’]t|not)|won['’]t|am (?:unable|not able) to|must decline to)"
    r" (?:\w+ ){0,2}?(?:assist|help|comply|summari[sz]e|provide|fulfill?|continue|engage|process|create|write)\b"
    r"|\W*(?:很|非常)?(?:抱歉|对不起|遗憾)\W*(?:但)?我?(?:无法|不能)|\W*我(?:无法|不能)(?:提供|协助|帮助|总结|满足|继续|处理)",
    re.IGNORECASE,
)
"""How a short answer begins that refuses to write the summary."""

_MISSING = re.compile(
    r"\s*\[([\d,]+) messages? from (\d{4}-\d\d-\d\d) to (\d{4}-\d\d-\d\d) could not be summarized;"
    r" conversation_search finds them\]"
)


@dataclass(frozen=True, slots=True)
class _Missing:
    """Messages without a summary: their number, and the days of the first and the last one."""

    count: int
    first: date
    last: date

    def __str__(self) -> str:
        messages = "1 message" if self.count == 1 else f"{self.count:,} messages"
        return f"[{messages} from {self.first} to {self.last} could not be summarized; conversation_search finds them]"


class _Writer:
    """Asks a model for summaries.

    Attributes:
        usage: The tokens that they took.
        left_out: The messages that could not be summarized.
        problem: Why, for the last of them.
    """

    def __init__(self, model: ChatModel, name: str, window: ContextWindow) -> None:
        self._model = model
        self._name = name
        self._window = window
        self._works = False  # whether the endpoint has taken a request
        self.usage = NO_USAGE
        self.left_out: list[Message] = []
        self.problem: BadAnswerError | None = None

    async def write_all(self, former: str, messages: Sequence[Message]) -> list[str]:
        """Return the earlier summary and a summary of the messages; one of both if possible."""
        parts, written = [messages], ""
        while parts:
            part = parts.pop(0)
            begins = part[0] is messages[0]
            try:
                written = await self._checked(former if begins else written, part)
                former = "" if begins else former
            except BadAnswerError as error:
                # Smaller parts help only against a refusal.
                if isinstance(error, FilteredError) and len(part) > -(-len(messages) // _PARTS):
                    half = len(part) // 2
                    parts[:0] = [part[:half], part[half:]]
                    continue
                self.problem = error
                self.left_out += part
        return [former, written]

    async def _checked(self, former: str, messages: Sequence[Message]) -> str:
        """Return a summary of an earlier summary and of messages.

        Raises:
            FilteredError: They are refused for what they say, or crash the endpoint.
            BadAnswerError: The model writes none.
        """
        try:
            return await self._write(former, prompt.transcript(messages))
        except errors.ServiceError as error:
            if not may_be_for_content(error):
                raise
            if not self._works or isinstance(error, errors.Unavailable):
                # Raises if the endpoint refuses any request, which is a matter of the settings, or is out of order.
                with suppress(BadAnswerError):
                    await self._write("", prompt.transcript([Message(Role.USER, "Hello.")]))
            raise FilteredError(error.message) from error

    async def _write(self, former: str, transcript: str) -> str:
        window = self._window
        instructions = Message(Role.SYSTEM, prompt.SUMMARY_INSTRUCTIONS)
        room = window.limit - window.size(instructions) - window.size(Message(Role.USER, ""))
        former = window.shorten(former, room // 3)
        former = f"Your earlier summary: {former}\n\n" if former else ""
        text = former + window.shorten(transcript, max(room - window.text_size(former), 1))
        messages = instructions, Message(Role.USER, text)
        most = max(window.tokens - sum(map(window.size, messages)), window.reserve)
        request = ModelRequest(messages, model=self._name, max_tokens=window.answer_tokens, most_tokens=most)
        completion = await self._model.complete(request, NullSink())
        self._works = True
        self.usage += completion.usage
        written = completion.text.strip()
        if not written:
            raise BadAnswerError("the model wrote no summary of the oldest messages; retry, or choose another model")
        if len(written) <= _MAX_REFUSAL_CHARACTERS and _REFUSAL.match(written):
            raise FilteredError(f"the model refuses to summarize the oldest messages: {written}")
        return written


async def evict(
    context: Context, count: int, model: ChatModel, window: ContextWindow, *, always: bool = True
) -> tuple[Eviction, Usage]:
    """Summarize the ``count`` oldest messages of the window together with the earlier summary.

    A user message that is not answered yet is kept verbatim.

    Args:
        context: The context.
        count: How many messages leave the window.
        model: The model that summarizes them.
        window: The window.
        always: Whether the messages leave the window even if none can be summarized.

    Raises:
        BadAnswerError: No message can be summarized, and ``always`` is false.
    """
    gone = context.messages[:count]
    # Without the open question, which the model might repeat after it is answered.
    former, missing = _without_missing(context.summary.partition(prompt.STILL_OPEN)[0])
    writer = _Writer(model, context.agent.model, window)
    summaries = await writer.write_all(former, gone)
    if writer.problem is not None:
        if len(writer.left_out) == count and not always:
            raise writer.problem
        _log.warning(
            "summary_incomplete",
            agent_id=context.agent.agent_id, messages=count, left_out=len(writer.left_out),
            problem=str(writer.problem),
        )  # fmt: skip
        missing = _missing(writer.left_out, context.agent.time_zone, missing)
    summary = _joined(summaries, str(missing or ""), window)
    question = window.shorten(open_question(context, count), window.summary_tokens)
    if question:
        summary += prompt.STILL_OPEN + question
    return Eviction(context.messages[count].sequence, summary), writer.usage


def _joined(texts: Sequence[str], note: str, window: ContextWindow) -> str:
    """Return the texts and the note that are not empty, shortened to the size of a summary."""
    texts = [text for text in texts if text]
    room = window.summary_tokens - window.text_size(note)
    return " ".join([*(window.shorten(text, room // len(texts)) for text in texts), *filter(None, [note])])


def _missing(messages: Sequence[Message], time_zone: str, before: _Missing | None) -> _Missing:
    """Return ``before`` with further messages."""
    zone = envelopes.zone(time_zone)
    days = [message.created_at.astimezone(zone).date() for message in messages]
    if before is None:
        return _Missing(len(days), min(days), max(days))
    return _Missing(before.count + len(days), min(before.first, *days), max(before.last, *days))


def _without_missing(summary: str) -> tuple[str, _Missing | None]:
    """Return a summary without its note about missing messages, and what that says."""
    match = _MISSING.search(summary)
    if match is None:
        return summary, None
    try:
        found = _Missing(int(match[1].replace(",", "")), date.fromisoformat(match[2]), date.fromisoformat(match[3]))
    except ValueError:
        return summary, None
    return summary[: match.start()] + summary[match.end() :], found


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
