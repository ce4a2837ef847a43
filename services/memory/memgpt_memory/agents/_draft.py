"""The next state of an agent while a command builds it, and the transition that results: what to write."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from memgpt_memory.agents import _errors as errors
from memgpt_memory.agents._heartbeats import HeartbeatEdit, heartbeat_record, heartbeats_etag
from memgpt_memory.agents._own_blocks import apply_edit, check_room
from memgpt_memory.agents._rows import AgentRow, Block, BlockRef, SharedRef
from memgpt_memory.agents._shared_links import link_id, link_record, shared_as
from memgpt_memory.agents._state import TEXT_FIELDS, AgentState, block_text_name
from memgpt_memory.agents._turn_pointers import turn_pointer
from memgpt_memory.agents._turn_state import AgentTurn, turn_row_of
from memgpt_memory.blocks import BlockEdit, SharedBlock, SharedWrite, unknown_shared_block
from memgpt_memory.messages import NewMessage
from memgpt_memory.quotas import utc_day
from memgpt_memory.records import Record, TextRef, text_ids, text_records


@dataclass(frozen=True, slots=True)
class Transition:
    """The next state of an agent, and what to write to get there.

    Attributes:
        state: The agent after the commit.
        time: Microseconds since 1970.
        messages: New messages, appended to the existing ones.
        turn_id: The turn that the messages belong to.
        step: The step of that turn.
        passages: Texts of new passages, appended to the existing ones.
        tags: Labels of the passages.
        records: Rows to be written before the agent's.
        beside: Rows to be written together with the agent's.
        superseded: Keys of rows that are no longer read after the commit.
        touched: Blocks that were edited, as they are after the commit.
        shared: Writes of shared blocks; their rows are among `records`.
        reorders: Whether the commit changes the results of archival searches.
    """

    state: AgentState
    time: int
    messages: Sequence[NewMessage]
    turn_id: str
    step: int
    passages: Sequence[str]
    tags: Sequence[str]
    records: Sequence[Record]
    beside: Sequence[Record]
    superseded: Sequence[str]
    touched: Sequence[Block]
    shared: Sequence[SharedWrite]
    reorders: bool


class Draft:
    """The next state while a command builds it: a private copy."""

    def __init__(self, state: AgentState, time: int, shared: Mapping[str, SharedBlock]) -> None:
        self.before = state
        self.time = time
        self.shared = shared
        self.shared_writes: dict[str, SharedWrite] = {}
        self.row: AgentRow = state.row.copied()
        self.blocks = dict(state.blocks)
        self.touched: list[BlockRef] = []
        self.messages: Sequence[NewMessage] = ()
        self.turn_id = ""
        self.step = 0
        self.passages: Sequence[str] = ()
        self.tags: Sequence[str] = ()
        self.records: list[Record] = []
        self.beside: Sequence[Record] = ()
        self._values: dict[str, Any] = {}
        self._superseded: list[str] = []

    def set(self, **values: Any) -> None:
        """Set new values of the fields that are stored as separate texts."""
        self._values.update(values)

    def add_messages(self, messages: Sequence[NewMessage], turn_id: str, step: int) -> None:
        """Append messages of a step."""
        self.messages, self.turn_id, self.step = messages, turn_id, step
        self.row.message_count += len(messages)
        tokens = sum(message.usage.total for message in messages if message.usage is not None)
        if tokens:
            self.row.add_tokens(utc_day(self.time), tokens)

    def edit_blocks(self, edits: Sequence[BlockEdit], *, by_people: bool) -> None:
        """Edit blocks, the agent's own and shared ones."""
        for edit in edits:
            attached = self.find_shared(edit.label)
            if attached is not None:
                self._edit_shared(attached, edit, by_people=by_people)
                continue
            reference = apply_edit(self.row, self.blocks, edit, by_people=by_people, time=self.time)
            if reference not in self.touched:
                self.touched.append(reference)
            if by_people and edit.description is not None:
                self.describe_block(edit.label, edit.description)

    def describe_block(self, label: str, description: str) -> None:
        """Set the description of a block; an empty one removes it."""
        before = self._values.get("block_descriptions", self.before.block_descriptions)
        if description != before.get(label, ""):
            others = {other: text for other, text in before.items() if other != label}
            self.set(block_descriptions={**others, label: description} if description else others)

    def find_shared(self, label: str) -> SharedRef | None:
        """Return the shared block of a label; None if there is none. The reference to a deleted one is dropped."""
        reference = next((one for one in self.row.shared if one.label == label), None)
        if reference is None or reference.block_id in self.shared:
            return reference
        self.drop_shared(reference)
        return None

    def attach_shared(self, reference: SharedRef) -> None:
        """Attach a shared block."""
        check_room(self.row)
        if reference.block_id not in self.shared:
            raise unknown_shared_block(reference.block_id)
        self.row.shared = [*self.row.shared, reference]
        self.records.append(link_record(reference.block_id, self.before.id, self.row.tenant, self.time))

    def drop_shared(self, reference: SharedRef) -> None:
        """Detach a shared block."""
        self.row.shared = [other for other in self.row.shared if other.block_id != reference.block_id]
        self._superseded.append(link_id(reference.block_id, self.before.id))

    def drop_gone(self, gone: Collection[str]) -> None:
        """Detach shared blocks that were deleted."""
        for reference in [one for one in self.row.shared if one.block_id in gone]:
            self.drop_shared(reference)

    def _edit_shared(self, reference: SharedRef, edit: BlockEdit, *, by_people: bool) -> None:
        """Edit a shared block with this commit, whose mark the reference gets."""
        id_, mark = reference.block_id, self.row.next_text
        former = self.shared_writes.get(id_)
        block = self.shared[id_] if former is None else former.block  # one step may edit it twice
        write = block.edited(
            edit, self.time, by_people=by_people, agent_id=self.before.id, mark=mark, base=self.shared[id_]
        )
        self.shared_writes[id_] = write
        self._superseded += write.superseded
        self.row.shared = [
            one.model_copy(update={"mark": mark}) if one.block_id == id_ else one for one in self.row.shared
        ]

    def set_heartbeats(self, edit: HeartbeatEdit) -> None:
        """Write the timed heartbeats.

        Raises:
            Aborted: They have changed since they were read.
        """
        if edit.etag != (etag := heartbeats_etag(self.before.row)):
            raise errors.heartbeats_changed(etag)
        self.set(heartbeats=edit.plan)
        if edit.plan:
            self.records.append(heartbeat_record(self.before.id, self.row, self.time))

    def drop_block(self, reference: BlockRef) -> None:
        """Delete a block."""
        self.row.blocks = [other for other in self.row.blocks if other.label != reference.label]
        del self.blocks[reference.label]
        self.describe_block(reference.label, "")
        self._superseded += text_ids(self.before.id, block_text_name(reference.label), reference.text)

    @property
    def added_bytes(self) -> int:
        """Bytes of the new messages and passages."""
        return sum(message.size for message in self.messages) + sum(len(text.encode()) for text in self.passages)

    def delete_notes(self, numbers: Iterable[int]) -> None:
        """Make notes invisible."""
        dead = self.before.dead_notes.add(numbers)
        self.set(dead_notes=dead)
        self.row.dead_count = len(dead)

    def free(self, size: int) -> None:
        """Subtract the bytes of deleted texts."""
        if self.row.text_bytes is not None:
            self.row.text_bytes = max(0, self.row.text_bytes - size)

    def set_turn(self, turn: AgentTurn) -> None:
        """Replace the agent's current turn."""
        self.row.turn = turn_row_of(turn)

    def index_turn(self, key: str, indexed: int) -> None:
        """Append a turn to the index of the agent's turns."""
        number = indexed if self.row.turn_count is None else self.row.turn_count
        self.records.append(turn_pointer(self.before, number, key))
        self.row.turn_count = number + 1

    def finish(self) -> Transition:
        """Return the transition from the previous state to this one."""
        row, version = self.row, self.row.next_text
        row.next_text += 1
        row.next_note += len(self.passages)
        row.updated = self.time
        if row.text_bytes is not None:
            row.text_bytes += self.added_bytes
        for block in self.touched:
            block.text = self._replace_text(block_text_name(block.label), block.text, version, self.blocks[block.label])
        for field, value in self._values.items():
            text = TEXT_FIELDS[field]
            reference = self._replace_text(text.stored_name, getattr(row, field), version, text.dump(value))
            setattr(row, field, reference)
        shared = list(self.shared_writes.values())
        for write in shared:
            self.records += [*write.texts, write.record]
        state = replace(self.before, row=row, blocks=self.blocks, **self._values)
        labels = {reference.block_id: reference.label for reference in row.shared}
        return Transition(
            state=state,
            time=self.time,
            messages=self.messages,
            turn_id=self.turn_id,
            step=self.step,
            passages=self.passages,
            tags=self.tags,
            records=self.records,
            beside=self.beside,
            superseded=self._superseded,
            touched=[
                *(state.block(reference) for reference in self.touched),
                *(shared_as(labels[write.block.id], write.block) for write in shared),
            ],
            shared=shared,
            # Only changes of archival memory invalidate rankings: they stay valid after a step.
            reorders=bool(self.passages) or not self._values.keys().isdisjoint(("links", "dead_notes")),
        )

    def _replace_text(self, name: str, former: TextRef, version: int, text: str) -> TextRef:
        self._superseded += text_ids(self.before.id, name, former)
        reference, records = text_records(self.row.tenant, self.before.id, name, version, text)
        self.records += records
        return reference
