"""JSON schemas of functions, for models and for constrained decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from memgpt_agent.functions.function import INNER_THOUGHTS, REQUEST_HEARTBEAT, Function

_HEARTBEAT_DESCRIPTION = "true to be called again at once with the result, false to wait for the next event."
_THOUGHTS_DESCRIPTION = "Your private thinking, in a few words."


def in_short(function: Function) -> Function:
    """Return the function with the first sentence of its description, and no descriptions of parameters."""
    parameters = tuple(replace(parameter, description="") for parameter in function.parameters)
    description = function.description.partition(". ")[0].rstrip(".")
    return replace(function, description=f"{description}.", parameters=parameters, brief=True)


def parameters_schema(function: Function, *, inner_thoughts: bool, strict: bool = False) -> Mapping[str, object]:
    """Return the JSON schema of a function's arguments.

    Args:
        function: The function.
        inner_thoughts: Whether to ask for the thought as the first argument, for models that return no text with a
            call.
        strict: Whether to make every property required, as constrained decoding needs it.
    """
    properties: dict[str, object] = {}
    required: list[str] = []
    if inner_thoughts:
        properties[INNER_THOUGHTS] = _described(function, "string", _THOUGHTS_DESCRIPTION)
        required.append(INNER_THOUGHTS)
    if function.schema is not None:
        own = constrained(function.schema) if strict else function.schema
        properties |= cast(Mapping[str, object], own.get("properties", {}))
        required += cast(list[str], own.get("required", []))
    for parameter in function.parameters:
        properties[parameter.name] = parameter.schema()
        if strict or parameter.required:
            required.append(parameter.name)
    if function.chains:
        heartbeat = _described(function, "boolean", _HEARTBEAT_DESCRIPTION)
        if function.searches:
            # Small models choose false, and their turn would end with an unread search result.
            heartbeat["enum"] = [True]
        properties[REQUEST_HEARTBEAT] = heartbeat
        required.append(REQUEST_HEARTBEAT)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def constrained(schema: object) -> dict[str, object]:
    """Return the part of a schema that servers with constrained decoding support.

    Every property is required, as these servers demand; an optional one may be null.
    """
    if not isinstance(schema, Mapping):
        return {}
    kept: dict[str, object] = {k: schema[k] for k in ("type", "description", "enum", "const") if k in schema}
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(alternatives, list):
        kept["anyOf"] = [constrained(one) for one in alternatives]
    if isinstance(schema.get("items"), Mapping):
        kept["items"] = constrained(schema["items"])
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and properties:
        required = cast(list[str], schema.get("required", []))
        kept["properties"] = {
            name: constrained(one) if name in required else {"anyOf": [constrained(one), {"type": "null"}]}
            for name, one in properties.items()
        }
        kept["required"] = list(properties)
        kept["additionalProperties"] = False
    return kept


def _described(function: Function, kind: str, description: str) -> dict[str, object]:
    return {"type": kind} if function.brief else {"type": kind, "description": description}
