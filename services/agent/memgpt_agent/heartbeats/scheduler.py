"""The scheduler that wakes agents at the times of their heartbeats. Every replica runs one, without coordination.

Each time of a heartbeat is one turn, whose ``request_id`` is derived from agent, heartbeat and time. So it runs exactly
once, whichever replicas begin it and whatever crashes: a turn that was begun is continued, and one that has ended is
only marked in the plan. A time is marked after its turn has ended. Due heartbeats are computed from the plan alone, for
the latest time only. So downtime is followed by a single turn, and times that pass while the agent is busy are merged.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial

import structlog
from memgpt_runtime import context, errors
from memgpt_runtime.errors import ServiceError
from memgpt_runtime.fair_semaphore import FairSemaphore
from memgpt_runtime.principal import Principal

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.domain import Message, Role, StoredPlan
from memgpt_agent.heartbeat_plan import Heartbeat, HeartbeatPlan
from memgpt_agent.heartbeats.store import HeartbeatMemory, TurnRunner, change
from memgpt_agent.loop.turn_request import TurnRequest

_log = structlog.get_logger(__name__)

REQUEST_PREFIX = "heartbeat-"
"""Prefix of the request ids of these turns."""

_BUSY_SECONDS = 0.5
"""Seconds that a heartbeat waits in the agent's queue before it is left for the next poll."""

_MAX_AGENTS_AT_A_TIME = 16


class HeartbeatScheduler:
    """Looks for heartbeats that are due, and runs their turns."""

    def __init__(
        self, memory: HeartbeatMemory, turns: TurnRunner, poll_seconds: float, now: Callable[[], datetime]
    ) -> None:
        """Prepare to look every ``poll_seconds``."""
        self._memory = memory
        self._turns = turns
        self._poll_seconds = poll_seconds
        self._now = now
        self._woken: dict[str, asyncio.Task[None]] = {}
        self._slots = FairSemaphore(_MAX_AGENTS_AT_A_TIME)

    async def run(self) -> None:
        """Look for due heartbeats until cancelled."""
        try:
            while True:
                with context.background("heartbeats"):
                    await self._look_safely()
                await asyncio.sleep(self._poll_seconds)
        finally:
            tasks = list(self._woken.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def look(self) -> None:
        """Begin to wake every agent that has a due heartbeat and is not being woken already."""
        async for stored in self._memory.list_plans():
            if stored.agent_id in self._woken or not self._is_due(stored):
                continue
            task = asyncio.create_task(self._wake(stored), name=f"heartbeat:{stored.agent_id}")
            self._woken[stored.agent_id] = task
            task.add_done_callback(partial(self._forget, stored.agent_id))

    def _is_due(self, stored: StoredPlan) -> bool:
        try:
            return any(True for _ in stored.plan.due(self._now().timestamp(), envelopes.zone(stored.time_zone)))
        except Exception:  # noqa: BLE001 - such as a time zone that this replica does not know: the others still wake
            _log.exception("heartbeat_unreadable", agent_id=stored.agent_id)
            return False

    def _forget(self, agent_id: str, _: asyncio.Task[None]) -> None:
        self._woken.pop(agent_id, None)

    async def settle(self) -> None:
        """Wait until no agent is being woken any more."""
        while self._woken:
            await asyncio.gather(*self._woken.values(), return_exceptions=True)

    async def _look_safely(self) -> None:
        try:
            await self.look()
        except ServiceError as error:
            _log.info("heartbeat_list_failed", reason=error.reason)
        except Exception:  # noqa: BLE001 - a bug must not affect the other agents and the next poll
            _log.exception("heartbeat_scan_failed")

    async def _wake(self, stored: StoredPlan) -> None:
        """Run the due heartbeats of an agent, one after the other, on behalf of its tenant."""
        with context.background("heartbeat", principal=Principal(stored.tenant)):
            await self._run_due(stored)

    async def _run_due(self, stored: StoredPlan) -> None:
        async with self._slots.slot(stored.tenant):
            try:
                zone, now = envelopes.zone(stored.time_zone), self._now()
                for heartbeat, _ in stored.plan.due(now.timestamp(), zone):
                    await self._run(stored.agent_id, heartbeat)
            except ServiceError as error:
                _log.info("heartbeat_postponed", agent_id=stored.agent_id, reason=error.reason)
            except Exception:  # noqa: BLE001 - a bug must not affect other agents
                _log.exception("heartbeat_failed", agent_id=stored.agent_id)

    async def _run(self, agent_id: str, heartbeat: Heartbeat) -> None:
        """Run the latest time of a heartbeat and mark it in the plan; do nothing if it may not or cannot run now."""
        # Read again: the turns before this one take time, in which heartbeats are cancelled, changed and paused.
        stored, now = await self._memory.get_plan(agent_id), self._now()
        plan, zone = stored.plan, envelopes.zone(stored.time_zone)
        if heartbeat not in plan.heartbeats or (time := heartbeat.due(now.timestamp(), zone)) is None:
            return
        if not plan.skips(heartbeat, time):
            if now.timestamp() < plan.paused_until:
                return
            max_tokens = await self._budget(stored, now)
            if max_tokens is None:
                _log.info("heartbeat_over_budget", agent_id=agent_id, heartbeat_id=heartbeat.heartbeat_id)
                return
            try:
                await self._turns.run(_request(agent_id, heartbeat, time, max_tokens))
            except errors.DeadlineExceeded:
                # The agent is busy. A later time of the same heartbeat replaces this one.
                return
        with suppress(errors.NotFound):
            settled = self._now().timestamp()
            await change(self._memory, agent_id, lambda plan: plan.settled(heartbeat, time, settled, zone))

    async def _budget(self, stored: StoredPlan, now: datetime) -> int | None:
        """Return the tokens that a turn may take, 0 for any number; None if the day's turns or tokens are used up.

        Both are counted from the stored turns, so that the count survives a crash.
        """
        plan: HeartbeatPlan = stored.plan
        local = now.astimezone(envelopes.zone(stored.time_zone))
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        turns, tokens = 0, 0
        async for turn in self._memory.turns_since(stored.agent_id, midnight.timestamp()):
            if not turn.request_id.startswith(REQUEST_PREFIX) or not turn.state.ended:
                continue
            turns += 1
            if plan.max_tokens_per_day:
                tokens += await self._memory.turn_tokens(stored.agent_id, turn.request_id)
        if turns >= plan.max_turns_per_day or 0 < plan.max_tokens_per_day <= tokens:
            return None
        return plan.max_tokens_per_day - tokens if plan.max_tokens_per_day else 0


def request_id_of(agent_id: str, heartbeat_id: str, time: float) -> str:
    """Return the id of the turn of one time of a heartbeat: the same on every replica."""
    digest = hashlib.sha256(f"{agent_id}\0{heartbeat_id}\0{round(time * 1000)}".encode()).hexdigest()
    return f"{REQUEST_PREFIX}{digest[:40]}"


def _request(agent_id: str, heartbeat: Heartbeat, time: float, max_tokens: int) -> TurnRequest:
    reason = heartbeat.reason.strip() or "no reason was given."
    placeholder = f"time-{secrets.token_hex(12)}"
    event = envelopes.heartbeat(prompt.HEARTBEAT_TIMED.format(reason=reason), placeholder)
    request_id = request_id_of(agent_id, heartbeat.heartbeat_id, time)
    return TurnRequest(
        agent_id,
        request_id,
        fingerprint=request_id.encode(),
        messages=(Message(Role.USER, event),),
        max_tokens=max_tokens,
        time_placeholder=placeholder,
        queue_timeout=_BUSY_SECONDS,
    )
