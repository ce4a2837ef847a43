"""The rows in which an agent and its turns are stored, and the values they are built from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from memgpt_memory.quotas import Amounts
from memgpt_memory.records import StoredModel, TextRef


class TurnState(StrEnum):
    """The state of a turn."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether the turn has ended."""
        return self not in (TurnState.QUEUED, TurnState.RUNNING)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of core memory; `limit` in characters. The agent cannot change a read-only one.

    `shared_id` is the shared block that it is; empty for a block of the agent's own.
    """

    label: str
    value: str
    limit: int
    etag: str
    updated: int
    read_only: bool = False
    description: str = ""
    shared_id: str = ""


class BlockRef(StoredModel):
    """A block as the agent's row stores it: everything but the value and the description."""

    label: str
    text: TextRef
    limit: int
    updated: int
    read_only: bool = False


class SharedRef(StoredModel):
    """A shared block of the agent; `mark` is that of the agent's last step that changed it (see `blocks`)."""

    label: str
    block_id: str
    mark: int = 0


class CurrentTurn(StoredModel):
    """The turn that the agent is in, or was in last; `released` if nobody holds it although it is running."""

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
    released: bool = False


class NoteInsertion(StoredModel):
    """A request that stored notes, kept so that its repetition after a crash finds them.

    The response is kept elsewhere, and for longer.
    """

    key: str
    first: int
    count: int


class AgentRow(StoredModel):
    """An agent. Writing this row is the commit: rows beyond its counters and versions are ignored.

    An agent that is being imported is marked as deleted until it is complete. Texts of any length have rows of their
    own, and the contract bounds everything else: the row has at most 26 KB, less than half of the maximum.
    `turn_count` is None for an agent of an older version whose turns are not indexed yet. `text_bytes` counts the bytes
    of messages and notes; None for an agent of an older version whose bytes are not counted yet. `tokens` are those of
    the chat model, and `tokens_today` those of the day `token_day` of UTC. `message_ttl` and `note_ttl` are in
    microseconds; 0 for indefinitely.
    """

    tenant: str
    name: str
    preset: str = ""
    persona: str = ""
    human: str = ""
    user_id: str = ""
    tags: list[str] = Field(default=[])
    origin: str = ""
    model: str = ""
    context_window: int = 0
    time_zone: str = "UTC"
    message_ttl: int = 0
    note_ttl: int = 0
    created: int
    updated: int
    settings_version: int = 1
    deleting: bool = False
    importing: bool = False
    next_text: int = 1
    system: TextRef = TextRef()
    description: TextRef = TextRef()
    block_descriptions: TextRef = TextRef()
    summary: TextRef = TextRef()
    links: TextRef = TextRef()
    tools: TextRef = TextRef()
    heartbeats: TextRef = TextRef()
    dead_notes: TextRef = TextRef()
    rewinds: TextRef = TextRef()
    forgotten: TextRef = TextRef()
    unfreed_messages: TextRef = TextRef()
    unfreed_notes: TextRef = TextRef()
    blocks: list[BlockRef] = Field(default=[])
    shared: list[SharedRef] = Field(default=[])
    message_count: int = 0
    window_start: int = 0
    next_note: int = 0
    dead_count: int = 0
    epoch: int = 0
    turn: CurrentTurn | None = None
    turn_count: int | None = None
    inserts: list[NoteInsertion] = Field(default=[])
    text_bytes: int | None = None
    tokens: int = 0
    tokens_today: int = 0
    token_day: int = 0

    @property
    def amounts(self) -> Amounts:
        """What the agent uses of its tenant's quotas."""
        return Amounts(
            agents=1,
            passages=self.next_note - self.dead_count,
            bytes=self.text_bytes or 0,
            day=self.token_day,
            tokens=self.tokens_today,
        )

    def add_tokens(self, day: int, tokens: int) -> None:
        """Count tokens of the chat model."""
        if day != self.token_day:  # also if it is earlier: the clock was ahead
            self.token_day, self.tokens_today = day, 0
        self.tokens += tokens
        self.tokens_today += tokens

    def copied(self) -> AgentRow:
        """Return a copy to edit. It shares values that are only replaced: a deep copy takes a tenth of a commit."""
        blocks = [block.model_copy() for block in self.blocks]
        return self.model_copy(update={"blocks": blocks, "turn": self.turn and self.turn.model_copy()})


class TurnRow(StoredModel):
    """A turn, written when it is granted and when it ends. In between the agent's row is more recent."""

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


class Attachment(StoredModel):
    """An attached source. The revision `stamp` keeps a source that is attached later out of an earlier search."""

    source_id: str
    stamp: int
    attached: int


class ToolFunction(StoredModel):
    """A function that runs elsewhere; `parameters` is a JSON schema, as text."""

    name: str
    description: str
    parameters: str


class ToolServer(StoredModel):
    """The functions of one address."""

    address: str
    functions: list[ToolFunction]
    registered: int = 0
