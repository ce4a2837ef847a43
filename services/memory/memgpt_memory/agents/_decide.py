"""The effect of a command on an agent: a pure function from a state and a command to the next state and its writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import singledispatch
from types import MappingProxyType
from typing import Any

from memgpt_runtime import reasons

from memgpt_memory.agents import _errors as errors
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
    Expire,
    ForgetMessages,
    FreeBytes,
    InsertNotes,
    NoteTurn,
    PutToolServer,
    ReleaseTurn,
    ResumeTurn,
    SetBlock,
    SetHeartbeats,
    StartTurn,
    UpdateSettings,
    notes_of,
)
from memgpt_memory.agents._draft import Draft, Transition
from memgpt_memory.agents._heartbeats import HeartbeatEdit
from memgpt_memory.agents._lifetimes import lifetime_records
from memgpt_memory.agents._ranges import Ranges
from memgpt_memory.agents._rewinds import Rewind
from memgpt_memory.agents._rows import NoteInsertion, SharedRef, TurnState
from memgpt_memory.agents._settings import settings_etag
from memgpt_memory.agents._state import AgentState
from memgpt_memory.agents._tool_servers import check_size, with_server, without_server
from memgpt_memory.agents._turn_state import EndedTurn, RunningTurn
from memgpt_memory.blocks import SharedBlock

MAX_ATTACHMENTS = 1_000
"""Maximum number of sources that one agent can search."""

_REMEMBERED_INSERTS = 8
"""Maximum number of requests that stored notes and are kept in the agent's own row; see `NoteInsertion`."""


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
    draft = Draft(state, time, shared)
    draft.passages = passages
    changed = _apply(command, draft)
    return draft.finish() if changed is not False else None


@singledispatch
def _apply(command: object, draft: Draft) -> bool | None:
    """Apply a command to the draft; return False if it changes nothing."""
    raise TypeError(f"not a command: {command!r}")


@_apply.register
def _(command: CreateAgent, draft: Draft) -> None:
    draft.row.turn_count = 0
    draft.row.text_bytes = draft.row.text_bytes or 0
    draft.records += lifetime_records(draft.before.id, draft.row, draft.time)
    draft.edit_blocks(command.blocks, by_people=True)
    for reference in command.shared:
        draft.attach_shared(reference)
    draft.add_messages(command.messages, "", 0)
    given: dict[str, Any] = {
        "system": command.system,
        "description": command.description,
        "summary": command.summary,
        "links": command.links,
        "rewinds": command.rewinds,
        "tools": command.tools,
    }
    draft.set(**{name: value for name, value in given.items() if value})
    if command.heartbeats:
        draft.set_heartbeats(HeartbeatEdit(command.heartbeats))


@_apply.register
def _(command: UpdateSettings, draft: Draft) -> None:
    if command.etag and command.etag != settings_etag(draft.row):
        raise errors.agent_changed(settings_etag(draft.row))
    for name, value in command.changes.items():
        setattr(draft.row, name, value)
    draft.set(**command.texts)
    if not command.changes.keys().isdisjoint(("message_ttl", "note_ttl")):
        draft.records += lifetime_records(draft.before.id, draft.row, draft.time)
    draft.row.settings_version += 1


@_apply.register
def _(command: DeleteAgent, draft: Draft) -> None:
    draft.row.deleting = True
    for reference in draft.row.shared:
        draft.drop_shared(reference)
    draft.beside = [command.journal, *command.spent]


@_apply.register
def _(command: SetBlock, draft: Draft) -> None:
    draft.drop_gone(command.gone)
    draft.edit_blocks([command.edit], by_people=True)


@_apply.register
def _(command: AttachBlock, draft: Draft) -> bool:
    draft.drop_gone(command.gone)
    for one in draft.row.shared:
        if one.block_id == command.block_id:
            if one.label == command.label:
                return False
            raise errors.attached_under_another_label(one.label)
    taken = {own.label for own in draft.row.blocks} | {one.label for one in draft.row.shared}
    if command.label in taken:
        raise errors.label_taken(command.label)
    draft.attach_shared(SharedRef(label=command.label, block_id=command.block_id))
    return True


@_apply.register
def _(command: DetachBlock, draft: Draft) -> bool:
    found = [reference for reference in draft.row.shared if reference.block_id == command.block_id]
    for reference in found:
        draft.drop_shared(reference)
    return bool(found)


@_apply.register
def _(command: DeleteBlock, draft: Draft) -> bool:
    attached = [reference for reference in draft.row.shared if reference.label == command.label]
    for shared in attached:
        draft.drop_shared(shared)
    found = [reference for reference in draft.row.blocks if reference.label == command.label]
    for reference in found:
        draft.drop_block(reference)
    return bool(found or attached)


@_apply.register
def _(command: InsertNotes, draft: Draft) -> None:
    draft.tags = command.tags
    if command.request_key:
        insert = NoteInsertion(key=command.request_key, first=draft.row.next_note, count=len(draft.passages))
        draft.row.inserts = [*draft.row.inserts, insert][-_REMEMBERED_INSERTS:]


