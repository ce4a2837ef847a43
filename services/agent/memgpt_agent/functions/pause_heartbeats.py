"""``pause_heartbeats``: suspends timed heartbeats for a while."""

from __future__ import annotations

from memgpt_agent.domain import Context
from memgpt_agent.functions.function import Call, Function, FunctionOutput, MemorySearch, Parameter

MAX_PAUSE_MINUTES = 360


async def _run(call: Call, context: Context, memory: MemorySearch) -> FunctionOutput:
    return FunctionOutput(f"Timed heartbeats are paused for {call.number('minutes')} minutes.")


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
