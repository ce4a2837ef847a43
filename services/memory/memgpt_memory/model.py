"""What Memory speaks of: plain values for the domain, and the rows that they are stored as.

Times are microseconds since 1970 in UTC. Stamps are the store's own order of commits: see `clock`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

Item = TypeVar("Item")

DEFAULT_BLOCK_LIMIT = 2_000
"""Characters of a core-memory block unless said otherwise (MemGPT's own default)."""

MAX_MESSAGE_BYTES = 1 << 20
"""Longest text of a message, in bytes of UTF-8."""


class Role(StrEnum):
    """Who a message is from."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class TurnState(StrEnum):
    """How far a turn has come."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self not in (TurnState.QUEUED, TurnState.RUNNING)


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function call as the model made it; `arguments` is JSON text that is not sure to parse."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one call of the model took."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be stored; `replaces` is the sequence of the one that it is a copy of, edited or not."""

    role: Role
    text: str
    function_call: FunctionCall | None = None
    call_id: str = ""
    usage: Usage | None = None
    replaces: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message; `sequence` counts from 0 without gaps within the agent."""

    id: str
    agent_id: str
    sequence: int
    role: Role
    text: str
    created: int
    turn_id: str = ""
    step: int = 0
    function_call: FunctionCall | None = None
    call_id: str = ""
    usage: Usage | None = None
    replaces: int | None = None


@dataclass(frozen=True, slots=True)
class BlockEdit:
    """What a block is to hold; an empty etag asks for no check; None, and a limit of 0, keep what there is."""

    label: str
    value: str | None
    etag: str = ""
    limit: int = 0
    read_only: bool | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A block of core memory; `limit` in characters; one that is read-only is not for the agent to change."""

    label: str
    value: str
    limit: int
    etag: str
    updated: int
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a passage of a document comes from; `page` from 1, `start` and `end` in characters of the page's text."""

    source_id: str
    source_name: str
    file_name: str
    page: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Passage:
    """A stored passage: an agent's note, or a piece of a document."""

    id: str
    text: str
    created: int
    agent_id: str = ""
    citation: Citation | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewPassage:
    """A piece of a document to be stored; `index` counts from 0 without gaps within the file."""

    index: int
    text: str
    page: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A page of a listing; `next_token` is empty at the end."""

    items: list[Item]
    next_token: str
    total: int = 0


class _Row(BaseModel):
    """A row's body: JSON, unknown fields ignored, so that a newer version's additions do no harm."""

    model_config = ConfigDict(extra="ignore")


class TextRef(_Row):
    """Which version of a text holds, and over how many rows it goes on. Version 0 is the empty text, not stored."""

    version: int = 0
    parts: int = 0


class BlockRef(_Row):
    """A block as the agent's row has it: everything but the value."""

    label: str
    text: TextRef
    limit: int
    updated: int
    read_only: bool = False


class CurrentTurn(_Row):
    """The turn that the agent is in, or was in last."""

    key: str
    turn_id: str
    request_id: str
    state: TurnState
    reason: str = ""
    steps: int = 0
    first_sequence: int
    end_sequence: int
    ended: int = 0
    cancel: bool = False


class Insert(_Row):
    """A request that stored notes: tells a repeated one that its notes are in, though a crash came before its answer.

    The answer itself is kept elsewhere, and for longer.
    """

    key: str
    first: int
    count: int


class AgentRow(_Row):
    """An agent. Writing this row is the commit: what lies beyond its counters and versions does not exist.

    One that is being imported is marked as deleted until it is whole. Texts of any length have rows of their own, and
    the contract bounds all that stands here: it is 17 KB at most, a quarter of what a row takes.
    """

    tenant: str
    name: str
    preset: str = ""
    persona: str = ""
    human: str = ""
    model: str = ""
    context_window: int = 0
    time_zone: str = "UTC"
    created: int
    updated: int
    settings_version: int = 1
    deleting: bool = False
    importing: bool = False
    next_text: int = 1
    system: TextRef = TextRef()
    summary: TextRef = TextRef()
    links: TextRef = TextRef()
    tools: TextRef = TextRef()
    dead_notes: TextRef = TextRef()
    rewinds: TextRef = TextRef()
    blocks: list[BlockRef] = []
    message_count: int = 0
    window_start: int = 0
    next_note: int = 0
    dead_count: int = 0
    epoch: int = 0
    turn: CurrentTurn | None = None
    inserts: list[Insert] = []

    def copied(self) -> AgentRow:
        """A copy to be edited. What is replaced as a whole is shared: a deep copy takes a tenth of a commit."""
        blocks = [block.model_copy() for block in self.blocks]
        return self.model_copy(update={"blocks": blocks, "turn": self.turn and self.turn.model_copy()})


class TurnRow(_Row):
    """A turn: written when it is granted and when it has ended. In between the agent's row knows better."""

    turn_id: str
    agent_id: str
    request_id: str
    fingerprint: str
    options: str = ""
    state: TurnState
    reason: str = ""
    steps: int = 0
    first_sequence: int = 0
    end_sequence: int = 0
    created: int
    ended: int = 0


class Link(_Row):
    """An attached source. The stamp keeps a source attached later out of an earlier search."""

    source_id: str
    stamp: int
    attached: int


class ToolFunction(_Row):
    """A function that runs elsewhere; `parameters` is a JSON schema, as text."""

    name: str
    description: str
    parameters: str


class ToolServer(_Row):
    """The functions of one address."""

    address: str
    functions: list[ToolFunction]
    registered: int = 0


class SourceRow(_Row):
    """A source."""

    tenant: str
    name: str
    description: str = ""
    created: int
    deleting: bool = False


class VisibleVersion(_Row):
    """The version of a file that is visible."""

    version: str
    sha256: str
    size: int
    media_type: str
    chunker_version: str
    documents: int
    passages: int
    stamp: int
    created: int
    tags: list[str] = []


class FileRow(_Row):
    """A file of a source. Writing this row switches versions: visible passages are those of `visible`, no others."""

    source_id: str
    name: str
    visible: VisibleVersion | None = None
    staged: str = ""
    garbage: list[str] = []


@dataclass(slots=True)
class Record:
    """A row of the collection of records.

    Attributes:
        id: Its key.
        kind: What it is.
        tenant: Whose it is.
        parent: Id of what it belongs to and goes with.
        created: When it was first written.
        body: JSON, or a piece of a text.
    """

    id: str
    kind: str
    tenant: str
    parent: str
    created: int
    body: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage in a ranking, from rank 0, with the scores that are known: cosine, BM25, and both fused."""

    passage: Passage
    rank: int
    dense: float | None = None
    text: float | None = None
    fused: float | None = None


@dataclass(frozen=True, slots=True)
class PassageFilter:
    """Conditions on passages, all of which must hold; times in microseconds, the end not included."""

    source_ids: frozenset[str] = frozenset()
    file_names: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    created_from: int | None = None
    created_before: int | None = None

    @property
    def empty(self) -> bool:
        """Whether every passage passes."""
        return self == PassageFilter()

    @property
    def key(self) -> str:
        """Tells it from every other filter."""
        return repr(
            [
                sorted(self.source_ids),
                sorted(self.file_names),
                sorted(self.tags),
                self.created_from,
                self.created_before,
            ]
        )

    @property
    def takes_notes(self) -> bool:
        """Whether an agent's notes may pass."""
        return not self.source_ids and not self.file_names

    @property
    def needs_rows(self) -> bool:
        """Whether a note's own row says whether it passes."""
        return bool(self.tags) or self.created_from is not None or self.created_before is not None

    def spans(self, created: int) -> bool:
        """Whether a time passes."""
        return (self.created_from is None or created >= self.created_from) and (
            self.created_before is None or created < self.created_before
        )

    def takes(self, source_id: str, file_name: str, version: VisibleVersion) -> bool:
        """Whether the passages of a file pass."""
        return (
            (not self.source_ids or source_id in self.source_ids)
            and (not self.file_names or file_name in self.file_names)
            and self.tags <= set(version.tags)
            and self.spans(version.created)
        )


@dataclass(frozen=True, slots=True)
class StepCommit:
    """All that one step changes."""

    messages: list[NewMessage] = field(default_factory=list)
    blocks: list[BlockEdit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    evict_before: int | None = None
    summary: str = ""
    outcome: tuple[TurnState, str] | None = None
