"""The effect of a command on an agent: a pure function from a state and a command to the next state and its writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from types import MappingProxyType
from typing import Any

from memgpt_runtime import reasons

from memgpt_memory.agents import _errors as errors
from memgpt_memory.agents._blocks import apply_edit, check_room
from memgpt_memory.agents._commands import (
    AddStep,
    AttachBlock,
    AttachSource,
    CancelTurn,
    Command,
    CountBytes,
    CreateAgent,
    DeleteAgent,
    DeleteBlock,
    DeleteNotes,
    DeleteToolServer,
    DetachBlock,
    DetachSource,
    EndTurn,
    ForgetMessages,
    InsertNotes,
    NoteTurn,
    PutToolServer,
    ResumeTurn,
    SetBlock,
    SetHeartbeats,
    StartTurn,
    UpdateSettings,
    notes_of,
)
from memgpt_memory.agents._heartbeats import HeartbeatEdit, heartbeat_record, heartbeats_etag
from memgpt_memory.agents._rewinds import Rewind
from memgpt_memory.agents._rows import AgentRow, Block, BlockRef, NoteInsertion, SharedRef, TurnState
from memgpt_memory.agents._shared_links import link_id, link_record, shared_as
from memgpt_memory.agents._state import TEXT_FIELDS, AgentState, block_text_name
from memgpt_memory.agents._tool_servers import with_server, without_server
from memgpt_memory.agents._turn_state import AgentTurn, EndedTurn, RunningTurn, turn_row_of
from memgpt_memory.blocks import BlockEdit, SharedBlock, SharedWrite, unknown_shared_block
from memgpt_memory.messages import NewMessage
from memgpt_memory.quotas import utc_day
from memgpt_memory.records import Record, TextRef, text_ids, text_records

MAX_ATTACHMENTS = 1_000
"""Most sources that one agent can search."""

_REMEMBERED_INSERTS = 8
"""Most requests that stored notes and are kept in the agent's own row; see `NoteInsertion`."""


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


def decide(
    state: AgentState,
    command: Command,
    passages: Sequence[str],
    time: int,
    shared: Mapping[str, SharedBlock] = MappingProxyType({}),
) -> Transition | None:
    """Decide what a command does.

    Args:
        state: The agent now.
        command: What to do.
        passages: The texts of the passages that the command's notes become.
        time: Microseconds since 1970.
        shared: The shared blocks that the command names, by id; deleted ones are missing.

    Returns:
        What to write, or None if the command changes nothing.

    Raises:
        ServiceError: The command cannot be done; see `_errors`.
    """
    if notes_of(command) and not passages:
        raise reasons.invalid_field("a note must contain more than white space", field="texts")
    draft = _Draft(state, time, shared)
    draft.passages = passages
    changed = _apply(command, draft)
    return draft.finish() if changed is not False else None


class _Draft:
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

    def drop_shared(self, reference: SharedRef) -> None:
        """Detach a shared block."""
        self.row.shared = [other for other in self.row.shared if other.block_id != reference.block_id]
        self._superseded.append(link_id(reference.block_id, self.before.id))

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


@singledispatch
def _apply(command: object, draft: _Draft) -> bool | None:
    """Apply a command to the draft; return False if it changes nothing."""
    raise TypeError(f"not a command: {command!r}")


@_apply.register
def _(command: CreateAgent, draft: _Draft) -> None:
    draft.row.turn_count = 0
    draft.row.text_bytes = draft.row.text_bytes or 0
    draft.edit_blocks(command.blocks, by_people=True)
    draft.add_messages(command.messages, "", 0)
    given: dict[str, Any] = {
        "system": command.system,
        "description": command.description,
        "summary": command.summary,
        "links": command.links,
        "rewinds": command.rewinds,
    }
    draft.set(**{name: value for name, value in given.items() if value})


@_apply.register
def _(command: UpdateSettings, draft: _Draft) -> None:
    if command.etag and command.etag != settings_etag(draft.row):
        raise errors.agent_changed(settings_etag(draft.row))
    for name, value in command.changes.items():
        setattr(draft.row, name, value)
    draft.set(**command.texts)
    draft.row.settings_version += 1


