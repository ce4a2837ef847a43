"""Automatic recall: a search for the user's message before the model is asked, so that one call can answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import structlog
from memgpt_runtime import errors

from memgpt_agent import envelopes
from memgpt_agent.domain import Context, Message, MessagePage, PassagePage, Role
from memgpt_agent.functions import MemorySearch
from memgpt_agent.functions.archival_memory_search import shown_passage
from memgpt_agent.functions.searching import shown_hit

_log = structlog.get_logger(__name__)

_HITS = 3
"""Maximum number of passages, and of messages that have left the window."""

_MAX_QUERY = 1000
_MAX_CHARACTERS = 400
"""Maximum number of characters of each hit; a search shows it whole."""


async def with_recalled(context: Context, memory: MemorySearch) -> Context:
    """Return the context with the best hits for the user's message, if the agent is about to answer one.

    A search that fails is left out: the agent can still search by itself.
    """
    query = _query(context)
    if not query:
        return context
    agent_id, first = context.agent.agent_id, context.messages[0].sequence
    passages, messages = await asyncio.gather(
        memory.search_archival(agent_id, query, page_size=_HITS, skip=0),
        memory.search_recall(agent_id, query, before=first, page_size=_HITS, skip=0),
        return_exceptions=True,
    )
    zone = context.agent.time_zone
    hits: list[dict[str, object]] = []
    if isinstance(passages, PassagePage):
        hits += [shown_passage(hit, zone) for hit in passages.hits]
    if isinstance(messages, MessagePage):
        said = [shown_hit(hit, zone) for hit in messages.hits]
        hits += [hit for hit in said if "message" in hit]
    for failed in (passages, messages):
        if isinstance(failed, errors.ServiceError):
            _log.info("auto_recall_failed", agent_id=agent_id, reason=failed.reason)
        elif isinstance(failed, BaseException):
            raise failed
    return replace(context, recalled=tuple(_cut(hit) for hit in hits))


def _query(context: Context) -> str:
    last: Message | None = context.messages[-1] if context.messages else None
    if last is None or last.role is not Role.USER or envelopes.kind(last.text) != "user_message":
        return ""
    return str(envelopes.parse(last.text).get("message", ""))[:_MAX_QUERY].strip()


def _cut(hit: dict[str, object]) -> dict[str, object]:
    return {
        key: f"{value[:_MAX_CHARACTERS]}…" if isinstance(value, str) and len(value) > _MAX_CHARACTERS else value
        for key, value in hit.items()
    }
