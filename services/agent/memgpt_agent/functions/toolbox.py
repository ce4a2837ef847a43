"""Which functions an agent has."""

from __future__ import annotations

from memgpt_agent.domain import Context
from memgpt_agent.functions.declarations import BUILT_IN
from memgpt_agent.functions.remote import function_of
from memgpt_agent.functions.schema import Function, in_short

_BUILT_IN_SHORT = tuple(map(in_short, BUILT_IN))


def functions_of(context: Context) -> tuple[Function, ...]:
    """The functions that the agent may call now, the built-in ones first, then those of its tools."""
    built_in = _BUILT_IN_SHORT if context.brief else BUILT_IN
    return (*built_in, *map(function_of, context.tools)) if context.tools else built_in
