"""The operations on turns: begin, renew, commit, end, cancel, read and list."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from memgpt_runtime.ids import new_id

from memgpt_memory.agents import (
    AddStep,
    Agents,
    CancelTurn,
    EndedTurn,
    Lease,
    LiveAgent,
    NoteTurn,
    ReleaseTurn,
    RunningTurn,
    StepCommit,
    TurnRow,
    TurnState,
    Waiter,
    check_exists,
    lease_lost,
)
from memgpt_memory.clock import now
from memgpt_memory.list_pages import Page
from memgpt_memory.records import Records
from memgpt_memory.turns._errors import cancelled_in_queue, unknown_turn
from memgpt_memory.turns._history import Step, TurnHistory, turn_key, turn_record
from memgpt_memory.turns._turn_queue import Grant, TurnQueue, TurnRequest

_CANCELLED = "cancelled on request"
_CANCELLED_IN_QUEUE = "cancelled before it began"


class Turns:
    """The turns of every agent: one at a time for each, under a lease with a fencing epoch."""

    def __init__(self, records: Records, agents: Agents) -> None:
        """Keep turns among `records`."""
        self._lease_seconds = agents.lease_seconds
        self._repository = agents.repository
        self._history = TurnHistory(records, agents.messages)
        self._queue = TurnQueue(self._repository, self._history, agents.lease_seconds)

    def begin(self, live: LiveAgent, request: TurnRequest) -> AsyncGenerator[int | Grant, None]:
        """Yield the number of turns ahead whenever it changes, then one grant; see `TurnQueue.begin`."""
        return self._queue.begin(live, request)

    async def edit(self, live: LiveAgent, request: TurnRequest) -> TurnRow:
        """Wait for the turn's time, do its edit in one commit, and return the turn, which has ended.

        Raises:
            FailedPrecondition: There is nothing to edit, or the turn was cancelled while it waited.
            InvalidArgument: The request's id belongs to another request.
            ResourceExhausted: Too many turns wait.
        """
        async with aclosing(self._queue.begin(live, request)) as events:
            async for event in events:
                if isinstance(event, Grant):
                    if event.turn.state is not TurnState.COMPLETED:
                        raise cancelled_in_queue()
                    return event.turn
        raise AssertionError("unreachable: the last event is a grant")

    async def renew(self, live: LiveAgent, lease: Lease) -> tuple[Lease, bool]:
        """Keep a lease; return it with its new end, and whether the turn is to be cancelled.

        Raises:
            Aborted: Another worker has the lease, or the turn has ended.
        """
        turn = live.state.turn_under(lease)
        if isinstance(turn, EndedTurn):
            raise lease_lost(live.id, lease.epoch)
        return self._queue.lease(live, turn.turn_id), turn.cancel

    async def cancelled(self, live: LiveAgent, lease: Lease) -> bool:
        """Wait until the turn of a lease is to be cancelled; False if it ends or is taken over before."""
        while not live.row.deleting:
            turn = live.state.turn
            if not isinstance(turn, RunningTurn) or turn.turn_id != lease.turn_id or live.row.epoch != lease.epoch:
                return False
            if turn.cancel:
                return True
            await live.changed()
        return False

    async def commit(self, live: LiveAgent, lease: Lease, index: int, step: StepCommit) -> Step:
        """Commit a step, or return it as it was committed before.

        Raises:
            Aborted: Another worker has the lease, or a block has changed.
            FailedPrecondition: The step is not the next one, or the turn has ended.
            InvalidArgument: The eviction ends outside the window, or a text is too long.
        """
        async with live.lock:
            await self._repository.settle(live)
            turn = live.state.turn_under(lease)
            if index <= turn.steps:
                return (await self._history.steps(live, turn, index - 1, index))[0]
            result = await self._repository.commit(live, AddStep(lease, index, step))
            live.keep_lease(self._lease_seconds)
        return Step(index, result.messages)

    async def end(self, live: LiveAgent, lease: Lease, state: TurnState, reason: str, call_result: str = "") -> TurnRow:
        """End a turn without a step; if it has ended already, return it as it ended.

        Args:
            live: The agent.
            lease: The turn's.
            state: How it ends.
            reason: Why.
            call_result: Becomes the result of a call that has none yet.

        Raises:
            Aborted: Another worker has the lease.
        """
        async with live.lock:
            await self._repository.settle(live)
            turn = live.state.turn_under(lease)
            await self._queue.end(live, state, reason, call_result)
        return await self._history.get(live, turn.key, turn.request_id)

    async def release(self, live: LiveAgent, lease: Lease) -> None:
        """Release a lease; do nothing if it was taken over or its turn has ended.

        Until a restart, the release counts even if it could not be stored.

        Raises:
            Unavailable: It was not stored, so after a restart another worker waits for the lease to expire.
        """
        if not _holds(live, lease):
            return
        live.lease_ends = 0.0
        live.notify()
        async with live.lock:
            await self._repository.settle(live)
            if _holds(live, lease):  # nobody else has taken over the turn in the meantime
                await self._repository.commit(live, ReleaseTurn())

    async def cancel(self, live: LiveAgent, request_id: str, call_result: str = "") -> TurnRow:
        """Ask for a turn to be cancelled, and return it as it is now; `call_result` as for `end`.

        Raises:
            NotFound: There is no such turn.
        """
        key = turn_key(live.row.tenant, request_id)
        async with live.lock:
            await self._repository.settle(live)
            check_exists(live)
            running = live.running
            if running is not None and running.key == key:
                if live.leased:
                    await self._repository.commit(live, CancelTurn())
                else:
                    await self._queue.end(live, TurnState.CANCELLED, _CANCELLED, call_result)
            waiting = [waiter for waiter in live.queue if waiter.key == key]
            turn = await self._history.find(live, key)
            if turn is not None and turn.agent_id != live.id:
                raise unknown_turn(request_id)
            if turn is None and waiting:
                turn = await self._cancel_queued(live, waiting[0], request_id)
            for waiter in waiting:
                waiter.cancelled = True
        live.notify()
        if turn is None:
            raise unknown_turn(request_id)
        return turn

    async def read(
        self, live: LiveAgent, request_id: str, after_step: int, *, follow: bool
    ) -> AsyncIterator[Step | TurnRow]:
        """Yield the committed steps after `after_step`, and more as they come, then the turn.

        Raises:
            NotFound: There is no such turn.
        """
        key = turn_key(live.row.tenant, request_id)
        while True:
            turn = await self._history.find(live, key) or _queued(live, key, request_id)
            if turn is None or turn.agent_id != live.id:
                raise unknown_turn(request_id)
            if turn.state is not TurnState.QUEUED:
                for step in await self._history.steps(live, turn, after_step, turn.steps):
                    yield step
                after_step = max(after_step, turn.steps)
            if turn.state.ended or not follow:
                yield turn
                return
            if live.row.deleting:
                raise unknown_turn(request_id)
            if turn.state is TurnState.QUEUED or self._is_as_read(live, turn, key):
                await live.changed(self._lease_seconds)

    @staticmethod
    def _is_as_read(live: LiveAgent, turn: TurnRow, key: str) -> bool:
        """Whether a running turn is still as it was read; while its steps were, it may have ended and another begun."""
        running = live.running
        return running is not None and running.key == key and running.steps == turn.steps

    async def list(self, live: LiveAgent, size: int, after: str) -> Page[TurnRow]:
        """Return a page of the agent's turns, the latest first; see `TurnHistory.list`."""
        return await self._history.list(live, size, after)

    async def _cancel_queued(self, live: LiveAgent, waiter: Waiter, request_id: str) -> TurnRow:
        """End a turn that never began."""
        turn = TurnRow(
            turn_id=new_id("turn"),
            agent_id=live.id,
            request_id=request_id,
            fingerprint=waiter.fingerprint.hex(),
            state=TurnState.CANCELLED,
            reason=_CANCELLED_IN_QUEUE,
            created=now(),
            ended=now(),
        )
        record = turn_record(live, waiter.key, turn)
        await self._repository.commit(live, NoteTurn(record, await self._history.index(live)))
        return turn


def _queued(live: LiveAgent, key: str, request_id: str) -> TurnRow | None:
    """Return a turn that waits in the queue, or None."""
    if not any(waiter.key == key for waiter in live.queue):
        return None
    return TurnRow(
        turn_id="", agent_id=live.id, request_id=request_id, fingerprint="", state=TurnState.QUEUED, created=now()
    )


def _holds(live: LiveAgent, lease: Lease) -> bool:
    """Return whether a lease is the current one of the running turn."""
    turn = live.running
    return turn is not None and turn.turn_id == lease.turn_id and live.row.epoch == lease.epoch
