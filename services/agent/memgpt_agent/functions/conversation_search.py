"""``conversation_search``: searches what was said by words and by similarity."""

from __future__ import annotations

from dataclasses import replace

from memgpt_agent import envelopes
from memgpt_agent.domain import Context, MessagePage, Role
from memgpt_agent.functions.function import Call, Function, FunctionOutput, MemorySearch, Parameter
from memgpt_agent.functions.searching import PAGE, PAGE_SIZE, message_page, query_of, shown_message, skip_of

_CLOSE_ONLY = "\nNo message here has one of these words; they are only similar. What is asked may never have been said."


async def _run(call: Call, context: Context, memory: MemorySearch) -> FunctionOutput:
    query = query_of(call)
    page = await memory.search_recall(
        context.agent.agent_id, query, before=_turn_start(context), page_size=PAGE_SIZE, skip=skip_of(call)
    )
    said = _said(page)
    output = message_page(call, said, context.agent.time_zone)
    return output if _has_a_word(said, query) or not said.hits else replace(output, text=output.text + _CLOSE_ONLY)


def _turn_start(context: Context) -> int | None:
    """Return the sequence of the message to answer: neither it nor what follows it holds the answer."""
    for message in reversed(context.messages):
        if message.role is Role.USER and envelopes.kind(message.text) == "user_message":
            return message.sequence if message.sequence >= 0 else None
    return None


def _said(page: MessagePage) -> MessagePage:
    """Return the page without thoughts and other calls, which small models take for what was said."""
    return replace(page, hits=tuple(hit for hit in page.hits if "message" in shown_message(hit.message, "")))


def _has_a_word(page: MessagePage, query: str) -> bool:
    texts = [str(shown_message(hit.message, "")["message"]).casefold() for hit in page.hits]
    return any(word in text for word in query.casefold().split() for text in texts)


CONVERSATION_SEARCH = Function(
    "conversation_search",
    "Searches everything you and the user said to each other, including messages that left your context, by words and"
    " by meaning. Each result shows when it was said, by whom, and what was said before and after it. Documents are not"
    " there; archival_memory_search finds them.",
    (Parameter("query", "string", "What to look for, in a few words."), PAGE),
    _run,
    "When the user refers to something said earlier and you cannot see it above, look it up with conversation_search.",
    heartbeat_default=True,
    searches=True,
)
