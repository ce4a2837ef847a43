"""``archival_memory_search``: searches the agent's notes and attached documents."""

from __future__ import annotations

from memgpt_agent import envelopes
from memgpt_agent.domain import Context, PassageHit
from memgpt_agent.functions.function import Call, Function, FunctionOutput, MemorySearch, Parameter
from memgpt_agent.functions.searching import PAGE, PAGE_SIZE, paging_line, query_of, skip_of


async def _run(call: Call, context: Context, memory: MemorySearch) -> FunctionOutput:
    page = await memory.search_archival(context.agent.agent_id, query_of(call), page_size=PAGE_SIZE, skip=skip_of(call))
    hits = [shown_passage(hit, context.agent.time_zone) for hit in page.hits]
    return FunctionOutput(paging_line(hits, page.total, call.number("page")))


def shown_passage(hit: PassageHit, time_zone: str) -> dict[str, object]:
    """Return a passage as a search shows it, with its file and page if it comes from a document."""
    shown: dict[str, object] = {"timestamp": envelopes.format_time(hit.created_at, time_zone), "content": hit.text}
    if hit.citation is not None:
        shown["file"] = hit.citation.file_name
        if hit.citation.page:
            shown["page"] = hit.citation.page
    return shown


ARCHIVAL_MEMORY_SEARCH = Function(
    "archival_memory_search",
    "Searches archival memory by meaning: your notes and the documents attached to you. Each result shows when it was"
    " stored and, for a document, its file and page. If a page does not hold the answer, ask for the next page.",
    (Parameter("query", "string", "What to look for, in words likely to appear near it."), PAGE),
    _run,
    "For a question about a document, call archival_memory_search first; answer only from the results, and name the"
    " file and page.",
    heartbeat_default=True,
    searches=True,
)
