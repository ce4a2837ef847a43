"""The timed heartbeats of agents in Memory, which are read and changed as whole plans."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from memgpt_runtime import errors, reasons

from memgpt_agent.domain import PlanEdit, StoredPlan, Turn
from memgpt_agent.heartbeat_plan import HeartbeatPlan
from memgpt_agent.loop.turn_request import TurnRequest

_ATTEMPTS = 8


class HeartbeatMemory(Protocol):
    """The methods of Memory that timed heartbeats need. All methods raise the errors of ``memgpt_runtime.errors``."""

    def list_plans(self) -> AsyncIterator[StoredPlan]:
        """Yield the plans of all agents that have one, of every tenant."""
        ...

    async def get_plan(self, agent_id: str) -> StoredPlan:
        """Return the plan of an agent, the empty one if it has none."""
        ...

    async def put_plan(self, agent_id: str, edit: PlanEdit) -> None:
        """Write a plan. Aborted if it has changed since it was read."""
        ...

    def turns_since(self, agent_id: str, time: float) -> AsyncIterator[Turn]:
        """Yield the agent's turns that were first requested at ``time`` or later, latest first."""
        ...

    async def turn_tokens(self, agent_id: str, request_id: str) -> int:
        """Return the tokens that a turn's committed steps took."""
        ...


async def change(memory: HeartbeatMemory, agent_id: str, edit: Callable[[HeartbeatPlan], HeartbeatPlan]) -> StoredPlan:
    """Change a plan, and retry if another caller changes it at the same time.

    Raises:
        PlanError: What ``edit`` raises, or the plan grows too large.
        Aborted: It keeps being changed.
    """
    for _ in range(_ATTEMPTS):
        stored = await memory.get_plan(agent_id)
        changed = edit(stored.plan)
        if changed == stored.plan:
            return stored
        try:
            await memory.put_plan(agent_id, PlanEdit(changed.text(), stored.etag))
        except errors.Aborted:
            continue
        return StoredPlan(agent_id, stored.time_zone, changed, "")
    raise reasons.etag_mismatch(
        "other callers changed the timed heartbeats at each attempt; send the same request again",
        resource="heartbeats",
        etag=stored.etag,
    )


class TurnRunner(Protocol):
    """Runs turns: ``loop.turn_registry.TurnRegistry``."""

    async def run(self, request: TurnRequest) -> None:
        """Run a turn, or follow it, until it has ended.

        Raises:
            ServiceError: The turn cannot continue now.
        """
        ...
