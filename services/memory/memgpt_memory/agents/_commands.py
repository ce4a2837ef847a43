"""The commands that change an agent, one for each kind of change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from memgpt_memory.agents._heartbeats import HeartbeatEdit
from memgpt_memory.agents._rewinds import Rewinds
from memgpt_memory.agents._rows import AgentRow, Attachment, SharedRef, ToolServer, TurnRow, TurnState
from memgpt_memory.agents._turn_state import Lease
from memgpt_memory.blocks import BlockEdit
from memgpt_memory.messages import NewMessage
from memgpt_memory.records import Record


@dataclass(frozen=True, slots=True)
class CreateAgent:
    """Create an agent with its texts, blocks and first messages; its row is part of the state."""

    system: str = ""
    description: str = ""
    summary: str = ""
    links: Sequence[Attachment] = ()
    rewinds: Rewinds = field(default_factory=Rewinds)
    blocks: Sequence[BlockEdit] = ()
    messages: Sequence[NewMessage] = ()
    shared: Sequence[SharedRef] = ()
    tools: Sequence[ToolServer] = ()
    heartbeats: str = ""


@dataclass(frozen=True, slots=True)
class UpdateSettings:
    """Change settings.

    Attributes:
        changes: New values of fields of the agent's row.
        texts: New values of texts of the agent: `system` and `description`.
        etag: The etag that was read; empty to skip the check.
    """

    changes: Mapping[str, str | int | Sequence[str]]
    texts: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""


@dataclass(frozen=True, slots=True)
class DeleteAgent:
    """Mark the agent as deleted.

    Attributes:
        journal: The journal's row, which tells the next start of the deletion; written together with the agent's row.
        spent: The row of what deleted agents have spent, to be written with it too; empty if that does not change.
    """

    journal: Record
    spent: Sequence[Record] = ()


@dataclass(frozen=True, slots=True)
class SetBlock:
    """Write a block on behalf of a person, who may create blocks and write read-only ones.

    Attributes:
        edit: The new content.
        gone: Ids of deleted shared blocks; attachments of them are removed.
    """

    edit: BlockEdit
    gone: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DeleteBlock:
    """Delete a block; a missing one is not an error."""

    label: str


@dataclass(frozen=True, slots=True)
class AttachBlock:
    """Attach a shared block; do nothing if it is attached under this label already.

    Attributes:
        block_id: The block.
        label: The agent's label for it.
        gone: Ids of deleted blocks; attachments of them are removed.
    """

    block_id: str
    label: str
    gone: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DetachBlock:
    """Detach a shared block; a missing one is not an error."""

    block_id: str


@dataclass(frozen=True, slots=True)
class InsertNotes:
    """Store notes in archival memory; a long one becomes several passages.

    Attributes:
        notes: Their texts.
        tags: Their labels.
        request_key: Key of the request, which is kept in the agent's row; empty for none.
    """

    notes: Sequence[str]
    tags: Sequence[str] = ()
    request_key: str = ""


@dataclass(frozen=True, slots=True)
class DeleteNotes:
    """Delete notes by their numbers; missing ones are not an error.

    Attributes:
        numbers: The numbers.
        freed: Bytes of their texts.
    """

    numbers: Set[int]
    freed: int = 0


@dataclass(frozen=True, slots=True)
class CountBytes:
    """Store the bytes of the messages and notes of an agent of an older version, which did not count them."""

    size: int


@dataclass(frozen=True, slots=True)
class ForgetMessages:
    """Forget messages by their sequences; missing ones are not an error.

    Attributes:
        sequences: The sequences.
        freed: Bytes of their texts.
    """

    sequences: Set[int]
    freed: int = 0


@dataclass(frozen=True, slots=True)
class Expire:
    """Forget messages and delete notes whose time to live has ended. Their bytes count until `FreeBytes`.

    Attributes:
        messages: Sequences of the messages.
        notes: Numbers of the notes.
    """

    messages: Set[int]
    notes: Set[int]


@dataclass(frozen=True, slots=True)
class FreeBytes:
    """Count the bytes of messages and notes that have expired no longer.

    Attributes:
        messages: Sequences of the messages.
        notes: Numbers of the notes.
        freed: Bytes of their texts.
    """

    messages: Sequence[int]
    notes: Sequence[int]
    freed: int


@dataclass(frozen=True, slots=True)
class AttachSource:
    """Attach a source; do nothing if it is attached already.

    Attributes:
        link: The attachment.
        gone: Ids of deleted sources; links to them are removed.
    """

    link: Attachment
    gone: Set[str]


@dataclass(frozen=True, slots=True)
class DetachSource:
    """Detach a source; a missing one is not an error."""

    source_id: str


@dataclass(frozen=True, slots=True)
class PutToolServer:
    """Register the functions of an address, replacing those that it had before."""

    server: ToolServer


@dataclass(frozen=True, slots=True)
class DeleteToolServer:
    """Remove the functions of an address; a missing one is not an error."""

    address: str


@dataclass(frozen=True, slots=True)
class SetHeartbeats:
    """Write the timed heartbeats."""

    edit: HeartbeatEdit


@dataclass(frozen=True, slots=True)
class TurnStart:
    """The changes of a turn as it begins, in one commit.

    Attributes:
        messages: Messages it adds.
        rewind_from: The first message to take back, together with all after it; None for none.
        completed: Whether the turn ends with this commit. Its messages are then step 1, otherwise the input, step 0.
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
        records: The turn's row, and the final row of the previous turn if it is not stored yet.
        indexed: Number of turns that are indexed already; used for an agent of an older version.
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
    """Take over the running turn under a new epoch."""


@dataclass(frozen=True, slots=True)
class ReleaseTurn:
    """Note that nobody holds the running turn, for the time after a restart."""


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
    """End the running turn without a step from its holder.

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
    | AttachBlock
    | DetachBlock
    | InsertNotes
    | DeleteNotes
    | CountBytes
    | ForgetMessages
    | Expire
    | FreeBytes
    | AttachSource
    | DetachSource
    | PutToolServer
    | DeleteToolServer
    | SetHeartbeats
    | StartTurn
    | NoteTurn
    | ResumeTurn
    | ReleaseTurn
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


def shared_blocks_of(command: Command, row: AgentRow) -> Set[str]:
    """The shared blocks that a command of an agent with this row reads or writes."""
    match command:
        case AddStep(step=step):
            labels = {edit.label for edit in step.blocks}
        case SetBlock(edit=edit):
            labels = {edit.label}
        case DeleteBlock(label=label):
            labels = {label}
        case AttachBlock(block_id=block_id) | DetachBlock(block_id=block_id):
            return {block_id}
        case CreateAgent(shared=shared):
            return {reference.block_id for reference in shared}
        case _:
            return frozenset()
    return {reference.block_id for reference in row.shared if reference.label in labels}
