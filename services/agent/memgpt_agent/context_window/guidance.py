"""Guidance for small models, in the mode ``json_schema``: what to do next, and which functions are withheld.

The ``next_step`` of the note says, before an answer, where the answer may be, since they would invent one. Next to
search results it repeats the question, since they would search indefinitely. After any other call it says that the user
is waiting.

Words are not enough: these models repeat a call whatever they are told, and search for what was never stored. So the
schema of their answer leaves out the functions that can be of no use now.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.domain import Context, FunctionCall, Message, Role
from memgpt_agent.functions.archival_memory_insert import ARCHIVAL_MEMORY_INSERT
from memgpt_agent.functions.archival_memory_search import ARCHIVAL_MEMORY_SEARCH
from memgpt_agent.functions.conversation_search import CONVERSATION_SEARCH
from memgpt_agent.functions.conversation_search_date import CONVERSATION_SEARCH_DATE
from memgpt_agent.functions.core_memory_append import CORE_MEMORY_APPEND
from memgpt_agent.functions.core_memory_replace import CORE_MEMORY_REPLACE
from memgpt_agent.functions.function import ABOUT_USER, HUMAN
from memgpt_agent.functions.pause_heartbeats import PAUSE_HEARTBEATS
from memgpt_agent.functions.registry import BUILT_IN_BY_NAME
from memgpt_agent.functions.send_message import SEND_MESSAGE
from memgpt_agent.heartbeat_plan import NO_PLAN

_QUOTED = 200
"""Characters of a question that are repeated at the end of a prompt."""

_REQUEST = re.compile(
    r"(?:please,? |now |and |then )*(?:tell|give|say|name(?!['’]| is\b)|list|explain|describe|recommend|suggest|write"
    r"|show|translate|summarize|summarise)\b|(?:请|那|再)*(?:给我|告诉我|帮我|说|推荐|列出|解释|介绍|讲|写|翻译|总结)",
    re.IGNORECASE,
)
"""How a message begins that asks for something without a question mark, and tells nothing about the user."""

_STATES = re.compile(
    r"\b(?:i|we|our)(?: |['’])|\bmy\b|\bname is\b|\b(?:from now on|always|never)\b"
    r"|(?<![给诉帮])我|[他她它]叫|以后|今后|从现在",
    re.IGNORECASE,
)
"""What may tell a fact beside a request: the user as the subject, what is theirs, a name, or a wish that stays."""

_CLAUSE = re.compile(r"[^.!?;,:\n。！？；，：…]+[.!?;,:\n。！？；，：…]?")
_ASKS = re.compile(
    r"[?？؟]\s*\Z|^(?:so |and |but |or |then )*(?:what|who|whom|whose|when|where|which|why|how|do|does|did|is|are"
    r"|was|were|can|could|would|should|shall|have|has|tell me|remind me)\b"
    r"|吗|呢|什么|[哪谁]|几[岁点个号]|多少|怎么|为何",
    re.IGNORECASE,
)
"""A clause that asks."""

_KEEP = re.compile(
    r"\b(?:can|could|will|would) you (?:please |kindly )?"
    r"(?:remember|save|store|note|keep|memori[sz]e|write down|call me)\b"
    r"|\b(?:and|to|please) (?:remember|note) that\b|记住|记下|记一下|保存",
    re.IGNORECASE,
)
"""A clause that wants something to be kept, which may look like a question."""

_CORRECTS = re.compile(
    r"\b(?:forget|delete|remove|erase|correct|change|update|wrong|moved|no longer|any ?more|not)\b|n['’]t\b"
    r"|忘|删|改|更正|不再|错",
    re.IGNORECASE,
)
"""What may mean that core memory holds something that is not true, or not wanted, any more."""

_TO_NOTE = re.compile(
    r"\b(?:(?:remember|sav|stor|archiv|memori[sz])\w*|notes?|noted|keep|write down)\b|记|存|归档|档案", re.IGNORECASE
)
_LONG = 300
"""Characters of a message from which on it may hold more than core memory should."""

_MOST_WRITES = 3
"""Maximum number of calls of one function that writes, in one turn: one message seldom holds more facts."""

_MOST_RECALLS = 3
"""Maximum number of searches of the conversation in one turn."""

_HAN = re.compile(r"[\u3400-\u9fff]")
_QUESTION_MARKS = ("?", "？", "؟", "吗", "呢")

_USER = re.compile(r"\b(?:i|i['’]m|my|me|mine|myself|we|our)\b|我", re.IGNORECASE)
_DOCUMENT = re.compile(
    r"\b(?:papers?|documents?|files?|articles?|books?|texts?|pages?|authors?|pdf)\b|论文|文档|文章|文件|资料|作者|书",
    re.IGNORECASE,
)

_ANSWER = (
    "Answer the question above with send_message, {language}. The user wrote it, so “I” in it is the user: say “you”"
    " to them. What they told you is in the human block and in the conversation above. Only if they ask for a"
    " fact about themselves that is written nowhere above, say that they have not told you."
)
_ANSWER_OR_SEARCH = (
    "If the question above is about something that the user did or said earlier, and it is neither in the human block"
    " nor above, call conversation_search first, with a few words. Otherwise answer with send_message, {language};"
    " “I” in it is the user, so say “you” to them."
)
_SEARCH_DOCUMENTS = (
    "The user asks you: “{question}”. Look it up in the attached documents: call archival_memory_search with the"
    " important words of the question."
)
_REPLY = (
    "Reply to the message above with send_message, {language} and in your own words. Speak to them, not about them."
)
_DO = "Do what the message above asks, now, with send_message, {language}, from your general knowledge."
_LEARN = (
    f' Before the call, write in "{ABOUT_USER}" the new fact that the message above tells about the user, as a short'
    ' sentence {language} that begins with "{subject}". If it tells none, write "".'
    " That sentence is for you alone; your message to the user is another one, which replies to what they said."
)
_CORRECT = (
    " If the message means that a line of the human block is wrong or should go, call core_memory_replace first, with"
    " request_heartbeat true."
)
_AFTER_SEARCH = (
    "The question is: “{question}”. If the results above answer it, call send_message: answer in full sentences, only"
    " from these results, with file and page. If not, read the next page or search with other words; do not repeat a"
    " search. If nothing is left to read, say that you did not find it."
)
_OTHER_SEARCH = " Documents are found only by archival_memory_search."
_WAITING = (
    "That is done. The user still waits for your reply to: “{question}”. Reply with send_message, in their language, in"
    " your own words, and address them as you."
)


def next_step(context: Context) -> str:
    """Return what the model should do next; empty if there is nothing to add to the conversation."""
    if text := _last_user_text(context):
        step = _first_step(context, text)
        if _CORRECTS.search(text) and not asks(text):
            step += _CORRECT
        if learns(context):
            step += _LEARN
        # Named, since instructions in English make small models answer in English.
        language, subject = ("in Chinese", "用户") if _HAN.search(text) else ("in the user's language", "The user")
        return step.format(question=_quoted(text), language=language, subject=subject)
    question, call = open_question([Message(Role.USER, prompt.summary_text(context)), *context.messages])
    if not question or call is None:
        return ""
    question = _quoted(question)
    function = BUILT_IN_BY_NAME.get(call.name)
    if function is None or not function.searches:
        return _WAITING.format(question=question)
    elsewhere = "" if function is ARCHIVAL_MEMORY_SEARCH or not context.agent.attachments else _OTHER_SEARCH
    return _AFTER_SEARCH.format(question=question) + elsewhere


def _first_step(context: Context, text: str) -> str:
    if _asks_documents(context, text):
        return _SEARCH_DOCUMENTS
    if not asks(text):
        return _DO if _requests(text) else _REPLY
    return _ANSWER_OR_SEARCH if context.summary else _ANSWER


def _asks_documents(context: Context, text: str) -> bool:
    """Whether a message may be a question that an attached document answers: not one about the user alone."""
    if not (context.agent.attachments and context.archival_count):
        return False
    if _DOCUMENT.search(text):
        return asks(text) or _requests(text)
    return asks(text) and not _USER.search(text)


def _requests(text: str) -> bool:
    """Whether a message only asks for something."""
    return _REQUEST.match(text.strip()) is not None and not _TO_NOTE.search(text)


def learns(context: Context) -> bool:
    """Whether the last event is a message that may tell facts about the user, and there is a block to save them in."""
    human = next((block for block in context.blocks if block.label == HUMAN), None)
    return human is not None and not human.read_only and _tells(_last_user_text(context))


def _tells(text: str) -> bool:
    """Whether a message may tell a fact: in a clause that neither asks nor requests, or beside a request."""
    clauses = [clause.strip() for clause in _CLAUSE.findall(text)]
    return any(
        _KEEP.search(clause) or (not _ASKS.search(clause) and (not _requests(clause) or _STATES.search(clause)))
        for clause in clauses
    )


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
    told = "" if _alerted(context) else open_question(context.messages)[0]
    if told and len(told) < _LONG and not _TO_NOTE.search(told):
        # Asked for a fact, they note what they believe to know instead of telling it.
        names.add(ARCHIVAL_MEMORY_INSERT.name)
    if told and (learns(context) or not _tells(told)):
        names.add(CORE_MEMORY_APPEND.name)
        if not _CORRECTS.search(told):
            names.add(CORE_MEMORY_REPLACE.name)
    calls = list(_calls_of_turn(context.messages))
    if not calls and _asks_documents(context, _last_user_text(context)):
        # They would answer from what they believe to know. Everything but a search has to wait.
        return frozenset(BUILT_IN_BY_NAME) - ({ARCHIVAL_MEMORY_SEARCH.name, CONVERSATION_SEARCH.name} - names)
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


def _last_user_text(context: Context) -> str:
    """Return the user's message if it is the last event; empty otherwise."""
    last = context.messages[-1] if context.messages else None
    if last is None or last.role is not Role.USER or envelopes.kind(last.text) != "user_message":
        return ""
    return str(envelopes.parse(last.text).get("message", ""))


def _alerted(context: Context) -> bool:
    """Whether the last event is an alert, after which the agent should save what matters."""
    events = (message for message in reversed(context.messages) if message.role is Role.USER)
    last = next(events, None)
    return last is not None and envelopes.kind(last.text) == "system_alert"


def _calls_of_turn(messages: Sequence[Message]) -> Iterator[FunctionCall]:
    """Yield the agent's calls of this turn, the latest first: those after the last event that is not a heartbeat."""
    for message in reversed(messages):
        if message.function_call is not None:
            yield message.function_call
        elif message.role is Role.USER and envelopes.heartbeat_reason(message.text) not in prompt.CHAINED:
            return
