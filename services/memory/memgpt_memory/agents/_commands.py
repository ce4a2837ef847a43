"""Everything that can be done to an agent: one command a kind of change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from memgpt_memory.agents._heartbeats import HeartbeatEdit
from memgpt_memory.agents._rewinds import Rewinds
from memgpt_memory.agents._rows import BlockEdit, Link, ToolServer, TurnRow, TurnState
from memgpt_memory.agents._turn_state import Lease
from memgpt_memory.messages import NewMessage
from memgpt_memory.records import Record


@dataclass(frozen=True, slots=True)
class CreateAgent:
    """Give a new agent its texts, blocks and first messages; its row comes with the state."""

    system: str = ""
    summary: str = ""
    links: Sequence[Link] = ()
    rewinds: Rewinds = field(default_factory=Rewinds)
    blocks: Sequence[BlockEdit] = ()
    messages: Sequence[NewMessage] = ()


@dataclass(frozen=True, slots=True)
class UpdateSettings:
    """Change settings.

    Attributes:
        changes: New values of fields of the agent's row.
        system: New instructions; None to keep them.
        etag: What was read, or empty for no check.
    """

    changes: Mapping[str, str | int]
    system: str | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class DeleteAgent:
    """Mark the agent as deleted.

    Attributes:
        journal: The row that says so to the next start; written with the agent's, and before it.
    """

    journal: Record


@dataclass(frozen=True, slots=True)
class SetBlock:
    """Write a block as people do: they may make new ones, and write those that are read-only."""

    edit: BlockEdit


@dataclass(frozen=True, slots=True)
class DeleteBlock:
    """Delete a block; an absent one is no error."""

    label: str


@dataclass(frozen=True, slots=True)
class InsertNotes:
    """Store notes in archival memory; a long one becomes several passages.

    Attributes:
        notes: Their texts.
        tags: Their labels.
        request_key: Key of the request, which is remembered in the row; empty for none.
    """

    notes: Sequence[str]
    tags: Sequence[str] = ()
    request_key: str = ""


@dataclass(frozen=True, slots=True)
class DeleteNotes:
    """Delete notes by their numbers; absent ones are no error."""

    numbers: Set[int]


@dataclass(frozen=True, slots=True)
class AttachSource:
    """Attach a source; one that is attached stays as it is.

    Attributes:
        link: The attachment.
        gone: Ids of sources that were deleted; links to them go.
    """

    link: Link
    gone: Set[str]


@dataclass(frozen=True, slots=True)
class DetachSource:
    """Detach a source; an absent one is no error."""

    source_id: str


@dataclass(frozen=True, slots=True)
class PutToolServer:
    """Give the agent the functions of an address, in place of those it had from there."""

    server: ToolServer


@dataclass(frozen=True, slots=True)
class DeleteToolServer:
    """Take the functions of an address away; an absent one is no error."""

    address: str


@dataclass(frozen=True, slots=True)
class SetHeartbeats:
    """Write the timed heartbeats."""

    edit: HeartbeatEdit


@dataclass(frozen=True, slots=True)
class TurnStart:
    """What a turn does as it begins, in one commit.

    Attributes:
        messages: Messages it adds.
        rewind_from: The first message that it takes back, with all after it; None for none.
        completed: Whether that was all: the turn ends with it. Its messages are step 1 then, else its input, step 0.
    """

    messages: Sequence[NewMessage] = ()
    rewind_from: int | None = None
    completed: bool = False

    @property
    def step(self) -> int:
        """The step that the messages belong to."""
        return 1 if self.completed and self.messages else 0


@dataclass(frozen=True, slots=True)
class StartTurn:
    """Begin a turn under a new epoch.

    Attributes:
        key: Key of the turn's row.
        turn: The turn.
        start: What the turn does as it begins.
        records: The turn's row, and that of the turn before, as it ended, if that is not stored yet.
        indexed: Turns that the index of an agent of an older version has by now.
    """

    key: str
    turn: TurnRow
    start: TurnStart
    records: Sequence[Record]
    indexed: int = 0


@dataclass(frozen=True, slots=True)
class NoteTurn:
    """Store a turn that ended before it began.

    Attributes:
        record: Its row.
        indexed: As in `StartTurn`.
    """

    record: Record
    indexed: int = 0


@dataclass(frozen=True, slots=True)
class ResumeTurn:
    """Take the running turn over under a new epoch."""


@dataclass(frozen=True, slots=True)
class StepCommit:
    """All that one step changes."""

    messages: Sequence[NewMessage] = ()
    blocks: Sequence[BlockEdit] = ()
    notes: Sequence[str] = ()
    evict_before: int | None = None
    summary: str = ""
    heartbeats: HeartbeatEdit | None = None
    outcome: tuple[TurnState, str] | None = None


@dataclass(frozen=True, slots=True)
class AddStep:
    """Add the next step to the turn of a lease."""

    lease: Lease
    index: int
    step: StepCommit


@dataclass(frozen=True, slots=True)
class EndTurn:
    """End the running turn without a step of its holder's.

    Attributes:
        state: How it ends.
        reason: Why.
        result: The result of a call that has none yet; None if there is no such call.
    """

    state: TurnState
    reason: str
    result: NewMessage | None = None


@dataclass(frozen=True, slots=True)
class CancelTurn:
    """Ask the holder of the running turn to cancel it."""


Command = (
    CreateAgent
    | UpdateSettings
    | DeleteAgent
    | SetBlock
    | DeleteBlock
    | InsertNotes
    | DeleteNotes
    | AttachSource
    | DetachSource
    | PutToolServer
    | DeleteToolServer
    | SetHeartbeats
    | StartTurn
    | NoteTurn
    | ResumeTurn
    | AddStep
    | EndTurn
    | CancelTurn
)


def notes_of(command: Command) -> Sequence[str]:
    """The notes that a command stores."""
    match command:
        case InsertNotes(notes=notes):
            return notes
        case AddStep(step=step):
            return step.notes
    return ()
