"""Which functions an agent has."""

from __future__ import annotations

from memgpt_agent.domain import Context
from memgpt_agent.functions.declarations import BUILT_IN
from memgpt_agent.functions.schema import Function


def functions_of(context: Context) -> tuple[Function, ...]:
    """The functions that the agent may call now, the built-in ones first."""
    return BUILT_IN
