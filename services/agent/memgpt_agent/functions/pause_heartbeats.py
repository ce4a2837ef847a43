"""``pause_heartbeats``: suspends timed heartbeats for a while."""

from __future__ import annotations

from memgpt_agent.domain import Context, Effects
from memgpt_agent.functions.function import Call, Function, FunctionOutput, MemorySearch, Parameter
from memgpt_agent.heartbeat_plan import NO_PLAN

MAX_PAUSE_MINUTES = 360


async def _run(call: Call, context: Context, memory: MemorySearch) -> FunctionOutput:
    minutes = call.number("minutes")
    text = f"Timed heartbeats are paused for {minutes} minutes."
    if context.plan == NO_PLAN:
        return FunctionOutput(text)
    return FunctionOutput(text, Effects(plan=context.plan.paused(context.now.timestamp() + minutes * 60).text()))


PAUSE_HEARTBEATS = Function(
    "pause_heartbeats",
    "Pauses timed heartbeats. Messages from the user still arrive.",
    (
        Parameter(
            "minutes",
            "integer",
            f"Number of minutes, at most {MAX_PAUSE_MINUTES} (six hours).",
            minimum=0,
            maximum=MAX_PAUSE_MINUTES,
        ),
    ),
    _run,
    chains=False,
)
