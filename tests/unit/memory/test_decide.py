"""What commands do to an agent, decided without a store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memgpt_memory.agents import (
    MAX_ATTACHMENTS,
    MAX_BLOCKS,
    AddStep,
    AgentRow,
    AgentState,
    Attachment,
    AttachSource,
    CancelTurn,
    Command,
    CreateAgent,
    DeleteBlock,
    DeleteNotes,
    DetachSource,
    EndedTurn,
    EndTurn,
    ForgetMessages,
    InsertNotes,
    Lease,
    NoTurn,
    ReleaseTurn,
    ResumeTurn,
    RunningTurn,
    SetBlock,
    StartTurn,
    StepCommit,
    Transition,
    TurnRow,
    TurnStart,
    TurnState,
    UpdateSettings,
    decide,
)
from memgpt_memory.blocks import BlockEdit
from memgpt_memory.messages import NewMessage, Role
from memgpt_runtime.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted

TIME = 1_000
NEW = AgentState("agent_1", AgentRow(tenant="t", name="n", created=1, updated=1))
HELLO = NewMessage(Role.USER, "hello")


def after(state: AgentState, command: Command, *passages: str, time: int = TIME) -> AgentState:
    return changed(state, command, *passages, time=time).state


def changed(state: AgentState, command: Command, *passages: str, time: int = TIME) -> Transition:
    transition = decide(state, command, passages, time)
    assert transition is not None
    return transition


def started(state: AgentState, start: TurnStart = TurnStart([HELLO])) -> AgentState:  # noqa: B008
    row = TurnRow(
        turn_id="turn_1", agent_id=state.id, request_id="r", fingerprint="", state=TurnState.RUNNING, created=TIME
    )
    return after(state, StartTurn("key", row, start, []))


def lease_of(state: AgentState) -> Lease:
    assert isinstance(state.turn, RunningTurn)
    return Lease(state.turn.turn_id, state.row.epoch)


def test_a_decision_changes_nothing_of_the_state_before() -> None:
    state = after(NEW, CreateAgent(system="be kind", blocks=[BlockEdit("human", "Ada")], messages=[HELLO]))
    before = state.row.model_dump_json(), dict(state.blocks)
    after(state, SetBlock(BlockEdit("human", "Grace")))
    after(started(state), AddStep(Lease("turn_1", 1), 1, StepCommit([HELLO], [BlockEdit("human", "Joan")])))
    assert (state.row.model_dump_json(), dict(state.blocks)) == before


def test_every_text_gets_the_version_of_its_commit_and_the_former_rows_are_superseded() -> None:
    first = changed(NEW, CreateAgent(system="a", blocks=[BlockEdit("human", "Ada")]))
    assert {record.body for record in first.records} == {"a", "Ada"}
    assert first.superseded == []
    second = changed(first.state, UpdateSettings({}, {"system": "b"}))
    assert second.state.row.system.version == first.state.row.system.version + 1
    assert [record.body for record in second.records] == ["b"]
    assert len(second.superseded) == 1
    assert second.superseded[0] in {record.id for record in first.records}


def test_settings_are_checked_by_their_etag() -> None:
    etag = f"s{NEW.row.settings_version}"
    state = after(NEW, UpdateSettings({"name": "other"}, etag=etag))
    assert state.row.name == "other"
    with pytest.raises(Aborted):
        decide(state, UpdateSettings({"name": "third"}, etag=etag), (), TIME)


def test_blocks_are_made_by_people_only_and_up_to_a_number() -> None:
    state = NEW
    for number in range(MAX_BLOCKS):
        state = after(state, SetBlock(BlockEdit(f"b{number}", "x")))
    with pytest.raises(FailedPrecondition):
        decide(state, SetBlock(BlockEdit("one more", "x")), (), TIME)
    running = started(NEW)
    with pytest.raises(NotFound):
        decide(running, AddStep(lease_of(running), 1, StepCommit(blocks=[BlockEdit("mine", "x")])), (), TIME)


def test_a_block_refuses_a_long_value_a_stale_etag_and_an_agent_when_it_is_read_only() -> None:
    state = after(NEW, SetBlock(BlockEdit("human", "Ada", limit=5, read_only=True)))
    with pytest.raises(InvalidArgument):
        decide(state, SetBlock(BlockEdit("human", "Adaline")), (), TIME)
    block = next(block for block in state.all_blocks() if block.label == "human")
    later = after(state, SetBlock(BlockEdit("human", "Joan", block.etag)))
    with pytest.raises(Aborted):
        decide(later, SetBlock(BlockEdit("human", "Ada", block.etag)), (), TIME)
    running = started(later)
    with pytest.raises(FailedPrecondition):
        decide(running, AddStep(lease_of(running), 1, StepCommit(blocks=[BlockEdit("human", "x")])), (), TIME)


def test_what_changes_nothing_is_not_written() -> None:
    state = after(NEW, AttachSource(Attachment(source_id="s", stamp=1, attached=1), frozenset()))
    for command in (
        DeleteBlock("absent"),
        DeleteNotes({0}),
        DetachSource("absent"),
        AttachSource(Attachment(source_id="s", stamp=2, attached=2), frozenset()),
        CancelTurn(),
        EndTurn(TurnState.CANCELLED, ""),
    ):
        assert decide(state, command, (), TIME) is None


def test_attaching_drops_links_to_deleted_sources_and_stops_at_the_maximum() -> None:
    links = [Attachment(source_id=f"s{n}", stamp=n, attached=n) for n in range(MAX_ATTACHMENTS)]
    full = replace(NEW, links=links)
    new = Attachment(source_id="new", stamp=9, attached=9)
    with pytest.raises(ResourceExhausted):
        decide(full, AttachSource(new, frozenset()), (), TIME)
    state = after(full, AttachSource(new, frozenset({"s0"})))
    assert [link.source_id for link in state.links] == [*[f"s{n}" for n in range(1, MAX_ATTACHMENTS)], "new"]


def test_notes_are_numbered_counted_and_remembered_by_their_request() -> None:
    state = after(NEW, InsertNotes(["long"], request_key="q"), "part one", "part two")
    assert (state.row.next_note, state.note_count) == (2, 2)
    assert [(one.key, one.first, one.count) for one in state.row.inserts] == [("q", 0, 2)]
    state = after(state, DeleteNotes({0, 5}))
    assert (state.row.next_note, state.note_count) == (2, 1)
    with pytest.raises(InvalidArgument):
        decide(state, InsertNotes([" "]), (), TIME)


def test_a_turn_goes_from_none_to_running_to_ended() -> None:
    assert isinstance(NEW.turn, NoTurn)
    running = started(NEW)
    assert isinstance(running.turn, RunningTurn)
    assert (running.turn.first_sequence, running.turn.end_sequence, running.row.epoch) == (0, 1, 1)
    step = AddStep(lease_of(running), 1, StepCommit([HELLO], outcome=(TurnState.COMPLETED, "")))
    ended = after(running, step)
    assert isinstance(ended.turn, EndedTurn)
    assert (ended.turn.state, ended.turn.steps, ended.turn.end_sequence) == (TurnState.COMPLETED, 1, 2)
    with pytest.raises(FailedPrecondition, match="ended"):
        decide(ended, AddStep(Lease("turn_1", 1), 2, StepCommit([HELLO])), (), TIME)


def test_steps_come_in_order_and_under_the_latest_lease() -> None:
    running = started(NEW)
    with pytest.raises(FailedPrecondition, match="step 1"):
        decide(running, AddStep(lease_of(running), 2, StepCommit([HELLO])), (), TIME)
    taken_over = after(running, ResumeTurn())
    with pytest.raises(Aborted):
        decide(taken_over, AddStep(lease_of(running), 1, StepCommit([HELLO])), (), TIME)
    assert after(taken_over, AddStep(lease_of(taken_over), 1, StepCommit([HELLO]))).row.message_count == 2


def test_resuming_a_released_turn_or_adding_a_step_takes_its_lease_again() -> None:
    running = started(NEW)
    released = after(running, ReleaseTurn())
    assert isinstance(released.turn, RunningTurn)
    assert released.turn.released
    assert decide(released, ReleaseTurn(), (), TIME) is None
    for command in (ResumeTurn(), AddStep(lease_of(released), 1, StepCommit([HELLO]))):
        turn = after(released, command).turn
        assert isinstance(turn, RunningTurn)
        assert not turn.released
    assert decide(NEW, ReleaseTurn(), (), TIME) is None


def test_an_eviction_ends_within_the_window() -> None:
    running = started(NEW)
    for bound in (-1, 2):
        with pytest.raises(InvalidArgument):
            decide(running, AddStep(lease_of(running), 1, StepCommit([HELLO], evict_before=bound)), (), TIME)
    state = after(running, AddStep(lease_of(running), 1, StepCommit([HELLO], evict_before=1, summary="so far")))
    assert (state.window, state.summary) == ([1], "so far")


def test_a_start_that_takes_back_and_completes_is_a_turn_of_its_own() -> None:
    state = after(NEW, CreateAgent(messages=[HELLO, HELLO]))
    state = started(state, TurnStart([HELLO], rewind_from=1, completed=True))
    assert state.window == [0, 2]
    assert isinstance(state.turn, EndedTurn)
    assert state.turn.steps == 1


def test_a_turn_that_is_ended_gives_its_open_call_a_result() -> None:
    running = started(NEW)
    cancelled = after(running, CancelTurn())
    assert isinstance(cancelled.turn, RunningTurn)
    assert cancelled.turn.cancel
    result = NewMessage(Role.TOOL, "cancelled", call_id="c")
    ended = after(cancelled, EndTurn(TurnState.CANCELLED, "asked to", result))
    assert isinstance(ended.turn, EndedTurn)
    assert (ended.turn.steps, ended.turn.end_sequence, ended.turn.reason) == (1, 2, "asked to")


def test_only_what_archival_memory_holds_moves_its_snapshots() -> None:
    running = started(NEW)
    assert not changed(running, AddStep(lease_of(running), 1, StepCommit([HELLO]))).reorders
    assert changed(running, AddStep(lease_of(running), 1, StepCommit(notes=["n"])), "n").reorders
    assert changed(running, AttachSource(Attachment(source_id="s", stamp=1, attached=1), frozenset())).reorders


def test_messages_are_forgotten_once_and_not_those_of_the_running_turn() -> None:
    state = after(NEW, CreateAgent(messages=[HELLO, HELLO, HELLO]))
    state = after(state, ForgetMessages({0, 7}))
    assert (state.window, state.message_count, state.row.message_count) == ([1, 2], 2, 3)
    assert decide(state, ForgetMessages({0, 9}), (), TIME) is None
    running = started(state)
    with pytest.raises(FailedPrecondition):
        decide(running, ForgetMessages({1, 3}), (), TIME)
    assert after(running, ForgetMessages({1})).window == [2, 3]
    ended = after(running, EndTurn(TurnState.COMPLETED, ""))
    assert after(ended, ForgetMessages({3})).window == [1, 2]
