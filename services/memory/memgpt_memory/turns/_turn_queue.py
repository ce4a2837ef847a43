"""The queue of turns, one at a time per agent, in order of arrival, and the takeover of a turn whose lease expired."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import takewhile

from memgpt_runtime.ids import new_id

from memgpt_memory.agents import (
    AgentRepository,
    EndTurn,
    Lease,
    LiveAgent,
    ResumeTurn,
    RunningTurn,
    StartTurn,
    TurnRow,
    TurnStart,
    TurnState,
    Waiter,
    check_exists,
)
from memgpt_memory.clock import now
from memgpt_memory.messages import NewMessage, Role
from memgpt_memory.turns._edits import Edit
from memgpt_memory.turns._errors import queue_full, timed_out, unknown_turn
from memgpt_memory.turns._history import TurnHistory, turn_key, turn_record, turns_version

MAX_QUEUED = 64
"""Maximum number of turns that wait for one agent."""

_EDITED = "an edit of the conversation came before its end"


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """A request for a turn.

    Attributes:
        request_id: Names the turn permanently.
        start: What the turn does as it begins; None for a turn that was begun before.
        fingerprint: Digest of the caller's own request; empty to compare nothing.
        options: What the caller needs to run the turn.
        nonblocking: Whether to report a turn that another worker holds, instead of waiting for it.
        queue_timeout: Seconds that the turn may wait for others; None for no bound.
        admit: Called before a turn that is not known yet waits; raises if the tenant may not begin one now. Returns a
            function to call if the turn does not begin.
    """

    request_id: str
    start: TurnStart | Edit | None
    fingerprint: bytes = b""
    options: bytes = b""
    nonblocking: bool = False
    queue_timeout: float | None = None
    admit: Callable[[], Awaitable[Callable[[], None]]] | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """The response to a request for a turn. `lease` is None if the turn has ended or another worker holds it."""

    turn: TurnRow
    lease: Lease | None = None
    resumed: bool = False


class _Admission(Enum):
    """Whether a turn that waits may start."""

    WAIT = auto()
    START = auto()


@dataclass(slots=True)
class _Waiting:
    """A request in the queue.

    Attributes:
        new_at: Epoch and number of turns at which the turn was not known yet; None if it may be known by now.
        until: When its time in the queue is over, on the monotonic clock; None for never.
    """

    request: TurnRequest
    waiter: Waiter
    new_at: tuple[int, int | None] | None
    until: float | None = field(init=False)

    def __post_init__(self) -> None:
        timeout = self.request.queue_timeout
        self.until = None if timeout is None else time.monotonic() + timeout


class TurnQueue:
    """Grants turns."""

    def __init__(self, repository: AgentRepository, history: TurnHistory, lease_seconds: float) -> None:
        """Grant leases of `lease_seconds`."""
        self._repository = repository
        self._history = history
        self._lease_seconds = lease_seconds

    async def begin(self, live: LiveAgent, request: TurnRequest) -> AsyncGenerator[int | Grant, None]:
        """Yield the number of turns ahead whenever it changes, then one grant.

        A turn that its holder abandoned is granted first, to be finished; a request for an edit ends it instead.

        Raises:
            DeadlineExceeded: Others are ahead for longer than the request's timeout.
            FailedPrecondition: There is nothing to edit.
            InvalidArgument: The request's id belongs to another agent or input.
            NotFound: The turn does not exist and the request has no start.
            ResourceExhausted: Too many turns wait, or what `TurnRequest.admit` raises.
        """
        key = turn_key(live.row.tenant, request.request_id)
        version = turns_version(live)
        known = await self._history.find_same(live, key, request.request_id, request.fingerprint)
        if known is not None and known.state.ended:
            yield Grant(known)
            return
        if known is None and request.start is None:
            raise unknown_turn(request.request_id)
        # A turn that waits already was admitted: with another caller, or before its caller had to finish another turn.
        admit = None if known is not None or any(one.key == key for one in live.queue) else request.admit
        waiting = _Waiting(request, _enqueue(live, key, request.fingerprint), version if known is None else None)
        told, refund = -1, None
        try:
            if admit is not None:
                refund = await admit()
            while (grant := await self._try(live, waiting)) is None:
                left = _time_left(live, waiting)
                ahead = _ahead(live, key)
                if ahead != told:
                    told = ahead
                    yield ahead
                    continue  # what changed while the caller had it would wake nobody
                await _next_change(live, waiting.waiter, left)
            refund = None
        finally:
            if not waiting.waiter.kept_for:
                live.queue.remove(waiting.waiter)
            live.notify()
            if refund is not None and not any(one.key == key for one in live.queue):
                refund()
        yield grant

    async def end(self, live: LiveAgent, state: TurnState, reason: str, call_result: str) -> None:
        """End the running turn, if there is one. Hold `live.lock`.

        Args:
            live: The agent.
            state: How the turn ends.
            reason: Why.
            call_result: Becomes the result of a call that has none yet.
        """
        running = live.running
        if running is None:
            return
        result = None
        if call_result:
            last = await self._repository.messages.read(live.id, [running.end_sequence - 1])
            if last and (call := last[0].function_call) is not None:
                result = NewMessage(Role.TOOL, call_result, call_id=call.call_id)
        await self._repository.commit(live, EndTurn(state, reason, result))

    def lease(self, live: LiveAgent, turn_id: str) -> Lease:
        """Renew the lease of the running turn, and return it."""
        live.keep_lease(self._lease_seconds)
        return Lease(turn_id, live.row.epoch, now() + int(live.lease_seconds_left * 1e6))

    async def _try(self, live: LiveAgent, waiting: _Waiting) -> Grant | None:
        """Return a grant, if the turn's time has come."""
        request, waiter, new_at = waiting.request, waiting.waiter, waiting.new_at
        waiting.new_at = None  # from the next try on it may have been begun by another caller
        check_exists(live)
        if not _may_be_next(live, waiter, request):
            return None
        async with live.lock:
            await self._repository.settle(live)
            check_exists(live)
            # While this caller waited, others may have sent the same request and had it run or cancelled.
            known = None
            if new_at != turns_version(live) or waiter.cancelled:
                known = await self._history.find_same(live, waiter.key, request.request_id, request.fingerprint)
            match _admit(live, waiter, request, known):
                case Grant() as report:
                    return report
                case RunningTurn() as abandoned:
                    return await self._resume(live, waiter, abandoned)
                case _Admission.START:
                    return await self._start(live, waiter.key, request)
        return None

    async def _start(self, live: LiveAgent, key: str, request: TurnRequest) -> Grant:
        start = await self._plan(live, request)
        first = live.row.message_count
        turn = TurnRow(
            turn_id=new_id("turn"),
            agent_id=live.id,
            request_id=request.request_id,
            fingerprint=request.fingerprint.hex(),
            options=request.options.hex(),
            state=TurnState.RUNNING,
            first_sequence=first,
            end_sequence=first + len(start.messages),
            created=now(),
        )
        records = [*await self._history.last_ended(live), turn_record(live, key, turn)]
        indexed = await self._history.index(live)
        await self._repository.commit(live, StartTurn(key, turn, start, records, indexed))
        live.turn_row = turn
        if start.completed:
            return Grant(await self._history.get(live, key, request.request_id))
        return Grant(turn, self.lease(live, turn.turn_id))

    async def _plan(self, live: LiveAgent, request: TurnRequest) -> TurnStart:
        """Return what the turn does as it begins; an edit is decided on now, and ends an abandoned turn."""
        start = request.start
        if start is None:
            raise unknown_turn(request.request_id)
        if isinstance(start, TurnStart):
            return start
        planned = await start.plan(live.state)
        if live.running is None:
            return planned
        await self.end(live, TurnState.CANCELLED, _EDITED, start.call_result)
        return await start.plan(live.state)

    async def _resume(self, live: LiveAgent, waiter: Waiter, turn: RunningTurn) -> Grant:
        """Take over a turn whose lease has run out, under a new epoch; for another turn, its waiter keeps its place."""
        await self._repository.commit(live, ResumeTurn())
        lease = self.lease(live, turn.turn_id)
        if turn.key != waiter.key:
            waiter.kept_for = lease.epoch
        return Grant(await self._history.get(live, turn.key, turn.request_id), lease, resumed=True)


