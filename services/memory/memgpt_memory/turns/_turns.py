"""Turns: one at a time per agent, in order of arrival, under a lease with a fencing epoch.

The agent's row holds the turn that runs, or ran last; a row per request holds the ended ones, so that a request is
known for as long as its agent lives. A turn is found by the tenant and the request's id.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby, takewhile

from memgpt_runtime.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
)
from memgpt_runtime.ids import new_id

from memgpt_memory.agents import AgentRow, Agents, Change, CurrentTurn, LiveAgent, Rewind, Ticket, TurnRow, TurnState
from memgpt_memory.clock import now
from memgpt_memory.messages import Message, NewMessage, Role
from memgpt_memory.paging import Page, list_page
from memgpt_memory.records import Record, Records, key_of
from memgpt_memory.turns._edits import Edit, TurnStart
from memgpt_memory.turns._model import StepCommit

MAX_QUEUED = 64
"""Most turns that wait for one agent."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write for a turn; `expires` in microseconds since 1970, 0 in requests."""

    turn_id: str
    epoch: int
    expires: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """A turn that may run under `lease`, or without one has ended or is held by another."""

    turn: TurnRow
    lease: Lease | None = None
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A committed step."""

    index: int
    messages: list[Message]


class Turns:
    """The turns of every agent."""

    def __init__(self, records: Records, agents: Agents) -> None:
        """Keeps turns among `records`."""
        self._records = records
        self._agents = agents
        self._commits = agents.commits

    async def begin(
        self,
        live: LiveAgent,
        request_id: str,
        *,
        fingerprint: bytes,
        options: bytes,
        opening: TurnStart | Edit | None,
        no_wait: bool,
        queue_timeout: float | None = None,
    ) -> AsyncGenerator[int | Grant, None]:
        """Yields the number of turns ahead whenever it changes, then one grant.

        A turn that was left behind is granted first, to be finished; but one that begins by an edit ends it.

        Raises:
            DeadlineExceeded: Others are ahead for longer than `queue_timeout` seconds.
            FailedPrecondition: There is nothing to edit.
            InvalidArgument: The request's id belongs to another agent or input.
            NotFound: The turn does not exist and no opening is given.
            ResourceExhausted: Too many turns wait.
        """
        tenant = live.row.tenant
        key = key_of("turn", tenant, request_id)
        epoch = live.row.epoch
        saved = await self._known(live, key, request_id, fingerprint)
        if saved is not None and saved.state.ended:
            yield Grant(saved)
            return
        unknown_at = epoch if saved is None else None
        if saved is None and opening is None:
            raise _unknown(request_id)
        ticket = next((one for one in live.queue if one.key == key and one.kept_for), None)
        if ticket is None and len(live.queue) >= MAX_QUEUED:
            raise ResourceExhausted(
                Reason.OVERLOADED, f"{MAX_QUEUED} turns wait for this agent already; try again later.", retry_after=5
            )
        if ticket is None:
            ticket = Ticket(key, fingerprint)
            live.queue.append(ticket)
        ticket.kept_for = 0
        until = None if queue_timeout is None else time.monotonic() + queue_timeout
        told = -1
        try:
            while True:
                if live.row.deleting:
                    await self._agents.get(tenant, live.id)  # raises
                grant = await self._try(live, ticket, request_id, fingerprint, options, opening, no_wait, unknown_at)
                unknown_at = None  # it waits
                if grant is not None:
                    if grant.lease is not None and grant.turn.request_id != request_id:
                        ticket.kept_for = grant.lease.epoch
                    yield grant
                    return
                left = None if until is None or self._begun(live, key) else until - time.monotonic()
                if left is not None and left <= 0:
                    raise DeadlineExceeded(
                        Reason.OUT_OF_TIME,
                        f"The agent's other turns took longer than the {queue_timeout:g} s that this one waits: it has "
                        "not begun. Send it again.",
                        metadata={"limit_seconds": f"{queue_timeout:g}"},
                    )
                ahead = _ahead(live, key)
                if ahead != told:
                    told = ahead
                    yield ahead
                # Somebody who waits is waited for; else a lease may run out, and with it a place that was kept.
                head = live.head()
                waits = live.running is None and head is not None and head is not ticket and not head.kept_for
                lease = None if waits else max(0.01, live.lease_ends - time.monotonic())
                await live.changed(min((time_ for time_ in (left, lease) if time_ is not None), default=None))
        finally:
            if not ticket.kept_for:
                live.queue.remove(ticket)
            live.notify()

    async def edit(self, live: LiveAgent, request_id: str, fingerprint: bytes, edit: Edit) -> TurnRow:
        """Waits for the turn's time, does the edit in one commit, and answers the turn, which has ended.

        Raises:
            FailedPrecondition: There is nothing to edit, or the turn was cancelled while it waited.
            InvalidArgument: The request's id belongs to another one.
            ResourceExhausted: Too many turns wait.
        """
        events = self.begin(live, request_id, fingerprint=fingerprint, options=b"", opening=edit, no_wait=False)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Grant):
                    if event.turn.state is not TurnState.COMPLETED:
                        raise FailedPrecondition(
                            Reason.WRONG_STATE, "The request was cancelled while it waited: use a new id to repeat it."
                        )
                    return event.turn
        raise AssertionError("unreachable: the last event is a grant")

    async def renew(self, live: LiveAgent, lease: Lease) -> tuple[Lease, bool]:
        """Keeps a lease; answers it with its new end, and whether the turn is to be cancelled.

        Raises:
            Aborted: It has passed to another, or the turn has ended.
        """
        turn = _held(live, lease)
        if turn.state.ended:
            raise _lost()
        live.keep_lease(self._agents.lease_seconds)
        return self._lease(live, turn), turn.cancel

    async def cancelled(self, live: LiveAgent, lease: Lease) -> bool:
        """Waits until the turn of a lease is to be cancelled; False when it has ended or passed to another before."""
        while not live.row.deleting:
            turn = live.row.turn
            if turn is None or turn.state.ended or turn.turn_id != lease.turn_id or live.row.epoch != lease.epoch:
                return False
            if turn.cancel:
                return True
            await live.changed()
        return False

    async def commit(self, live: LiveAgent, lease: Lease, index: int, step: StepCommit) -> Step:
        """Commits a step, or answers it as it was committed before.

        Raises:
            Aborted: The lease has passed to another, or a block has changed.
            FailedPrecondition: The step is not the next one, or the turn has ended.
        """
        async with live.lock:
            await self._commits.settle(live)
            turn = _held(live, lease)
            if index <= turn.steps:
                return (await self._steps(live, turn, index - 1, index))[0]
            if turn.state.ended:
                raise FailedPrecondition(Reason.WRONG_STATE, f"The turn has ended ({turn.state}): begin another one.")
            if index != turn.steps + 1:
                raise FailedPrecondition(
                    Reason.STEP_OUT_OF_ORDER,
                    f"Step {index} is not the next one: commit step {turn.steps + 1}.",
                    metadata={"next_step": turn.steps + 1},
                )
            if step.evict_before is not None and not (
                live.row.window_start <= step.evict_before <= live.row.message_count
            ):
                raise InvalidArgument(
                    Reason.INVALID_FIELD,
                    f"eviction.before_sequence must lie within the window: from {live.row.window_start} to "
                    f"{live.row.message_count}.",
                    field="eviction.before_sequence",
                )

            def edit(row: AgentRow, time_: int) -> None:
                assert row.turn is not None  # noqa: S101 - held
                row.turn.steps = index
                row.turn.end_sequence = row.message_count
                if step.evict_before is not None:
                    row.window_start = step.evict_before
                if step.outcome is not None:
                    _end(row.turn, *step.outcome, time_)

            committed = await self._commits.commit(
                live,
                Change(
                    messages=step.messages,
                    turn_id=turn.turn_id,
                    step=index,
                    blocks=step.blocks,
                    notes=step.notes,
                    texts={} if step.evict_before is None else {"summary": step.summary},
                    edit=edit,
                ),
            )
            live.keep_lease(self._agents.lease_seconds)
        return Step(index, committed.messages)

    async def end(self, live: LiveAgent, lease: Lease, state: TurnState, reason: str, call_result: str = "") -> TurnRow:
        """Ends a turn without a step; one that ended already is answered as it ended.

        Args:
            live: The agent.
            lease: The turn's.
            state: How it ends.
            reason: Why.
            call_result: Becomes the result of a call that has none yet.

        Raises:
            Aborted: The lease has passed to another.
        """
        async with live.lock:
            await self._commits.settle(live)
            if not _held(live, lease).state.ended:
                await self._end_now(live, state, reason, call_result)
        return await self._current(live)

    def release(self, live: LiveAgent, lease: Lease) -> None:
        """Gives a lease back; one that has passed on or ended is left alone."""
        turn = live.running
        if turn is not None and turn.turn_id == lease.turn_id and live.row.epoch == lease.epoch:
            live.lease_ends = 0.0
            live.notify()

    async def cancel(self, live: LiveAgent, request_id: str, call_result: str = "") -> TurnRow:
        """Asks for a turn to be cancelled; answers it as it is now. `call_result` as for `end`.

        Raises:
            NotFound: There is no such turn.
        """
        key = key_of("turn", live.row.tenant, request_id)
        async with live.lock:
            await self._commits.settle(live)
            self._commits.check_exists(live)
            running = live.running
            if running is not None and running.key == key:
                if not live.leased:
                    await self._end_now(live, TurnState.CANCELLED, "cancelled on request", call_result)
                elif not running.cancel:
                    await self._commits.commit(live, Change(edit=_ask_to_cancel))
            waiting = [ticket for ticket in live.queue if ticket.key == key]
            turn = await self._saved(live, key)
            if turn is None and waiting:
                turn = await self._cancel_queued(live, waiting[0], request_id)
            for ticket in waiting:
                ticket.cancelled = True
        live.notify()
        if turn is None:
            raise _unknown(request_id)
        return turn

    async def read(
        self, live: LiveAgent, request_id: str, after_step: int, *, follow: bool
    ) -> AsyncIterator[Step | TurnRow]:
        """Yields the committed steps after `after_step`, and more as they come, then the turn.

        Raises:
            NotFound: There is no such turn.
        """
        key = key_of("turn", live.row.tenant, request_id)
        while True:
            turn = await self._saved(live, key) or self._queued(live, key, request_id)
            if turn is None or turn.agent_id != live.id:
                raise _unknown(request_id)
            if turn.state is not TurnState.QUEUED:
                for step in await self._steps(live, turn, after_step, turn.steps):
                    yield step
                after_step = max(after_step, turn.steps)
            if turn.state.ended or not follow:
                yield turn
                return
            current = live.row.turn
            if live.row.deleting:
                raise _unknown(request_id)
            if current is None or current.key != key or (current.steps == turn.steps and not current.state.ended):
                await live.changed(self._agents.lease_seconds)

    async def page(self, live: LiveAgent, size: int, after: str) -> Page[TurnRow]:
        """A page of the agent's turns, the latest first."""
        rows = {
            row.turn_id: row
            for record in await self._records.find("turn", parent=live.id)
            if (row := TurnRow.model_validate_json(record.body))
        }
        turn = live.row.turn
        if turn is not None and turn.turn_id in rows:
            rows[turn.turn_id] = _merged(rows[turn.turn_id], turn)
        known = sorted((id_ for id_, row in rows.items() if row.turn_id), reverse=True)
        places = [f"{place:012d}" for place in range(len(known))]
        page = list_page(places, size, f"{known.index(after):012d}" if after in known else "")
        items = [rows[known[int(place)]] for place in page.items]
        return Page(items, items[-1].turn_id if page.next_token else "", len(known))

    async def _try(
        self,
        live: LiveAgent,
        ticket: Ticket,
        request_id: str,
        fingerprint: bytes,
        options: bytes,
        opening: TurnStart | Edit | None,
        no_wait: bool,
        unknown_at: int | None,
    ) -> Grant | None:
        """A grant, if it is this ticket's time. `unknown_at` is the epoch in which the turn was not known yet."""
        last = live.row.turn
        own = last is not None and last.key == ticket.key
        if not (own or live.head() is ticket or ticket.cancelled):
            return None
        if live.leased and not ticket.cancelled and not (own and no_wait):
            return None
        async with live.lock:
            await self._commits.settle(live)
            self._commits.check_exists(live)
            # Others may have asked for the same request, and have had it run, while this one waited: then the epoch is
            # another, unless it was cancelled before it began.
            new = unknown_at == live.row.epoch and not ticket.cancelled
            saved = None if new else await self._known(live, ticket.key, request_id, fingerprint)
            if saved is not None and saved.state.ended:
                return Grant(saved)
            if live.running is not None:
                if live.leased:
                    return Grant(saved) if saved is not None and no_wait else None
                if saved is not None or not isinstance(opening, Edit):
                    return await self._resume(live)
            if live.head() is not ticket:
                return None
            if opening is None:
                raise _unknown(request_id)
            if isinstance(opening, Edit):
                planned = await opening.plan(live)
                if live.running is not None:
                    reason = "An edit of the conversation came before its end."
                    await self._end_now(live, TurnState.CANCELLED, reason, opening.call_result)
                    planned = await opening.plan(live)
                opening = planned
            return await self._start(live, ticket.key, request_id, fingerprint, options, opening)

    async def _cancel_queued(self, live: LiveAgent, ticket: Ticket, request_id: str) -> TurnRow:
        """Ends a turn that never began."""
        turn = TurnRow(
            turn_id=new_id("turn"),
            agent_id=live.id,
            request_id=request_id,
            fingerprint=ticket.fingerprint.hex(),
            state=TurnState.CANCELLED,
            reason="cancelled before it began",
            created=now(),
            ended=now(),
        )
        await self._records.put(self._record(live, ticket.key, turn))
        return turn

    async def _start(
        self,
        live: LiveAgent,
        key: str,
        request_id: str,
        fingerprint: bytes,
        options: bytes,
        opening: TurnStart,
    ) -> Grant:
        ended = await self._ended(live)
        first = live.row.message_count
        turn = TurnRow(
            turn_id=new_id("turn"),
            agent_id=live.id,
            request_id=request_id,
            fingerprint=fingerprint.hex(),
            options=options.hex(),
            state=TurnState.RUNNING,
            first_sequence=first,
            end_sequence=first + len(opening.messages),
            created=now(),
        )

        def edit(row: AgentRow, time_: int) -> None:
            row.epoch += 1
            row.turn = CurrentTurn(
                key=key,
                turn_id=turn.turn_id,
                request_id=request_id,
                state=TurnState.RUNNING,
                steps=opening.step,
                first_sequence=first,
                end_sequence=row.message_count,
            )
            if opening.ended:
                _end(row.turn, TurnState.COMPLETED, "", time_)

        texts = {}
        if opening.rewind_from is not None:
            texts["rewinds"] = live.rewinds.add(Rewind(opening.rewind_from, first, turn.turn_id, turn.created)).dump()
        await self._commits.commit(
            live,
            Change(
                messages=opening.messages,
                turn_id=turn.turn_id,
                step=opening.step,
                texts=texts,
                edit=edit,
                more=[*ended, self._record(live, key, turn)],
            ),
        )
        live.turn_row = turn
        if opening.ended:
            return Grant(await self._current(live))
        live.keep_lease(self._agents.lease_seconds)
        return Grant(turn, self._lease(live, live.row.turn))

    async def _resume(self, live: LiveAgent) -> Grant:
        """Takes over the running turn, whose lease has run out, under a new epoch."""

        def edit(row: AgentRow, _: int) -> None:
            row.epoch += 1

        await self._commits.commit(live, Change(edit=edit))
        live.keep_lease(self._agents.lease_seconds)
        return Grant(await self._current(live), self._lease(live, live.row.turn), resumed=True)

    async def _end_now(self, live: LiveAgent, state: TurnState, reason: str, call_result: str) -> None:
        turn = live.row.turn
        assert turn is not None  # noqa: S101 - running
        answer = []
        if call_result:
            last = await self._agents.messages.read(live.id, range(turn.end_sequence - 1, turn.end_sequence))
            if last and (call := last[0].function_call) is not None:
                answer = [NewMessage(Role.TOOL, call_result, call_id=call.call_id)]

        def edit(row: AgentRow, time_: int) -> None:
            assert row.turn is not None  # noqa: S101 - running
            if answer:
                row.turn.steps += 1
                row.turn.end_sequence = row.message_count
            _end(row.turn, state, reason, time_)

        change = Change(messages=answer, turn_id=turn.turn_id, step=turn.steps + 1, edit=edit)
        await self._commits.commit(live, change)

    async def _ended(self, live: LiveAgent) -> list[Record]:
        """The last turn's row as it ended, to be written before the next turn takes its place in the agent's row."""
        turn = live.row.turn
        if turn is None or not turn.state.ended:
            return []
        saved = await self._saved(live, turn.key)
        return [] if saved is None else [self._record(live, turn.key, saved)]

    async def _known(self, live: LiveAgent, key: str, request_id: str, fingerprint: bytes) -> TurnRow | None:
        """What is known of a turn that is asked for.

        Raises:
            InvalidArgument: The request's id belongs to another agent or input.
        """
        saved = await self._saved(live, key)
        if saved is not None:
            _check_same(saved, live.id, request_id, fingerprint)
        return saved

    async def _saved(self, live: LiveAgent, key: str) -> TurnRow | None:
        """What is known of a turn; None when it was never granted."""
        last, held = live.row.turn, live.turn_row
        if last is not None and held is not None and (last.key, last.turn_id) == (key, held.turn_id):
            return _merged(held, last)
        record = await self._records.get(key)
        if record is None:
            return None
        row = TurnRow.model_validate_json(record.body)
        turn = live.row.turn
        if turn is not None and turn.key == key:
            live.turn_row = row
            return _merged(row, turn)
        if row.agent_id == live.id and not row.state.ended:
            return None  # a crash came between this row and the agent's: the turn has never begun
        return row

    async def _current(self, live: LiveAgent) -> TurnRow:
        turn = live.row.turn
        assert turn is not None  # noqa: S101 - callers hold one
        saved = await self._saved(live, turn.key)
        if saved is None:
            raise _unknown(turn.request_id)
        return saved

    def _begun(self, live: LiveAgent, key: str) -> bool:
        return live.running is not None and live.running.key == key

    def _queued(self, live: LiveAgent, key: str, request_id: str) -> TurnRow | None:
        if not any(ticket.key == key for ticket in live.queue):
            return None
        return TurnRow(
            turn_id="", agent_id=live.id, request_id=request_id, fingerprint="", state=TurnState.QUEUED, created=now()
        )

    async def _steps(self, live: LiveAgent, turn: TurnRow | CurrentTurn, after: int, last: int) -> list[Step]:
        if last <= after:
            return []
        messages = await self._agents.messages.read(live.id, range(turn.first_sequence, turn.end_sequence))
        steps = {index: list(of_step) for index, of_step in groupby(messages, key=lambda message: message.step)}
        return [Step(index, steps.get(index, [])) for index in range(after + 1, last + 1)]

    def _record(self, live: LiveAgent, key: str, turn: TurnRow) -> Record:
        return Record(key, "turn", live.row.tenant, live.id, turn.created, turn.model_dump_json())

    def _lease(self, live: LiveAgent, turn: CurrentTurn | None) -> Lease:
        assert turn is not None  # noqa: S101 - granted
        return Lease(turn.turn_id, live.row.epoch, now() + int((live.lease_ends - time.monotonic()) * 1e6))