@_apply.register
def _(command: DeleteAgent, draft: _Draft) -> None:
    draft.row.deleting = True
    for reference in draft.row.shared:
        draft.drop_shared(reference)
    draft.beside = [command.journal]


@_apply.register
def _(command: SetBlock, draft: _Draft) -> None:
    draft.edit_blocks([command.edit], by_people=True)


@_apply.register
def _(command: AttachBlock, draft: _Draft) -> bool:
    for one in draft.row.shared:
        if one.block_id in command.gone:
            draft.drop_shared(one)
        elif one.block_id == command.block_id:
            if one.label == command.label:
                return False
            raise errors.attached_under_another_label(one.label)
    taken = {own.label for own in draft.row.blocks} | {one.label for one in draft.row.shared}
    if command.label in taken:
        raise errors.label_taken(command.label)
    check_room(draft.row)
    if command.block_id not in draft.shared:
        raise unknown_shared_block(command.block_id)
    draft.row.shared = [*draft.row.shared, SharedRef(label=command.label, block_id=command.block_id)]
    draft.records.append(link_record(command.block_id, draft.before.id, draft.row.tenant, draft.time))
    return True


@_apply.register
def _(command: DetachBlock, draft: _Draft) -> bool:
    found = [reference for reference in draft.row.shared if reference.block_id == command.block_id]
    for reference in found:
        draft.drop_shared(reference)
    return bool(found)


@_apply.register
def _(command: DeleteBlock, draft: _Draft) -> bool:
    attached = [reference for reference in draft.row.shared if reference.label == command.label]
    for shared in attached:
        draft.drop_shared(shared)
    found = [reference for reference in draft.row.blocks if reference.label == command.label]
    for reference in found:
        draft.drop_block(reference)
    return bool(found or attached)


@_apply.register
def _(command: InsertNotes, draft: _Draft) -> None:
    draft.tags = command.tags
    if command.request_key:
        insert = NoteInsertion(key=command.request_key, first=draft.row.next_note, count=len(draft.passages))
        draft.row.inserts = [*draft.row.inserts, insert][-_REMEMBERED_INSERTS:]


@_apply.register
def _(command: DeleteNotes, draft: _Draft) -> bool:
    dead = draft.before.dead_notes
    existing = {number for number in command.numbers if number < draft.row.next_note and number not in dead}
    if not existing:
        return False
    dead = dead.add(existing)
    draft.set(dead_notes=dead)
    draft.row.dead_count = len(dead)
    if draft.row.text_bytes is not None:
        draft.row.text_bytes = max(0, draft.row.text_bytes - command.freed)
    return True


@_apply.register
def _(command: CountBytes, draft: _Draft) -> bool:
    if draft.row.text_bytes is not None:
        return False
    draft.row.text_bytes = command.size
    return True


@_apply.register
def _(command: ForgetMessages, draft: _Draft) -> bool:
    forgotten, turn = draft.before.forgotten, draft.before.turn
    existing = {one for one in command.sequences if one < draft.row.message_count and one not in forgotten}
    if isinstance(turn, RunningTurn) and any(one >= turn.first_sequence for one in existing):
        raise errors.message_in_running_turn()
    draft.set(forgotten=forgotten.add(existing))
    if draft.row.text_bytes is not None:
        draft.row.text_bytes = max(0, draft.row.text_bytes - command.freed)
    return bool(existing)


@_apply.register
def _(command: AttachSource, draft: _Draft) -> bool:
    links = draft.before.links
    if any(link.source_id == command.link.source_id for link in links):
        return False
    kept = [link for link in links if link.source_id not in command.gone]
    if len(kept) >= MAX_ATTACHMENTS:
        raise errors.too_many_attachments(MAX_ATTACHMENTS)
    draft.set(links=[*kept, command.link])
    return True


@_apply.register
def _(command: DetachSource, draft: _Draft) -> bool:
    kept = [link for link in draft.before.links if link.source_id != command.source_id]
    draft.set(links=kept)
    return len(kept) < len(draft.before.links)


@_apply.register
def _(command: PutToolServer, draft: _Draft) -> None:
    draft.set(tools=with_server(draft.before.tools, command.server))


