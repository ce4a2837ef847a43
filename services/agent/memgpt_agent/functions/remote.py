"""Functions that run elsewhere: from a server's description to one that models and endpoints can do with.

A description is data. Nothing of it is executed or fetched: references are resolved within the schema alone, and
regular expressions (``pattern``) are left for the tool itself to check.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from memgpt_agent.domain import Tool
from memgpt_agent.functions.declarations import BUILT_IN_BY_NAME
from memgpt_agent.functions.schema import INNER_THOUGHTS, REQUEST_HEARTBEAT, Function

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

Schema = Mapping[str, object]

MAX_FUNCTIONS = 100
"""Functions of one address, and of all addresses of an agent."""

MAX_DESCRIPTION_CHARACTERS = 4096
MAX_SCHEMA_BYTES = 16 * 1024
_MAX_RESOLVED_BYTES = 64 * 1024
_MAX_DEPTH = 32
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_VALUES = 16 * 1024
_NAMED = ("properties", "patternProperties", "dependentSchemas")
_DATA = ("enum", "const", "default", "examples", "required")
_NOT_OFFERED = ("$ref", "$defs", "definitions", "$schema", "$id", "$anchor", "$dynamicAnchor", "$comment")
_MAX_PROBLEM_CHARACTERS = 300


class UnusableToolError(Exception):
    """A description that cannot be used. Its text says of which function, and what is wrong with it."""


def describe(name: str, description: str, parameters: str, address: str) -> Tool:
    """Checks what a server says of a function, and resolves the references in its schema.

    Raises:
        UnusableToolError: It cannot be offered to a model.
    """
    if not _NAME.fullmatch(name):
        raise UnusableToolError(f"the name {name[:80]!r} is not 1 to 64 of A-Z a-z 0-9 _ -")
    if name in BUILT_IN_BY_NAME:
        raise UnusableToolError(f"{name!r} is the name of a built-in function; choose another one")
    if not 0 < len(description.strip()) <= MAX_DESCRIPTION_CHARACTERS:
        raise UnusableToolError(f"{name}: the description must have 1 to {MAX_DESCRIPTION_CHARACTERS:,} characters")
    if len(parameters.encode()) > MAX_SCHEMA_BYTES:
        raise UnusableToolError(f"{name}: the schema of the parameters is larger than {MAX_SCHEMA_BYTES // 1024} KiB")
    try:
        schema = _checked(_resolved(json.loads(parameters or '{"type": "object"}')))
    except UnusableToolError as error:
        raise UnusableToolError(f"{name}: {error}") from None
    except (ValueError, RecursionError):
        raise UnusableToolError(f"{name}: the parameters are no JSON") from None
    return Tool(name, description.strip(), json.dumps(schema, ensure_ascii=False), address)


@lru_cache(maxsize=1024)
def function_of(tool: Tool) -> Function:
    """The tool as a function of an agent."""
    schema: dict[str, object] = {"properties": {}, **json.loads(tool.parameters)}
    return Function(tool.name, tool.description, (), heartbeat_default=True, tool=tool, schema=schema)


def check(function: Function, arguments: Mapping[str, object]) -> dict[str, object]:
    """The arguments of a call as the tool gets them: without nulls that stand for what was left out.

    Raises:
        ValueError: They break the schema. The text is for the model.
    """
    assert function.tool is not None  # noqa: S101 - callers ask
    schema = function.schema or {}
    given = cast(dict[str, Any], _without_nulls(arguments, schema))
    problem = _best(_validator(function.tool.parameters), given)
    if problem is not None:
        raise ValueError(problem)
    return given


def _resolved(schema: object) -> Schema:
    """The schema with its references written out.

    Raises:
        UnusableToolError: One leads elsewhere or nowhere, or into itself; or the schema grows too large.
    """
    if not isinstance(schema, Mapping):
        raise UnusableToolError("the schema of the parameters must be a JSON object")
    size = 0

    def resolve(value: object, depth: int, *, named: bool = False) -> object:
        nonlocal size
        size += 1
        if depth > _MAX_DEPTH or size > _MAX_VALUES:
            raise UnusableToolError("the schema refers to itself, or is nested too deeply: write one level out")
        if isinstance(value, list):
            return [resolve(one, depth + 1) for one in value]
        if not isinstance(value, Mapping):
            return value
        if named:  # Names of properties, which may look like keywords.
            return {name: resolve(one, depth + 1) for name, one in value.items()}
        if "$dynamicRef" in value or "$recursiveRef" in value:
            raise UnusableToolError("dynamic references are not supported; use $ref")
        written = {
            key: one if key in _DATA else resolve(one, depth + 1, named=key in _NAMED)
            for key, one in value.items()
            if key not in _NOT_OFFERED
        }
        if "$ref" in value:
            target = resolve(_target(schema, str(value["$ref"])), depth + 1)
            return {**target, **written} if isinstance(target, dict) else target
        return written

    resolved = cast(Schema, resolve(schema, 0))
    if len(json.dumps(resolved, ensure_ascii=False).encode()) > _MAX_RESOLVED_BYTES:
        raise UnusableToolError(f"the schema, with its references resolved, exceeds {_MAX_RESOLVED_BYTES // 1024} KiB")
    return resolved


def _target(schema: Schema, reference: str) -> object:
    if reference == "#":
        return schema
    target: object = schema
    for part in reference.removeprefix("#/").split("/"):
        if not reference.startswith("#/") or not isinstance(target, Mapping) or part not in target:
            raise UnusableToolError(f"the reference {reference[:80]!r} does not lead to a place within the schema")
        target = target[part]
    return target


def _checked(schema: Schema) -> Schema:
    from jsonschema import Draft202012Validator  # Takes a tenth of a second, where no tool is registered.
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its top"
        raise UnusableToolError(
            f"the schema is not valid at {where}: {error.message[:_MAX_PROBLEM_CHARACTERS]}"
        ) from None
    if schema.get("type", "object") != "object":
        raise UnusableToolError("the schema of the parameters must be of type object")
    properties = schema.get("properties", {})
    for name in (INNER_THOUGHTS, REQUEST_HEARTBEAT):
        if isinstance(properties, Mapping) and name in properties:
            raise UnusableToolError(f"a property may not be called {name!r}: the Agent adds one of this name")
    return {**schema, "type": "object"}


@lru_cache(maxsize=1024)
def _validator(parameters: str) -> Validator:
    """Checks everything but regular expressions, which can take for ever, and never fetches anything."""
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
    """Leaves out properties that are null, need not be there, and may not be null."""
    if not isinstance(schema, Mapping):
        return value
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
