"""What commands do to an agent's shared blocks, decided without a store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memgpt_memory.agents import (
    MAX_BLOCKS,
    AddStep,
    AgentRow,
    AgentState,
    AttachBlock,
    DeleteAgent,
    DeleteBlock,
    DetachBlock,
    Lease,
    SetBlock,
    StartTurn,
    StepCommit,
    Transition,
    TurnRow,
    TurnStart,
    TurnState,
    decide,
)
from memgpt_memory.blocks import BlockEdit, SharedBlock, SharedBlockRow
from memgpt_memory.records import Record
from memgpt_runtime.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound

TIME = 1_000
NEW = AgentState("agent_1", AgentRow(tenant="t", name="n", created=1, updated=1))
ROW = SharedBlockRow(tenant="t", name="team", created=1, updated=1)
BLOCK = SharedBlock("block_1", ROW, "").edited(BlockEdit("team", "old"), 2, by_people=True).block
SHARED = {"block_1": BLOCK}


def after(state: AgentState, command: object, shared: dict[str, SharedBlock] | None = None) -> Transition:
    transition = decide(state, command, (), TIME, SHARED if shared is None else shared)  # type: ignore[arg-type]
    assert transition is not None
    return transition


def attached() -> AgentState:
    state = after(NEW, AttachBlock("block_1", "team")).state
    row = TurnRow(turn_id="t1", agent_id=state.id, request_id="r", fingerprint="", state=TurnState.RUNNING, created=1)
    return after(state, StartTurn("key", row, TurnStart(), [])).state


def step(*edits: BlockEdit) -> AddStep:
    return AddStep(Lease("t1", 1), 1, StepCommit(blocks=edits))


def row_of(records: object) -> SharedBlockRow:
    rows = [one for one in records if isinstance(one, Record) and one.kind == "shared_block"]  # type: ignore[attr-defined]
    assert len(rows) == 1
    return SharedBlockRow.model_validate_json(rows[0].body)


def test_a_step_writes_a_pending_value_that_counts_by_its_mark() -> None:
    transition = after(attached(), step(BlockEdit("team", "new", BLOCK.etag)))
    stored, mark = row_of(transition.records), transition.state.row.shared[0].mark
    assert stored.pending is not None
    assert (stored.pending.agent_id, stored.pending.mark) == ("agent_1", mark)
    assert mark > 0
    assert stored.settled(committed=False).text == BLOCK.row.text
    written = transition.shared[0].block
    assert stored.settled(committed=True) == written.row
    assert (written.value, written.writer) == ("new", "agent_1")
    assert [(block.label, block.value, block.shared_id) for block in transition.touched] == [("team", "new", "block_1")]
    assert set(BLOCK.text_ids) <= set(transition.superseded)


def test_two_edits_in_one_step_leave_the_last_value_over_the_first_state() -> None:
    transition = after(attached(), step(BlockEdit("team", "one"), BlockEdit("team", "two")))
    stored = row_of(transition.records)
    assert stored.text == BLOCK.row.text
    assert stored.pending is not None
    assert [one.body for one in transition.records if one.kind == "text"] == ["two"]


def test_a_mark_is_never_that_of_a_former_step() -> None:
    first = after(attached(), step(BlockEdit("team", "new")))
    shared = {"block_1": first.shared[0].block}
    second = after(first.state, AddStep(Lease("t1", 1), 2, StepCommit(blocks=[BlockEdit("team", "newer")])), shared)
    assert second.state.row.shared[0].mark > first.state.row.shared[0].mark
    third = after(second.state, SetBlock(BlockEdit("own", "x")))
    assert third.state.row.shared == second.state.row.shared


def test_rules_of_edits_hold_for_shared_blocks_too() -> None:
    state = attached()
    with pytest.raises(Aborted):
        after(state, step(BlockEdit("team", "new", "v9-9")))
    with pytest.raises(InvalidArgument):
        after(state, step(BlockEdit("team", "x" * 2_001)))
    frozen = replace(BLOCK, row=BLOCK.row.model_copy(update={"read_only": True}))
    with pytest.raises(FailedPrecondition):
        after(state, step(BlockEdit("team", "new")), {"block_1": frozen})


def test_a_deleted_block_is_unknown_to_a_step_and_replaced_by_a_person() -> None:
    state = attached()
    with pytest.raises(NotFound):
        after(state, step(BlockEdit("team", "new")), {})
    mine = after(state, SetBlock(BlockEdit("team", "mine")), {}).state
    assert mine.row.shared == []
    assert mine.blocks == {"team": "mine"}


def test_attaching_obeys_labels_and_numbers() -> None:
    state = attached()
    assert decide(state, AttachBlock("block_1", "team"), (), TIME, SHARED) is None
    with pytest.raises(FailedPrecondition):
        after(state, AttachBlock("block_1", "other"))
    two = {**SHARED, "block_2": replace(BLOCK, id="block_2")}
    with pytest.raises(AlreadyExists):
        after(state, AttachBlock("block_2", "team"), two)
    with pytest.raises(NotFound):
        after(state, AttachBlock("block_3", "third"), two)
    own = after(NEW, SetBlock(BlockEdit("team", "mine"))).state
    with pytest.raises(AlreadyExists):
        after(own, AttachBlock("block_1", "team"))
    full = NEW
    for number in range(MAX_BLOCKS):
        full = after(full, SetBlock(BlockEdit(f"b{number}", ""))).state
    with pytest.raises(FailedPrecondition):
        after(full, AttachBlock("block_1", "team"))
    for number in range(MAX_BLOCKS - 1):
        state = after(state, SetBlock(BlockEdit(f"b{number}", ""))).state
    with pytest.raises(FailedPrecondition):
        after(state, SetBlock(BlockEdit("more", "")))


def test_a_new_attachment_drops_those_of_deleted_blocks() -> None:
    other = {"block_2": replace(BLOCK, id="block_2")}
    state = after(attached(), AttachBlock("block_2", "team", {"block_1"}), other).state
    assert [one.block_id for one in state.row.shared] == ["block_2"]


def test_detaching_and_deleting_leave_no_reference() -> None:
    state = attached()
    for command in (DetachBlock("block_1"), DeleteBlock("team"), DeleteAgent(Record("j", "store", "", "", 0, ""))):
        transition = after(state, command)
        assert transition.state.row.shared == []
        assert len(transition.superseded) == 1
    detached = after(state, DetachBlock("block_1")).state
    assert decide(detached, DetachBlock("block_1"), (), TIME, SHARED) is None