def _held(live: LiveAgent, lease: Lease) -> CurrentTurn:
    turn = live.row.turn
    if turn is None or turn.turn_id != lease.turn_id or live.row.epoch != lease.epoch:
        raise _lost()
    return turn


def _ask_to_cancel(row: AgentRow, _: int) -> None:
    assert row.turn is not None  # noqa: S101 - running
    row.turn.cancel = True


def _ahead(live: LiveAgent, key: str) -> int:
    """Turns ahead of one that waits, the running one included; several callers of one turn count once."""
    waiting = {ticket.key for ticket in takewhile(lambda ticket: ticket.key != key, live.queue)}
    if live.running is not None:
        waiting.add(live.running.key)
    return len(waiting - {key})


def _end(turn: CurrentTurn, state: TurnState, reason: str, time_: int) -> None:
    turn.state = state
    turn.reason = reason
    turn.ended = time_


def _merged(row: TurnRow, turn: CurrentTurn) -> TurnRow:
    """A turn's row with what the agent's row knows better."""
    return row.model_copy(
        update={
            "state": turn.state,
            "reason": turn.reason,
            "steps": turn.steps,
            "first_sequence": turn.first_sequence,
            "end_sequence": turn.end_sequence,
            "ended": turn.ended,
        }
    )


def _check_same(saved: TurnRow, agent_id: str, request_id: str, fingerprint: bytes) -> None:
    if saved.agent_id != agent_id or (fingerprint and saved.fingerprint != fingerprint.hex()):
        raise InvalidArgument(
            Reason.REQUEST_ID_REUSED,
            f"The request id {request_id!r} was used for another message: use a new id for a new message.",
            field="request_id",
        )


def _lost() -> Aborted:
    return Aborted(Reason.LEASE_LOST, "The lease has passed to another, or the turn has ended: begin the turn again.")


def _unknown(request_id: str) -> NotFound:
    return NotFound(
        Reason.TURN_NOT_FOUND,
        f"There is no turn for the request {request_id!r}: send the message with this request_id to begin it.",
        metadata={"request_id": request_id},
    )
