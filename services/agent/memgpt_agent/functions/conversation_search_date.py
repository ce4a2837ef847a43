"""``conversation_search_date``: lists the messages of a range of days."""

from __future__ import annotations

from memgpt_agent.domain import Context
from memgpt_agent.functions.function import Call, Function, FunctionError, FunctionOutput, MemorySearch, Parameter
from memgpt_agent.functions.searching import PAGE, search_messages


async def _run(call: Call, context: Context, memory: MemorySearch) -> FunctionOutput:
    start, end = call.text("start_date"), call.text("end_date")
    if start > end:
        raise FunctionError(f"start_date {start} is after end_date {end}. Swap them.")
    return await search_messages(call, context, memory, start_date=start, end_date=end)


CONVERSATION_SEARCH_DATE = Function(
    "conversation_search_date",
    "Lists the messages of your conversation between two days, both included.",
    (
        Parameter("start_date", "string", "The first day, as YYYY-MM-DD.", is_date=True),
        Parameter("end_date", "string", "The last day, as YYYY-MM-DD.", is_date=True),
        PAGE,
    ),
    _run,
    heartbeat_default=True,
    searches=True,
)
