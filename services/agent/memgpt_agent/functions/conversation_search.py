"""``conversation_search``: searches recall memory by words."""

from __future__ import annotations

from memgpt_agent.domain import Context
from memgpt_agent.functions.function import Call, Function, FunctionOutput, MemorySearch, Parameter
from memgpt_agent.functions.searching import PAGE, query_of, search_messages


async def _run(call: Call, context: Context, memory: MemorySearch) -> FunctionOutput:
    return await search_messages(call, context, memory, query=query_of(call))


CONVERSATION_SEARCH = Function(
    "conversation_search",
    "Searches everything you and the user said to each other, including messages that left your context, for messages"
    " with these words. Documents are not there; archival_memory_search finds them.",
    (Parameter("query", "string", "One or two words to look for."), PAGE),
    _run,
    "When the user refers to something said earlier and you cannot see it above, look it up with conversation_search.",
    heartbeat_default=True,
    searches=True,
)