@_apply.register
def _(command: DeleteToolServer, draft: _Draft) -> bool:
    left = without_server(draft.before.tools, command.address)
    draft.set(tools=left)
    return len(left) < len(draft.before.tools)


@_apply.register
def _(command: SetHeartbeats, draft: _Draft) -> None:
    draft.set_heartbeats(command.edit)


@_apply.register
def _(command: StartTurn, draft: _Draft) -> None:
    start, turn, first = command.start, command.turn, draft.row.message_count
    draft.add_messages(start.messages, turn.turn_id, start.step)
    draft.records += command.records
    draft.index_turn(command.key, command.indexed)
    if start.rewind_from is not None:
        rewind = Rewind(start.rewind_from, first, turn.turn_id, turn.created)
        draft.set(rewinds=draft.before.rewinds.add(rewind))
    draft.row.epoch += 1
    running = RunningTurn(command.key, turn.turn_id, turn.request_id, first, draft.row.message_count, start.step)
    draft.set_turn(running.ended(TurnState.COMPLETED, "", draft.time) if start.completed else running)


@_apply.register
def _(command: NoteTurn, draft: _Draft) -> None:
    draft.records.append(command.record)
    draft.index_turn(command.record.id, command.indexed)


@_apply.register
def _(command: ResumeTurn, draft: _Draft) -> None:
    draft.row.epoch += 1


@_apply.register
def _(command: AddStep, draft: _Draft) -> None:
    turn, step, row = draft.before.turn_under(command.lease), command.step, draft.row
    if isinstance(turn, EndedTurn):
        raise errors.turn_has_ended(turn.state)
    if command.index != turn.steps + 1:
        raise errors.step_out_of_order(command.index, turn.steps + 1)
    if step.evict_before is not None:
        if not row.window_start <= step.evict_before <= row.message_count:
            raise errors.eviction_outside_window(row.window_start, row.message_count)
        row.window_start = step.evict_before
        draft.set(summary=step.summary)
    draft.edit_blocks(step.blocks, by_people=False)
    if step.heartbeats is not None:
        draft.set_heartbeats(step.heartbeats)
    draft.add_messages(step.messages, turn.turn_id, command.index)
    following = turn.with_step(command.index, row.message_count)
    draft.set_turn(following if step.outcome is None else following.ended(*step.outcome, draft.time))


@_apply.register
def _(command: EndTurn, draft: _Draft) -> bool:
    turn = draft.before.turn
    if not isinstance(turn, RunningTurn):
        return False
    if command.result is not None:
        draft.add_messages([command.result], turn.turn_id, turn.steps + 1)
        turn = turn.with_step(turn.steps + 1, draft.row.message_count)
    draft.set_turn(turn.ended(command.state, command.reason, draft.time))
    return True


@_apply.register
def _(command: CancelTurn, draft: _Draft) -> bool:
    turn = draft.before.turn
    if not isinstance(turn, RunningTurn) or turn.cancel:
        return False
    draft.set_turn(replace(turn, cancel=True))
    return True


def turn_pointer_id(agent_id: str, number: int) -> str:
    """Return the key of the row that names an agent's turn by its number."""
    return f"{agent_id}-t{number}"


def turn_pointer(state: AgentState, number: int, key: str) -> Record:
    """Return the row that names an agent's turn by its number; `key` is that of the turn's row."""
    return Record(turn_pointer_id(state.id, number), "turnkey", state.row.tenant, state.id, 0, key)


def settings_etag(row: AgentRow) -> str:
    """An etag that changes with every write of the settings."""
    return f"s{row.settings_version}"


def text_references(row: AgentRow) -> dict[str, TextRef]:
    """Return the text versions that the agent's row points to, by the names under which they are stored."""
    return {
        **{text.stored_name: getattr(row, field) for field, text in TEXT_FIELDS.items()},
        **{block_text_name(reference.label): reference.text for reference in row.blocks},
    }


def used_text_ids(state: AgentState) -> set[str]:
    """Return the keys of all texts that the agent's row points to."""
    references = text_references(state.row).items()
    return {id_ for name, reference in references for id_ in text_ids(state.id, name, reference)}
