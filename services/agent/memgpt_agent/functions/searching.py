"""The common part of the search functions: pages of five results, and how they are shown to the model."""

from __future__ import annotations

from collections.abc import Sequence

from memgpt_agent import envelopes
from memgpt_agent.domain import Message, MessageHit, MessagePage, Role
from memgpt_agent.functions.function import Call, FunctionError, FunctionOutput, Parameter

PAGE_SIZE = 5
"""Results on a page; pages count from 0."""

PAGE = Parameter(
    "page", "integer", "Page of the results, from 0. The result says which page is the last.", default=0, minimum=0
)

MAX_QUERY_CHARACTERS = 8192
"""The longest query that Memory accepts."""

_MAX_SKIP = 2**31 - 1

_NEIGHBOR_CHARACTERS = 160
"""Maximum number of characters of what was said before and after a found message."""


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


def message_page(call: Call, page: MessagePage, time_zone: str) -> FunctionOutput:
    """Return a page of messages as a search shows it."""
    return FunctionOutput(
        paging_line([shown_hit(hit, time_zone) for hit in page.hits], page.total, call.number("page"))
    )


def shown_hit(hit: MessageHit, time_zone: str) -> dict[str, object]:
    """Return a found message with its date and its speaker, and what was said just before and after it."""
    shown = shown_message(hit.message, time_zone)
    for key, neighbor in (("before", hit.before), ("after", hit.after)):
        if neighbor is not None:
            beside = shown_message(neighbor, time_zone)
            shown[key] = f"{beside['role']}: {_cut(str(beside.get('message', '')))}"
    return shown


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
    call = message.function_call
    spoken = (
        envelopes.parse(call.arguments).get("message") if call is not None and call.name == "send_message" else None
    )
    if spoken is not None:
        shown["message"] = str(spoken)
        return shown
    if message.text:
        shown["thought"] = message.text
    if call is not None:
        shown["function"] = call.name
    return shown


def _cut(text: str) -> str:
    return text if len(text) <= _NEIGHBOR_CHARACTERS else f"{text[:_NEIGHBOR_CHARACTERS]}…"
