"""Whether the user is still waiting for a reply, and the message that ends a turn in which the agent sent none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.domain import Context, FunctionCall, Message, Role, TurnState, new_call_id
from memgpt_agent.functions.send_message import SEND_MESSAGE, SENT

MAX_REMINDERS = 2
"""How often a turn reminds the agent that the user is waiting, before the loop ends it with a message of its own."""

_MIN_REPEATED = 24
"""Shorter messages, such as "Yes, I do.", may be repeated."""

_MOST_REJECTIONS = 2
"""How often a repetition of an answer is rejected before it is sent: a small model may repeat it at once."""

_CHINESE = re.compile(r"[\u3400-\u9fff]")

LAST_WORDS = {
    ("en", True): "I could not finish this in one go. Tell me to continue, or ask in a different way.",
    ("en", False): "I could not put an answer together this time. Please ask me again.",
    ("zh", True): "我没能一次完成。请让我继续，或者换一种方式提问。",
    ("zh", False): "我这次没能给出回答，请再问我一次。",
}
"""The messages of ``last_words`` by language, and whether a limit stopped the turn."""


REJECTED = {
    "en": "The model's endpoint rejected this, so that I did not see it. Please use other words.",
    "zh": "模型端点拒绝了这条内容，所以我没有看到它。请换一种说法。",
}
"""The messages of ``rejection`` by language."""


def owes_reply(context: Context, messages: Sequence[Message] = ()) -> bool:
    """Whether the user is waiting for an answer once ``messages`` follow those of the window."""
    results: dict[str, bool] = {}
    for message in reversed((*context.messages, *messages)):
        if message.role is Role.TOOL:
            results[message.call_id] = envelopes.result_ok(message.text)
        elif message.role is Role.ASSISTANT:
            call = message.function_call
            if call is not None and call.name == SEND_MESSAGE.name and results.get(call.call_id, True):
                return False
        elif message.role is Role.USER and (waits := _begins_turn(message)) is not None:
            return waits
    return prompt.STILL_OPEN in context.summary


def _begins_turn(message: Message) -> bool | None:
    """Return whether an event makes the user wait for an answer; None if it only continues a turn."""
    match envelopes.kind(message.text):
        case "user_message" | "login":
            return True
        case "heartbeat":
            reason = envelopes.heartbeat_reason(message.text)
            return None if reason in prompt.CHAINED else reason == prompt.HEARTBEAT_BEGIN
        case _:
            return None


def reminders(context: Context) -> int:
    """Return how often the agent was reminded, since the last external event, that the user is waiting."""
    count = 0
    for message in reversed(context.messages):
        if message.role is Role.USER:
            if _begins_turn(message) is not None:
                break
            count += envelopes.heartbeat_reason(message.text) in (prompt.HEARTBEAT_SPEAK, prompt.HEARTBEAT_ONLY_THOUGHT)
    return count


def last_words(context: Context, state: TurnState, now: datetime) -> tuple[Message, Message]:
    """Return a message to the user with its result, for a turn that ends in ``state`` before the agent has spoken."""
    return _said(context, LAST_WORDS[_language(context), state is TurnState.STOPPED], now)


def rejection(context: Context, now: datetime) -> tuple[Message, ...]:
    """Return the event after which later prompts leave out what a content filter rejected.

    A message to the user follows if they wait for an answer.
    """
    time = envelopes.format_time(now, context.agent.time_zone)
    event = Message(Role.USER, envelopes.heartbeat(prompt.HEARTBEAT_REJECTED, time))
    return (event, *(_said(context, REJECTED[_language(context)], now) if owes_reply(context) else ()))


def _language(context: Context) -> str:
    return "zh" if _CHINESE.search(_last_user_text(context.messages)) else "en"


def _said(context: Context, text: str, now: datetime) -> tuple[Message, Message]:
    call = FunctionCall(new_call_id(), SEND_MESSAGE.name, envelopes.dumps({"message": text}))
    result = envelopes.function_result(True, SENT, envelopes.format_time(now, context.agent.time_zone))
    return Message(Role.ASSISTANT, "", function_call=call), Message(Role.TOOL, result, call_id=call.call_id)


def repeated_answer(context: Context, text: str) -> str:
    """Return the user's message that ``text`` does not answer because it only repeats the agent's last message.

    Empty if it is not a repetition, if the user's message is one too, or if the agent was told often enough.
    """
    if len(text) < _MIN_REPEATED:
        return ""
    asked: list[str] = []
    unsent: set[str] = set()
    rejected = 0
    for message in reversed(context.messages):
        call = message.function_call
        if message.role is Role.TOOL and not envelopes.result_ok(message.text):
            unsent.add(message.call_id)
        elif call is not None and call.name == SEND_MESSAGE.name:
            if call.call_id in unsent:
                rejected += not asked
                if rejected == _MOST_REJECTIONS:
                    return ""
                continue
            if _plain(str(envelopes.parse(call.arguments).get("message", ""))) != _plain(text) or not asked:
                return ""
            return "" if _plain(_asked_before(context, call)) == _plain(asked[0]) else asked[0]
        if message.role is Role.USER and envelopes.kind(message.text) == "user_message":
            asked.append(str(envelopes.parse(message.text).get("message", "")))
    return ""


def _asked_before(context: Context, answer: FunctionCall) -> str:
    """Return the user's message before an answer."""
    position = next(n for n, m in enumerate(context.messages) if m.function_call is answer)
    return _last_user_text(context.messages[:position])


def _last_user_text(messages: Sequence[Message]) -> str:
    for message in reversed(messages):
        if message.role is Role.USER and envelopes.kind(message.text) == "user_message":
            return str(envelopes.parse(message.text).get("message", ""))
    return ""


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
