"""The functions as an endpoint is told of them: tool declarations, or a schema that constrains the answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from memgpt_agent import envelopes
from memgpt_agent.domain import Message
from memgpt_agent.functions import Function, parameters_schema
from memgpt_agent.functions.function import INNER_THOUGHTS
from memgpt_agent.functions.registry import BUILT_IN_BY_NAME
from memgpt_agent.models.request.wire import Wire


def tools(functions: Sequence[Function]) -> list[Wire]:
    """The declarations of the functions."""
    return [_tool(function) for function in functions]


@lru_cache(maxsize=1024)
def _tool(function: Function) -> Wire:
    declaration = {
        "name": function.name,
        "description": function.description,
        "parameters": parameters_schema(function, inner_thoughts=True),
    }
    return {"type": "function", "function": declaration}


def json_schema(functions: Sequence[Function], messages: Sequence[Message] = ()) -> Wire:
    """The ``response_format`` that constrains an answer to one call.

    Args:
        functions: What may be called.
        messages: The context: a search that was just made twice with the same arguments may not be made a third time.
            Small models go on with it for ever, whatever they are told.
    """
    repeated = _repeated_search(messages)
    branches = [
        {
            "type": "object",
            "properties": {
                INNER_THOUGHTS: {"type": "string"},
                "function": {"type": "string", "enum": [function.name]},
                "arguments": parameters_schema(function, inner_thoughts=False, strict=True),
            },
            "required": [INNER_THOUGHTS, "function", "arguments"],
            "additionalProperties": False,
        }
        for function in functions
        if function.name != repeated
    ]
    schema = {"name": "function_call", "strict": True, "schema": {"anyOf": branches}}
    return {"type": "json_schema", "json_schema": schema}


def _repeated_search(messages: Sequence[Message]) -> str:
    """Name of the search that the last two calls were, with equal arguments; else the empty text."""
    calls = [message.function_call for message in messages if message.function_call is not None][-2:]
    if len(calls) < 2 or calls[0].name != calls[1].name:
        return ""
    function = BUILT_IN_BY_NAME.get(calls[0].name)
    same = envelopes.parse(calls[0].arguments) == envelopes.parse(calls[1].arguments)
    return calls[0].name if same and function is not None and function.searches else ""
