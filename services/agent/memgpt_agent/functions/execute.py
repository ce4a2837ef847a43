"""What the functions do.

Searches read Memory at once. Changes are only described, as effects: they are committed with the step that made them,
so that a step that runs again does nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from memgpt_agent import envelopes
from memgpt_agent.domain import (
    NO_EFFECTS,
    Block,
    BlockEdit,
    Context,
    Effects,
    Message,
    MessagePage,
    PassageHit,
    PassagePage,
    Role,
)
from memgpt_agent.functions import declarations as names
from memgpt_agent.functions.arguments import Call, FunctionError

SENT = "The message was sent to the user."
"""Result of a ``send_message``."""

MAX_RESULT_CHARACTERS = 3000
"""Longer results of functions other than searches are cut."""

MAX_QUERY_CHARACTERS = 8192
"""The longest query that Memory takes."""

_MAX_SKIP = 2**31 - 1


class Searcher(Protocol):
    """What the functions read from Memory. ``skip`` counts the results before the page."""

    async def search_archival(self, agent_id: str, query: str, *, page_size: int, skip: int) -> PassagePage:
        """A page of the ranking of the agent's notes and attached documents."""
        ...

    async def search_recall(
        self, agent_id: str, *, query: str = "", start_date: str = "", end_date: str = "", page_size: int, skip: int
    ) -> MessagePage:
        """A page of the messages with these words, or of these days, the latest first."""
        ...


@dataclass(frozen=True, slots=True)
class FunctionOutput:
    """A function's result for the model, and what is to be committed with it."""

    text: str
    effects: Effects = NO_EFFECTS


async def execute(call: Call, context: Context, memory: Searcher) -> FunctionOutput:
    """Runs a checked call.

    Raises:
        FunctionError: It cannot be done, and nothing has changed. The text is for the model.
    """
    match call.function.name:
        case names.SEND_MESSAGE.name:
            return FunctionOutput(SENT)
        case names.PAUSE_HEARTBEATS.name:
            return FunctionOutput(f"Timed heartbeats are paused for {call.number('minutes')} minutes.")
        case names.CORE_MEMORY_APPEND.name:
            block = _block(context, call.text("name"))
            value = f"{block.value}\n{call.text('content')}" if block.value else call.text("content")
            return _edit(block, value)
        case names.CORE_MEMORY_REPLACE.name:
            return _replace(_block(context, call.text("name")), call.text("old_content"), call.text("new_content"))
        case names.ARCHIVAL_MEMORY_INSERT.name:
            return FunctionOutput("The note is stored in archival memory.", Effects(notes=(call.text("content"),)))
        case names.ARCHIVAL_MEMORY_SEARCH.name:
            return await _search_archival(call, context, memory)
        case names.CONVERSATION_SEARCH.name:
            query = _query(call)
            return await _search_recall(call, context, memory, query=query)
        case names.CONVERSATION_SEARCH_DATE.name:
            start, end = call.text("start_date"), call.text("end_date")
            if start > end:
                raise FunctionError(f"start_date {start} lies after end_date {end}. Exchange them.")
            return await _search_recall(call, context, memory, start_date=start, end_date=end)
        case name:  # A declaration without an implementation is a mistake of ours, not of the model.
            raise NotImplementedError(name)


def cut(call: Call | None, text: str) -> str:
    """``text`` as the model gets it: cut at 3,000 characters unless it comes from a search."""
    if len(text) <= MAX_RESULT_CHARACTERS or (call is not None and call.function.searches):
        return text
    return f"{text[:MAX_RESULT_CHARACTERS]}… [cut after {MAX_RESULT_CHARACTERS:,} of {len(text):,} characters]"


def _block(context: Context, label: str) -> Block:
    """The block to be edited."""
    for block in context.blocks:
        if block.label == label:
            if block.read_only:
                raise FunctionError(f"Nothing was changed: the block {label!r} is read-only.")
            return block
    labels = ", ".join(block.label for block in context.blocks) or "none"
    raise FunctionError(f"Core memory has no block {label!r}. Its blocks: {labels}.")


def _edit(block: Block, value: str) -> FunctionOutput:
    if len(value) > block.limit:
        raise FunctionError(
            f"Nothing was changed: the block {block.label!r} would have {len(value):,} characters, its limit is"
            f" {block.limit:,}. Shorten the text, make room with core_memory_replace, or use archival_memory_insert."
        )
    effects = Effects(blocks=(BlockEdit(block.label, value, block.etag),))
    return FunctionOutput(f"The block {block.label!r} has {len(value):,} of {block.limit:,} characters now.", effects)


def _replace(block: Block, old: str, new: str) -> FunctionOutput:
    if old not in block.value:
        raise FunctionError(
            f"Nothing was changed: the block {block.label!r} does not contain {old[:200]!r}. Copy the text exactly as"
            " it stands in the block."
        )
    return _edit(block, block.value.replace(old, new))


def _query(call: Call) -> str:
    query = call.text("query")
    if len(query) > MAX_QUERY_CHARACTERS:
        raise FunctionError(f"The query has {len(query):,} characters; at most {MAX_QUERY_CHARACTERS:,} can be.")
    return query


def _skip(call: Call) -> int:
    return min(call.number("page") * names.PAGE_SIZE, _MAX_SKIP)


async def _search_archival(call: Call, context: Context, memory: Searcher) -> FunctionOutput:
    page = await memory.search_archival(
        context.agent.agent_id, _query(call), page_size=names.PAGE_SIZE, skip=_skip(call)
    )
    hits = [_passage(hit, context.agent.time_zone) for hit in page.hits]
    return FunctionOutput(paging_line(hits, page.total, call.number("page")))


async def _search_recall(
    call: Call, context: Context, memory: Searcher, *, query: str = "", start_date: str = "", end_date: str = ""
) -> FunctionOutput:
    page = await memory.search_recall(
        context.agent.agent_id,
        query=query,
        start_date=start_date,
        end_date=end_date,
        page_size=names.PAGE_SIZE,
        skip=_skip(call),
    )
    hits = [_message(message, context.agent.time_zone) for message in page.messages]
    return FunctionOutput(paging_line(hits, page.total, call.number("page")))


def paging_line(hits: Sequence[object], total: int, page: int) -> str:
    """A page of results: ``Showing 5 of 12 results (page 0/2): [...]``, with the true total and the last page."""
    if total == 0:
        return "No results found."
    last = (total - 1) // names.PAGE_SIZE
    line = f"Showing {len(hits)} of {total} results (page {page}/{last}): {envelopes.dumps(hits)}"
    return line if page <= last else f"{line} There is no page after {last}."


def _passage(hit: PassageHit, time_zone: str) -> dict[str, object]:
    result: dict[str, object] = {"timestamp": envelopes.format_time(hit.created_at, time_zone), "content": hit.text}
    if hit.citation is not None:
        result["file"] = hit.citation.file_name
        if hit.citation.page:
            result["page"] = hit.citation.page
    return result


def _message(message: Message, time_zone: str) -> dict[str, object]:
    result: dict[str, object] = {
        "timestamp": envelopes.format_time(message.created_at, time_zone),
        "role": message.role.value,
    }
    if message.role is Role.ASSISTANT:
        if message.text:
            result["thought"] = message.text
        if message.function_call is not None:
            arguments = envelopes.parse(message.function_call.arguments)
            if message.function_call.name == names.SEND_MESSAGE.name:
                result["message"] = str(arguments.get("message", ""))
            else:
                result["function"] = message.function_call.name
    else:
        envelope = envelopes.parse(message.text)
        result["message"] = str(envelope.get("message", envelope.get("reason", message.text)))
    return result
