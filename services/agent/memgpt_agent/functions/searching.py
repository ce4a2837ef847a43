"""The common part of the search functions: pages of five results, and how they are shown to the model."""

from __future__ import annotations

from collections.abc import Sequence

from memgpt_agent import envelopes
from memgpt_agent.domain import Context, Message, MessagePage, Role
from memgpt_agent.functions.function import Call, FunctionError, FunctionOutput, MemorySearch, Parameter

PAGE_SIZE = 5
"""Results on a page; pages count from 0."""

PAGE = Parameter(
    "page", "integer", "Page of the results, from 0. The result says which page is the last.", default=0, minimum=0
)

MAX_QUERY_CHARACTERS = 8192
"""The longest query that Memory accepts."""

_MAX_SKIP = 2**31 - 1


def query_of(call: Call) -> str:
    """Return the query of a search.

    Raises:
        FunctionError: The query is too long.
    """
    query = call.text("query")
    if len(query) > MAX_QUERY_CHARACTERS:
        raise FunctionError(f"The query has {len(query):,} characters; the limit is {MAX_QUERY_CHARACTERS:,}.")
    return query


def skip_of(call: Call) -> int:
    """Return the number of results before the page that a search asks for."""
    return min(call.number("page") * PAGE_SIZE, _MAX_SKIP)


def paging_line(hits: Sequence[object], total: int, page: int) -> str:
    """Format a page of results: ``Showing 5 of 12 results (page 0/2): [...]``, with the true total and last page."""
    if total == 0:
        return "No results found."
    last = (total - 1) // PAGE_SIZE
    line = f"Showing {len(hits)} of {total} results (page {page}/{last}): {envelopes.dumps(hits)}"
    return line if page <= last else f"{line} There is no page after {last}."


async def search_messages(
    call: Call, context: Context, memory: MemorySearch, *, query: str = "", start_date: str = "", end_date: str = ""
) -> FunctionOutput:
    """Search recall memory by words or by days."""
    page = await memory.search_recall(
        context.agent.agent_id,
        query=query,
        start_date=start_date,
        end_date=end_date,
        page_size=PAGE_SIZE,
        skip=skip_of(call),
    )
    return FunctionOutput(_message_page(page, call.number("page"), context.agent.time_zone))


def _message_page(page: MessagePage, number: int, time_zone: str) -> str:
    return paging_line([shown_message(message, time_zone) for message in page.messages], page.total, number)


def shown_message(message: Message, time_zone: str) -> dict[str, object]:
    """Return a message of recall memory as a search shows it."""
    shown: dict[str, object] = {
        "timestamp": envelopes.format_time(message.created_at, time_zone),
        "role": message.role.value,
    }
    if message.role is not Role.ASSISTANT:
        envelope = envelopes.parse(message.text)
        shown["message"] = str(envelope.get("message", envelope.get("reason", message.text)))
        return shown
    if message.text:
        shown["thought"] = message.text
    call = message.function_call
    if call is not None:
        spoken = envelopes.parse(call.arguments).get("message") if call.name == "send_message" else None
        shown |= {"function": call.name} if spoken is None else {"message": str(spoken)}
    return shown
