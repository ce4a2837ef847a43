"""A block that several agents have in common: its row, its state, and what an edit writes.

A step of an agent changes two rows that must change together: the agent's and the block's. The agent's row stays the
only commit point. Before it, the block's row is written with both values: the one that counts, and a pending one with
the agent and a mark. With the step, the agent's row gets the same mark. So the pending value counts if, and only if,
the agent's row has its mark; a crash in between leaves a value that nobody reads. The next write of the block settles
this for good, and so does a write before the agent's row loses the mark (at a detachment, or the agent's deletion).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memgpt_memory.blocks._edits import DEFAULT_BLOCK_LIMIT, BlockEdit, new_content
from memgpt_memory.records import Record, StoredModel, TextRef, text_ids, text_records

KIND = "shared_block"
"""Kind of the rows of shared blocks."""

MAX_SHARED_BLOCKS = 1_000
"""Maximum number of shared blocks of a tenant."""

_TEXT = "value"


class PendingWrite(StoredModel):
    """A value written by an agent's step. It counts once the agent's row has the mark."""

    agent_id: str
    mark: int
    text: TextRef
    limit: int
    version: int
    updated: int


class SharedBlockRow(StoredModel):
    """A shared block as it is stored, without its value."""

    tenant: str
    name: str
    limit: int = DEFAULT_BLOCK_LIMIT
    read_only: bool = False
    description: str = ""
    user_id: str = ""
    created: int
    updated: int
    version: int = 0
    next_version: int = 1
    text: TextRef = TextRef()
    pending: PendingWrite | None = None
    deleting: bool = False

    def settled(self, *, committed: bool) -> SharedBlockRow:
        """Return the row without its pending value, which is the current one if `committed`."""
        pending = self.pending
        if pending is None or not committed:
            return self.model_copy(update={"pending": None})
        return self.model_copy(
            update={
                "pending": None,
                "text": pending.text,
                "limit": pending.limit,
                "version": pending.version,
                "updated": pending.updated,
            }
        )


@dataclass(frozen=True, slots=True)
class SharedBlock:
    """A shared block as its last write left it.

    Attributes:
        id: Its id.
        row: Its row, without a pending value; not to be changed.
        value: Its value.
        writer: The agent whose row committed the value; empty if the block's own row did.
    """

    id: str
    row: SharedBlockRow
    value: str
    writer: str = ""

    @property
    def etag(self) -> str:
        """An etag that changes with every write."""
        return f"v{self.row.version}-{self.row.updated}"

    @property
    def text_ids(self) -> list[str]:
        """Keys of the rows that hold the value."""
        return text_ids(self.id, _TEXT, self.row.text)

    def record(self, row: SharedBlockRow | None = None) -> Record:
        """Return the row to store: its own, or another one."""
        row = row or self.row
        return Record(self.id, KIND, row.tenant, "", row.created, row.model_dump_json(exclude_defaults=True))

    def edited(
        self,
        edit: BlockEdit,
        time: int,
        *,
        by_people: bool,
        agent_id: str = "",
        mark: int = 0,
        base: SharedBlock | None = None,
    ) -> SharedWrite:
        """Return what an edit writes.

        Args:
            edit: The edit; its label appears in errors.
            time: Microseconds since 1970.
            by_people: Whether a person makes it.
            agent_id: The agent whose step makes it; empty for an edit of the block alone.
            mark: The mark that the agent's row gets with the step.
            base: The block before the step, if the step has edited it already; it counts until the step is committed.

        Raises:
            Aborted: The block's etag does not match.
            FailedPrecondition: The block is read-only, and an agent makes the edit.
            InvalidArgument: The value is over the block's limit.
        """
        row = self.row
        value, limit = new_content(
            edit, value=self.value, limit=row.limit, etag=self.etag, read_only=row.read_only, by_people=by_people
        )
        version = row.next_version
        text, texts = text_records(row.tenant, self.id, _TEXT, version, value)
        after = row.model_copy(
            update={
                "text": text,
                "limit": limit,
                "version": version,
                "next_version": version + 1,
                "updated": time,
                "read_only": row.read_only if edit.read_only is None else edit.read_only,
                "description": row.description if edit.description is None else edit.description,
            }
        )
        stored = after
        if agent_id:
            pending = PendingWrite(agent_id=agent_id, mark=mark, text=text, limit=limit, version=version, updated=time)
            stored = (base or self).row.model_copy(update={"pending": pending, "next_version": version + 1})
        block = SharedBlock(self.id, after, value, agent_id)
        return SharedWrite(block, texts, self.record(stored), self.text_ids)


@dataclass(frozen=True, slots=True)
class SharedWrite:
    """A write of a shared block.

    Attributes:
        block: The block after it.
        texts: Rows of its value.
        record: Its own row.
        superseded: Keys of rows that are no longer read after it.
    """

    block: SharedBlock
    texts: Sequence[Record]
    record: Record
    superseded: Sequence[str]
