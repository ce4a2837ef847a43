"""Advice for small models on what to do next: the ``next_step`` of the note, in the mode ``json_schema``.

Before they answer, it says where the answer may be, since they would invent one. Next to search results it repeats the
question, since they would search indefinitely. After any other call it says that the user is waiting.
"""

from __future__ import annotations

from collections.abc import Sequence

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.domain import Context, FunctionCall, Message, Role
from memgpt_agent.functions.archival_memory_search import ARCHIVAL_MEMORY_SEARCH
from memgpt_agent.functions.registry import BUILT_IN_BY_NAME
from memgpt_agent.functions.send_message import SEND_MESSAGE

_QUOTED = 200
"""Characters of a question that are repeated at the end of a prompt."""

_QUESTION_MARKS = ("?", "？", "؟", "吗", "呢")

_ANSWER = (
    "Answer the user's last message with send_message, in their language. If the answer is about the user or about"
    " something said earlier and you cannot see it above, call conversation_search first, with one or two words."
)
_ANSWER_FROM_DOCUMENTS = (
    "If the user's last message is about an attached document, or about anything you cannot see above, call"
    " archival_memory_search first. Otherwise answer it with send_message, in their language."
)
_REPLY = (
    "If the user's last message states a fact about them that is not yet in core memory, save it with"
    " core_memory_append (name human, request_heartbeat true). Otherwise reply with send_message, in their language."
)
_AFTER_SEARCH = (
    "The question is: “{question}”. If the results above answer it, call send_message: answer in full sentences, only"
    " from these results, with file and page. If not, read the next page or search with other words; do not repeat a"
    " search. If nothing is left to read, say that you did not find it."
)
_OTHER_SEARCH = " Documents are found only by archival_memory_search."
_WAITING = "The user is waiting for your answer to “{question}”. Call send_message."


def next_step(context: Context) -> str:
    """Return what the model should do next; empty if there is nothing to add to the conversation."""
    messages = context.messages
    last = messages[-1] if messages else None
    if last is not None and last.role is Role.USER and envelopes.kind(last.text) == "user_message":
        if not asks(str(envelopes.parse(last.text).get("message", ""))):
            return _REPLY
        return _ANSWER_FROM_DOCUMENTS if context.agent.attachments else _ANSWER
    question, call = open_question([Message(Role.USER, prompt.summary_text(context)), *messages])
    if not question or call is None:
        return ""
    question = question if len(question) <= _QUOTED else f"{question[:_QUOTED]}…"
    function = BUILT_IN_BY_NAME.get(call.name)
    if function is None or not function.searches:
        return _WAITING.format(question=question)
    elsewhere = "" if function is ARCHIVAL_MEMORY_SEARCH else _OTHER_SEARCH
    return _AFTER_SEARCH.format(question=question) + elsewhere


def asks(text: str) -> bool:
    """Whether a message looks like a question."""
    return any(mark in text for mark in _QUESTION_MARKS)


def open_question(messages: Sequence[Message]) -> tuple[str, FunctionCall | None]:
    """Return the user's last message and the agent's last call since; an empty text if the agent has answered."""
    call: FunctionCall | None = None
    for message in reversed(messages):
        if message.function_call is not None:
            if message.function_call.name == SEND_MESSAGE.name:
                return "", None
            call = call or message.function_call
        elif message.role is Role.USER:
            envelope = envelopes.parse(message.text)
            text = str(envelope.get("message", ""))
            if envelope.get("type") == "user_message":
                return text, call
            if question := text.partition(prompt.STILL_OPEN)[2]:
                return question, call
    return "", None