def _enqueue(live: LiveAgent, key: str, fingerprint: bytes) -> Waiter:
    """Take a place in the queue: the one that was kept for this turn, or the last.

    Raises:
        ResourceExhausted: Too many turns wait.
    """
    waiter = next((one for one in live.queue if one.key == key and one.kept_for), None)
    if waiter is None:
        if len(live.queue) >= MAX_QUEUED:
            raise queue_full(MAX_QUEUED)
        waiter = Waiter(key, fingerprint)
        live.queue.append(waiter)
    waiter.kept_for = 0
    return waiter


def _may_be_next(live: LiveAgent, waiter: Waiter, request: TurnRequest) -> bool:
    """Whether it is worth taking the agent's lock to look closer."""
    last = live.row.turn
    own = last is not None and last.key == waiter.key
    if not (own or live.head() is waiter or waiter.cancelled):
        return False
    return not live.leased or waiter.cancelled or (own and request.nonblocking)


def _admit(
    live: LiveAgent, waiter: Waiter, request: TurnRequest, known: TurnRow | None
) -> Grant | RunningTurn | _Admission:
    """Decide on a waiting turn, stored as `known`: a grant to report, a turn to resume first, to wait or to start."""
    if known is not None and known.state.ended:
        return Grant(known)
    running = live.running
    if running is not None:
        if live.leased:
            return Grant(known) if known is not None and request.nonblocking else _Admission.WAIT
        if known is not None or not isinstance(request.start, Edit):
            return running
    return _Admission.START if live.head() is waiter else _Admission.WAIT


def _time_left(live: LiveAgent, waiting: _Waiting) -> float | None:
    """Return the seconds that a turn may still wait; None for no bound, as for a turn that has begun.

    Raises:
        DeadlineExceeded: No time is left.
    """
    running = live.running
    if waiting.until is None or (running is not None and running.key == waiting.waiter.key):
        return None
    left = waiting.until - time.monotonic()
    if left <= 0:
        raise timed_out(waiting.request.queue_timeout or 0)
    return left


async def _next_change(live: LiveAgent, waiter: Waiter, left: float | None) -> None:
    """Wait until the agent changes, or until the turn's place may change."""
    # A turn that waits for another waiter is notified; otherwise a lease may run out, and with it a kept place.
    head = live.head()
    told = live.running is None and head is not None and head is not waiter and not head.kept_for
    lease = None if told else max(0.01, live.lease_seconds_left)
    await live.changed(min((seconds for seconds in (left, lease) if seconds is not None), default=None))


def _ahead(live: LiveAgent, key: str) -> int:
    """Return the number of turns ahead, including the running one; several callers of one turn count once."""
    waiting = {waiter.key for waiter in takewhile(lambda waiter: waiter.key != key, live.queue)}
    running = live.running
    if running is not None:
        waiting.add(running.key)
    return len(waiting - {key})
