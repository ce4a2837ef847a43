"""A reminder at the end of the prompt for small models, in the mode ``json_schema``."""

from __future__ import annotations

from collections.abc import Sequence

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.domain import FunctionCall, Message, Role
from memgpt_agent.functions.archival_memory_search import ARCHIVAL_MEMORY_SEARCH
from memgpt_agent.functions.registry import BUILT_IN_BY_NAME
from memgpt_agent.functions.send_message import SEND_MESSAGE

_REPEATED = 200
"""Characters of a question that are said once more at the end of a prompt."""

_BEFORE_DOCUMENTS = (
    "Is this about a document, or anything that does not stand above? Then call archival_memory_search now, before you"
    " answer: what you believe to know of it may be wrong."
)
# The smallest models call whatever function is named last.
_BEFORE_ANSWER = (
    "Now answer the user's last message with send_message. If it is about the user or about what was said before, and"
    " you do not see that above, call conversation_search first, with the one or two words that matter."
)
_BEFORE_REPLY = (
    "If the user told you something about themselves just now that you must remember, call core_memory_append first,"
    " with the name human and request_heartbeat true. Otherwise reply to their last message with send_message."
)


def reminder(messages: Sequence[Message], *, documents: bool) -> str:
    """What small models lose sight of, said once more at the end of the prompt.

    Before a question is answered: where the answer lies, or they invent one. Beside the results of a search: the
    question, or they search for ever. After anything else: that somebody waits.
    """
    last = messages[-1]
    if last.role is Role.USER and envelopes.kind(last.text) == "user_message":
        asks = "?" in str(envelopes.parse(last.text).get("message", ""))
        return envelopes.SYSTEM_NOTE + (_BEFORE_DOCUMENTS if documents else _BEFORE_ANSWER if asks else _BEFORE_REPLY)
    question, call = _open_question(messages)
    if not question or call is None:
        return ""
    question = question if len(question) <= _REPEATED else f"{question[:_REPEATED]}…"
    function = BUILT_IN_BY_NAME.get(call.name)
    if function is None or not function.searches:
        return f"{envelopes.SYSTEM_NOTE}The user still waits for your answer to: “{question}”. Call send_message."
    elsewhere = "" if function is ARCHIVAL_MEMORY_SEARCH else " Documents are found by archival_memory_search only."
    return (
        f"{envelopes.SYSTEM_NOTE}The question to answer: “{question}”. If the results above hold the answer,"
        " call send_message now: some full sentences from these results alone, with file and page,"
        " nothing made up."
        " If not, ask for the next page or search in other words; do not repeat a search. If nothing is left to"
        " read, say that you did not find it."
        f"{elsewhere}"
    )


def _open_question(messages: Sequence[Message]) -> tuple[str, FunctionCall | None]:
    """The user's last message, and the agent's last call since; an empty text once the agent has spoken."""
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
            if open_question := text.partition(prompt.STILL_OPEN)[2]:
                return open_question, call
    return "", None
