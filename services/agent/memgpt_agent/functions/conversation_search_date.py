"""``conversation_search_date``: lists the messages of a range of days."""

from __future__ import annotations

from datetime import date

from memgpt_agent import envelopes
from memgpt_agent.domain import Context
from memgpt_agent.functions.days import days_of
from memgpt_agent.functions.function import Call, Function, FunctionError, FunctionOutput, MemorySearch, Parameter
from memgpt_agent.functions.searching import PAGE, PAGE_SIZE, message_page, skip_of


async def _run(call: Call, context: Context, memory: MemorySearch) -> FunctionOutput:
    today = context.now.astimezone(envelopes.zone(context.agent.time_zone)).date()
    first, last = _days(call, "start_date", today)
    if call.text("end_date").strip():
        last = _days(call, "end_date", today)[1]
    if first > last:
        raise FunctionError(f"start_date {first} is after end_date {last}. Swap them.")
    page = await memory.list_recall(
        context.agent.agent_id,
        start_date=first.isoformat(),
        end_date=last.isoformat(),
        page_size=PAGE_SIZE,
        skip=skip_of(call),
    )
    return message_page(call, page, context.agent.time_zone)


def _days(call: Call, name: str, today: date) -> tuple[date, date]:
    days = days_of(call.text(name), today)
    if days is None:
        raise FunctionError(
            f'"{name}" of conversation_search_date must be a day written as YYYY-MM-DD, such as 2024-01-31, or words'
            f' such as yesterday or last week, not "{call.text(name)[:100]}".'
        )
    return days


CONVERSATION_SEARCH_DATE = Function(
    "conversation_search_date",
    "Lists the messages of your conversation between two days, both included, such as those of last week.",
    (
        Parameter("start_date", "string", "The first day: YYYY-MM-DD, or words such as yesterday or last week."),
        Parameter("end_date", "string", "The last day, likewise; empty for that of start_date.", "", may_be_empty=True),
        PAGE,
    ),
    _run,
    heartbeat_default=True,
    searches=True,
)
