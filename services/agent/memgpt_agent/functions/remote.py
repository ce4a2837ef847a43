"""Remote tools as functions of an agent, and the check of their arguments.

Regular expressions (``pattern``) are left for the tool itself to check: matching one can take arbitrarily long.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from memgpt_agent.domain import Tool
from memgpt_agent.functions.function import Function

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_MAX_PROBLEM_CHARACTERS = 300


@lru_cache(maxsize=1024)
def function_of(tool: Tool) -> Function:
    """Return the tool as a function of an agent."""
    schema: dict[str, object] = {"properties": {}, **json.loads(tool.parameters)}
    return Function(tool.name, tool.description, (), heartbeat_default=True, tool=tool, schema=schema)


def check(function: Function, arguments: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments as the tool gets them: without nulls for omitted properties.

    Raises:
        ValueError: They break the schema. The text is for the model.
    """
    assert function.tool is not None  # noqa: S101 - callers ask
    schema = function.schema or {}
    given = cast(dict[str, Any], _without_nulls(arguments, schema))
    json.dumps(given, allow_nan=False)  # Python reads numbers such as NaN, which are not JSON
    try:
        problem = _best(_validator(function.tool.parameters), given)
    except OverflowError:
        problem = "a number is too large"
    if problem is not None:
        raise ValueError(problem)
    return given


@lru_cache(maxsize=1024)
def _validator(parameters: str) -> Validator:
    """Return a validator that checks everything but regular expressions, and never fetches anything."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend
    from referencing import Registry

    plain = Draft202012Validator.VALIDATORS["additionalProperties"]

    def additional(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        return () if "patternProperties" in schema else plain(validator, value, instance, schema)

    unchecked = dict.fromkeys(("pattern", "patternProperties", "unevaluatedProperties"), lambda *_: ())
    kind: Any = extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {**unchecked, "additionalProperties": additional}
    )
    return cast("Validator", kind(json.loads(parameters), registry=Registry()))


def _best(validator: Validator, given: dict[str, Any]) -> str | None:
    from jsonschema.exceptions import best_match

    problem = best_match(validator.iter_errors(given))
    if problem is None:
        return None
    where = ".".join(map(str, problem.absolute_path))
    return (
        f"{where}: {problem.message}"[:_MAX_PROBLEM_CHARACTERS] if where else problem.message[:_MAX_PROBLEM_CHARACTERS]
    )


def _without_nulls(value: object, schema: object) -> object:
    """Drop null properties that are optional and not nullable."""
    if not isinstance(schema, Mapping):
        return value
    alternatives = [one for one in schema.get("anyOf") or schema.get("oneOf") or () if _is_container(one)]
    if len(alternatives) == 1:  # the others are plain values, such as null
        value = _without_nulls(value, alternatives[0])
    if isinstance(value, list):
        return [_without_nulls(one, schema.get("items")) for one in value]
    properties = schema.get("properties")
    if not isinstance(value, Mapping) or not isinstance(properties, Mapping):
        return value
    required = cast(list[str], schema.get("required", []))
    return {
        name: _without_nulls(one, properties.get(name))
        for name, one in value.items()
        if one is not None or name in required or name not in properties or _takes_null(properties[name])
    }


def _is_container(schema: object) -> bool:
    return isinstance(schema, Mapping) and not schema.keys().isdisjoint(("properties", "items", "anyOf", "oneOf"))


def _takes_null(schema: object) -> bool:
    if not isinstance(schema, Mapping):
        return True
    kind = schema.get("type")
    if kind is not None:
        return kind == "null" or (isinstance(kind, list) and "null" in kind)
    if isinstance(schema.get("enum"), list):
        return None in cast(list[object], schema["enum"])
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    return not isinstance(alternatives, list) or any(map(_takes_null, alternatives))
