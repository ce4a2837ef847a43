"""The functions of an agent: those built in, in the order in which models see them, and those of its remote tools.

To add a function, write its module in this package and list it here.
"""

from __future__ import annotations

from memgpt_agent.domain import Context
from memgpt_agent.functions.archival_memory_insert import ARCHIVAL_MEMORY_INSERT
from memgpt_agent.functions.archival_memory_search import ARCHIVAL_MEMORY_SEARCH
from memgpt_agent.functions.conversation_search import CONVERSATION_SEARCH
from memgpt_agent.functions.conversation_search_date import CONVERSATION_SEARCH_DATE
from memgpt_agent.functions.core_memory_append import CORE_MEMORY_APPEND
from memgpt_agent.functions.core_memory_replace import CORE_MEMORY_REPLACE
from memgpt_agent.functions.function import Function
from memgpt_agent.functions.json_schema import in_short
from memgpt_agent.functions.pause_heartbeats import PAUSE_HEARTBEATS
from memgpt_agent.functions.remote import function_of
from memgpt_agent.functions.schedule_heartbeat import SCHEDULE_HEARTBEAT
from memgpt_agent.functions.send_message import SEND_MESSAGE

BUILT_IN: tuple[Function, ...] = (
    SEND_MESSAGE,
    PAUSE_HEARTBEATS,
    CORE_MEMORY_APPEND,
    CORE_MEMORY_REPLACE,
    CONVERSATION_SEARCH,
    CONVERSATION_SEARCH_DATE,
    ARCHIVAL_MEMORY_INSERT,
    ARCHIVAL_MEMORY_SEARCH,
)
"""The functions that every agent has. ``functions_of`` returns those of a given agent."""

SELF_SCHEDULED: tuple[Function, ...] = (*BUILT_IN, SCHEDULE_HEARTBEAT)
"""The functions of agents that may set timed heartbeats themselves."""

BUILT_IN_BY_NAME = {function.name: function for function in SELF_SCHEDULED}

_SHORT = {BUILT_IN: tuple(map(in_short, BUILT_IN)), SELF_SCHEDULED: tuple(map(in_short, SELF_SCHEDULED))}


def functions_of(context: Context) -> tuple[Function, ...]:
    """Return the functions that the agent may call now: built-in ones first, then those of its remote tools."""
    built_in = SELF_SCHEDULED if context.plan.self_scheduled else BUILT_IN
    built_in = _SHORT[built_in] if context.brief else built_in
    return (*built_in, *map(function_of, context.tools)) if context.tools else built_in
