"""`memgpt search`: searches an agent's memory or data sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from memgpt.cli.chat.messages import message_lines
from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.terminal.hits import excerpt, highlighted, query_words
from memgpt.cli.terminal.ui import Ui, plural
from memgpt.client import MemGPT
from memgpt.memory.v1 import archival_memory_service_pb2 as archival_pb
from memgpt.memory.v1 import recall_memory_service_pb2 as recall_pb
from memgpt.memory.v1.passage_pb2 import PassageHit, SearchMode

_RANKINGS = {"dense": "similarity", "semantic": "similarity", "text": "keywords", "hybrid": "similarity and keywords"}
_MODES = {
    "": SearchMode.SEARCH_MODE_UNSPECIFIED,
    "hybrid": SearchMode.SEARCH_MODE_HYBRID,
    "dense": SearchMode.SEARCH_MODE_DENSE,
    "text": SearchMode.SEARCH_MODE_TEXT,
}
_RECALL_MODES = {
    "": recall_pb.RECALL_MODE_HYBRID,
    "hybrid": recall_pb.RECALL_MODE_HYBRID,
    "dense": recall_pb.RECALL_MODE_SEMANTIC,
    "text": recall_pb.RECALL_MODE_TEXT,
}


@dataclass(frozen=True, slots=True)
class SearchArguments:
    """The arguments of a search, as typed.

    Attributes:
        query: The query.
        agent: Name or id of the agent; empty to search only sources.
        sources: Names or ids of sources.
        files: Names of files.
        tags: Tags that a passage must have, all of them.
        after: First day or time to include; empty for no bound.
        before: First day or time to exclude; empty for no bound.
        mode: ``hybrid``, ``dense``, ``text``, or empty for the best.
        size: Number of hits per page.
    """

    query: str
    agent: str
    sources: list[str]
    files: list[str]
    tags: list[str]
    after: str
    before: str
    mode: str
    size: int


@dataclass(frozen=True, slots=True)
class _Page:
    hits: list[tuple[Message, list[str], str]]
    total: int
    token: str
    mode: str
    ranking: SearchMode.ValueType = SearchMode.SEARCH_MODE_UNSPECIFIED


def check(wanted: SearchArguments, *, messages: bool) -> None:
    """Check the arguments of a search, before any service is needed.

    Raises:
        CliError: They are invalid, or do not go together.
    """
    if wanted.mode not in _MODES:
        raise CliError(f'unknown mode "{wanted.mode}"; choose hybrid, dense or text', MISUSE)
    if not messages:
        if not wanted.agent and not wanted.sources:
            raise CliError("nothing to search; pass --agent NAME or --source NAME", MISUSE)
        if not wanted.agent and len(wanted.sources) > 1:
            raise CliError("without --agent, one data source at a time can be searched", MISUSE)
        after, before = _instant(wanted.after, "--after"), _instant(wanted.before, "--before")
        if after and before and before.ToNanoseconds() <= after.ToNanoseconds():
            raise CliError("--before must be later than --after", MISUSE)
        return
    if not wanted.agent:
        raise CliError("--messages requires --agent NAME", MISUSE)
    if wanted.sources or wanted.files or wanted.tags:
        raise CliError("--source, --file and --tag do not apply to messages; omit them or --messages", MISUSE)
    _day(wanted.after, "--after")
    _day(wanted.before, "--before")


def search(
    ui: Ui,
    memgpt: MemGPT,
    wanted: SearchArguments,
    *,
    messages: bool,
    everything: bool,
    as_json: bool,
    whole: bool = False,
) -> None:
    """Show hits page by page: all of them, as many as the person requests, or the first page.

    Args:
        ui: The terminal.
        memgpt: The client.
        wanted: The arguments of the search; see `check`.
        messages: Whether to search messages instead of archival memory.
        everything: Whether to show all pages without asking.
        as_json: Whether to write one JSON object per line.
        whole: Whether to show the whole text of each hit instead of an excerpt.
    """
    pages = _messages(memgpt, wanted) if messages else _passages(memgpt, wanted)
    words = query_words(wanted.query)
    shown = 0
    for page in pages:
        for hit, lines, text in page.hits:
            shown += 1
            if as_json:
                ui.json(hit)
            else:
                _show(ui, shown, lines, text, words, whole=whole)
        if as_json:
            if not everything:
                return
            continue
        if shown == len(page.hits):
            tell_weakness(ui, [hit for hit, _, _ in page.hits if isinstance(hit, PassageHit)], page.ranking)
        left = f"{shown:,} of {plural(page.total, 'hit')}, ranked by {_RANKINGS.get(page.mode, page.mode)}"
        if not page.token:
            ui.note(left)
        elif not everything and not ui.interactive:
            ui.note(f"{left}; --all shows every one")
            return
        elif not everything and not ui.confirm(f"{left}. More?"):
            return


def _show(ui: Ui, number: int, lines: list[str], text: str, words: frozenset[str], *, whole: bool) -> None:
    ui.line(f"{number}. {' · '.join(lines)}", "bold", indent=3)
    shown = text if whole or not ui.terminal else excerpt(" ".join(text.split()), words)
    ui.styled(highlighted(shown, words))
    ui.line()


def tell_weakness(ui: Ui, hits: Sequence[PassageHit], mode: SearchMode.ValueType) -> None:
    """Say so if none of the best hits has a word of the query: something is always the most similar."""
    if hits and mode != SearchMode.SEARCH_MODE_DENSE and not any(hit.text_score for hit in hits):
        ui.note("None of these has a word of the query; they are only the most similar ones.")


def show_hits(ui: Ui, hits: Iterable[PassageHit], query: str) -> None:
    """Show hits as excerpts around the matches."""
    words = query_words(query)
    for number, hit in enumerate(hits, start=1):
        _, lines, text = _of_passage(hit)
        _show(ui, number, lines, text, words, whole=False)


def _passages(memgpt: MemGPT, wanted: SearchArguments) -> Iterator[_Page]:
    ids = [memgpt.sources.find(name).source_id for name in wanted.sources]
    if wanted.agent:
        scope = archival_pb.PassageScope(agent_id=memgpt.agents.find(wanted.agent).agent_id)
    else:
        scope = archival_pb.PassageScope(source_id=ids[0])
    after, before = _instant(wanted.after, "--after"), _instant(wanted.before, "--before")
    request = archival_pb.SearchPassagesRequest(
        scope=scope,
        query=wanted.query,
        mode=_MODES[wanted.mode],
        page_size=wanted.size,
        filter=archival_pb.PassageFilter(
            source_ids=ids if wanted.agent else [],
            file_names=wanted.files,
            tags=wanted.tags,
            created_from=after,
            created_before=before,
        ),
    )
    while True:
        page = memgpt.memory.search_passages(request)
        mode = SearchMode.Name(page.mode).removeprefix("SEARCH_MODE_").lower()
        yield _Page([_of_passage(hit) for hit in page.hits], page.total_size, page.next_page_token, mode, page.mode)
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def _of_passage(hit: PassageHit) -> tuple[Message, list[str], str]:
    passage = hit.passage
    cite = passage.citation
    if cite.file_name:
        where = [cite.source_name, f"{cite.file_name}, page {cite.page}" if cite.page else cite.file_name]
    else:
        where = [f"a note of {passage.create_time.ToDatetime():%Y-%m-%d %H:%M} UTC"]
    tags = [", ".join(passage.tags)] if passage.tags else []
    names = (("fused_score", "score"), ("dense_score", "similarity"), ("text_score", "keywords"))
    scores = [f"{name} {getattr(hit, field):.2f}" for field, name in names if hit.HasField(field)]  # type: ignore[arg-type]
    return hit, [*where, *tags, *scores], passage.text


def _messages(memgpt: MemGPT, wanted: SearchArguments) -> Iterator[_Page]:
    last = _day(wanted.before, "--before")
    request = recall_pb.SearchMessagesRequest(
        agent_id=memgpt.agents.find(wanted.agent).agent_id,
        query=wanted.query,
        mode=_RECALL_MODES[wanted.mode],
        start_date=str(_day(wanted.after, "--after") or ""),
        end_date=str(last - timedelta(days=1)) if last is not None else "",
        page_size=wanted.size,
    )
    while True:
        page = memgpt.memory.search_messages(request)
        mode = recall_pb.RecallMode.Name(page.mode).removeprefix("RECALL_MODE_").lower()
        hits: list[tuple[Message, list[str], str]] = [
            (message, [f"{message.create_time.ToDatetime():%Y-%m-%d %H:%M} UTC"], "\n".join(message_lines(message)))
            for message in page.messages
        ]
        yield _Page(hits, page.total_size, page.next_page_token, mode)
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def _instant(text: str, option: str) -> Timestamp | None:
    """Parse a time, or a day as its start, in this machine's time zone unless another is given."""
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text).astimezone()
        found = Timestamp()
        found.FromDatetime(when)
    except (ValueError, OverflowError) as error:
        raise CliError(
            f"{option} takes a day such as 2026-01-31, or an instant such as 2026-01-31T18:00", MISUSE
        ) from error
    return found


def _day(text: str, option: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise CliError(f"{option} takes a day without a time here, such as 2026-01-31", MISUSE) from error
