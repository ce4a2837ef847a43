"""Guidance for small models, in the mode ``json_schema``: what to do next, and which functions are withheld.

The ``next_step`` of the note says, before an answer, where the answer may be, since they would invent one. Next to
search results it repeats the question, since they would search indefinitely. After any other call it says that the user
is waiting.

Words are not enough: these models repeat a call whatever they are told, and search for what was never stored. So the
schema of their answer leaves out the functions that can be of no use now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.domain import Context, FunctionCall, Message, Role
from memgpt_agent.functions.archival_memory_search import ARCHIVAL_MEMORY_SEARCH
from memgpt_agent.functions.conversation_search import CONVERSATION_SEARCH
from memgpt_agent.functions.conversation_search_date import CONVERSATION_SEARCH_DATE
from memgpt_agent.functions.pause_heartbeats import PAUSE_HEARTBEATS
from memgpt_agent.functions.registry import BUILT_IN_BY_NAME
from memgpt_agent.functions.send_message import SEND_MESSAGE
from memgpt_agent.heartbeat_plan import NO_PLAN

_QUOTED = 200
"""Characters of a question that are repeated at the end of a prompt."""

_MOST_WRITES = 3
"""Most calls of one function that writes, in one turn: one message seldom holds more facts."""

_MOST_RECALLS = 3
"""Most searches of the conversation in one turn."""

_QUESTION_MARKS = ("?", "？", "؟", "吗", "呢")

_ANSWER = (
    "Answer “{question}” with send_message, in the user's language. Facts about the user are in the human block and in"
    " the conversation above. If they ask for one that is not there, say that you do not know it."
)
_ANSWER_OR_SEARCH = (
    "Answer “{question}” with send_message, in the user's language. If it asks for something about the user or said"
    " earlier that is neither in the human block nor above, call conversation_search first, with a few words."
)
_ANSWER_FROM_DOCUMENTS = (
    "The question is “{question}”. If it is about an attached document or its subject, call archival_memory_search"
    " first. If it is about the user, answer with send_message from the human block and the conversation above, or say"
    " that you do not know it."
)
_REPLY = (
    "The user wrote “{question}”. If that tells you a new fact about them, save it with core_memory_append (name human,"
    " request_heartbeat true). Otherwise do what they ask: answer with send_message, in their language."
)
_AFTER_SEARCH = (
    "The question is: “{question}”. If the results above answer it, call send_message: answer in full sentences, only"
    " from these results, with file and page. If not, read the next page or search with other words; do not repeat a"
    " search. If nothing is left to read, say that you did not find it."
)
_OTHER_SEARCH = " Documents are found only by archival_memory_search."
_WAITING = "That is done. Now reply to the user's message “{question}” with send_message, in their language."


def next_step(context: Context) -> str:
    """Return what the model should do next; empty if there is nothing to add to the conversation."""
    messages = context.messages
    last = messages[-1] if messages else None
    if last is not None and last.role is Role.USER and envelopes.kind(last.text) == "user_message":
        text = str(envelopes.parse(last.text).get("message", ""))
        return _first_step(context, text).format(question=_quoted(text))
    question, call = open_question([Message(Role.USER, prompt.summary_text(context)), *messages])
    if not question or call is None:
        return ""
    question = _quoted(question)
    function = BUILT_IN_BY_NAME.get(call.name)
    if function is None or not function.searches:
        return _WAITING.format(question=question)
    elsewhere = "" if function is ARCHIVAL_MEMORY_SEARCH or not context.agent.attachments else _OTHER_SEARCH
    return _AFTER_SEARCH.format(question=question) + elsewhere


def _first_step(context: Context, text: str) -> str:
    if not asks(text):
        return _REPLY
    if context.agent.attachments:
        return _ANSWER_FROM_DOCUMENTS
    return _ANSWER_OR_SEARCH if context.summary else _ANSWER


def _quoted(text: str) -> str:
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"


def withheld(context: Context) -> frozenset[str]:
    """Return the names of the functions that can be of no use now, or that the model has called enough in this turn."""
    names: set[str] = set()
    if not context.summary:  # the whole conversation is in sight
        names |= {CONVERSATION_SEARCH.name, CONVERSATION_SEARCH_DATE.name}
    if not context.archival_count:
        names.add(ARCHIVAL_MEMORY_SEARCH.name)
    if context.plan == NO_PLAN:
        names.add(PAUSE_HEARTBEATS.name)
    calls = list(_calls_of_turn(context.messages))
    made = Counter((call.name, envelopes.dumps(envelopes.parse(call.arguments))) for call in calls)
    names |= {name for (name, _), count in made.items() if count > 1 and name in BUILT_IN_BY_NAME}
    recalls = sum(call.name in (CONVERSATION_SEARCH.name, CONVERSATION_SEARCH_DATE.name) for call in calls)
    if recalls >= _MOST_RECALLS:
        names |= {CONVERSATION_SEARCH.name, CONVERSATION_SEARCH_DATE.name}
    for name, count in Counter(call.name for call in calls).items():
        function = BUILT_IN_BY_NAME.get(name)
        if function is not None and function.writes and count >= _MOST_WRITES:
            names.add(name)
    return frozenset(names - {SEND_MESSAGE.name})


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


def _calls_of_turn(messages: Sequence[Message]) -> Iterator[FunctionCall]:
    """Yield the agent's calls since the last event that is not a heartbeat, the latest first."""
    for message in reversed(messages):
        if message.function_call is not None:
            yield message.function_call
        elif message.role is Role.USER and envelopes.kind(message.text) != "heartbeat":
            return