@_apply.register
def _(command: DeleteNotes, draft: Draft) -> bool:
    dead = draft.before.dead_notes
    existing = {number for number in command.numbers if number < draft.row.next_note and number not in dead}
    if not existing:
        return False
    draft.delete_notes(existing)
    draft.free(command.freed)
    return True


@_apply.register
def _(command: CountBytes, draft: Draft) -> bool:
    if draft.row.text_bytes is not None:
        return False
    draft.row.text_bytes = command.size
    draft.set(unfreed_messages=Ranges(), unfreed_notes=Ranges())  # not counted
    return True


@_apply.register
def _(command: ForgetMessages, draft: Draft) -> bool:
    forgotten, turn = draft.before.forgotten, draft.before.turn
    existing = {one for one in command.sequences if one < draft.row.message_count and one not in forgotten}
    if isinstance(turn, RunningTurn) and any(one >= turn.first_sequence for one in existing):
        raise errors.message_in_running_turn()
    unfreed = draft.before.unfreed_messages
    left = unfreed.minus(Ranges().add(command.sequences))  # their bytes are among those freed
    draft.set(forgotten=forgotten.add(existing), unfreed_messages=left)
    draft.free(command.freed)
    return bool(existing) or len(left) < len(unfreed)


@_apply.register
def _(command: Expire, draft: Draft) -> None:
    before = draft.before
    if command.messages:
        new = Ranges().add(command.messages).minus(before.forgotten)
        draft.set(
            forgotten=before.forgotten.union(new.pieces), unfreed_messages=before.unfreed_messages.union(new.pieces)
        )
    if command.notes:
        new = Ranges().add(command.notes).minus(before.dead_notes)
        draft.delete_notes(command.notes)
        draft.set(unfreed_notes=before.unfreed_notes.union(new.pieces))


@_apply.register
def _(command: FreeBytes, draft: Draft) -> None:
    if command.messages:
        draft.set(unfreed_messages=draft.before.unfreed_messages.minus(Ranges().add(command.messages)))
    if command.notes:
        draft.set(unfreed_notes=draft.before.unfreed_notes.minus(Ranges().add(command.notes)))
    draft.free(command.freed)


@_apply.register
def _(command: AttachSource, draft: Draft) -> bool:
    links = draft.before.links
    if any(link.source_id == command.link.source_id for link in links):
        return False
    kept = [link for link in links if link.source_id not in command.gone]
    if len(kept) >= MAX_ATTACHMENTS:
        raise errors.too_many_attachments(MAX_ATTACHMENTS)
    draft.set(links=[*kept, command.link])
    return True


@_apply.register
def _(command: DetachSource, draft: Draft) -> bool:
    kept = [link for link in draft.before.links if link.source_id != command.source_id]
    draft.set(links=kept)
    return len(kept) < len(draft.before.links)


@_apply.register
def _(command: PutToolServer, draft: Draft) -> None:
    servers = with_server(draft.before.tools, command.server)
    check_size(servers)
    draft.set(tools=servers)


@_apply.register
def _(command: DeleteToolServer, draft: Draft) -> bool:
    left = without_server(draft.before.tools, command.address)
    draft.set(tools=left)
    return len(left) < len(draft.before.tools)


@_apply.register
def _(command: SetHeartbeats, draft: Draft) -> None:
    draft.set_heartbeats(command.edit)


@_apply.register
def _(command: StartTurn, draft: Draft) -> None:
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
def _(command: NoteTurn, draft: Draft) -> None:
    draft.records.append(command.record)
    draft.index_turn(command.record.id, command.indexed)


@_apply.register
def _(command: ResumeTurn, draft: Draft) -> None:
    draft.row.epoch += 1
    turn = draft.before.turn
    if isinstance(turn, RunningTurn):
        draft.set_turn(replace(turn, released=False))


@_apply.register
def _(command: ReleaseTurn, draft: Draft) -> bool:
    turn = draft.before.turn
    if not isinstance(turn, RunningTurn) or turn.released:
        return False
    draft.set_turn(replace(turn, released=True))
    return True


@_apply.register
def _(command: AddStep, draft: Draft) -> None:
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
def _(command: EndTurn, draft: Draft) -> bool:
    turn = draft.before.turn
    if not isinstance(turn, RunningTurn):
        return False
    if command.result is not None:
        draft.add_messages([command.result], turn.turn_id, turn.steps + 1)
        turn = turn.with_step(turn.steps + 1, draft.row.message_count)
    draft.set_turn(turn.ended(command.state, command.reason, draft.time))
    return True


@_apply.register
def _(command: CancelTurn, draft: Draft) -> bool:
    turn = draft.before.turn
    if not isinstance(turn, RunningTurn) or turn.cancel:
        return False
    draft.set_turn(replace(turn, cancel=True))
    return True
