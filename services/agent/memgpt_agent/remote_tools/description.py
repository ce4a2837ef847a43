"""Descriptions of remote functions, as a server lists them: checked, and resolved into a form that endpoints accept.

A description is data. Nothing in it is executed or fetched: references are resolved within the schema alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import unquote

from memgpt_agent.domain import Tool
from memgpt_agent.functions.function import INNER_THOUGHTS, REQUEST_HEARTBEAT
from memgpt_agent.functions.registry import BUILT_IN_BY_NAME

Schema = Mapping[str, object]

MAX_FUNCTIONS = 100
"""Maximum number of functions of one address, and of all addresses of an agent."""

MAX_DESCRIPTION_CHARACTERS = 4096
MAX_SCHEMA_BYTES = 16 * 1024
MAX_RESOLVED_BYTES = 64 * 1024
_MAX_DEPTH = 32
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_VALUES = 16 * 1024
_NAMED = ("properties", "patternProperties", "dependentSchemas")
_DATA = ("enum", "const", "default", "examples", "required")
_NOT_OFFERED = ("$ref", "$defs", "definitions", "$schema", "$id", "$anchor", "$dynamicAnchor", "$comment")
_MAX_PROBLEM_CHARACTERS = 300


class UnusableToolError(Exception):
    """A description that cannot be used. The message names the function and the problem."""


def describe(
    name: str, description: str, parameters: str, address: str, max_schema_bytes: int = MAX_SCHEMA_BYTES
) -> Tool:
    """Check a server's description of a function, and resolve the references in its schema.

    Args:
        name: Its name.
        description: What it does.
        parameters: JSON schema of its arguments.
        address: Address of the server.
        max_schema_bytes: Maximum bytes of the schema; MAX_RESOLVED_BYTES if its references are resolved.

    Raises:
        UnusableToolError: The function cannot be offered to a model.
    """
    if not _NAME.fullmatch(name):
        raise UnusableToolError(f'invalid name "{name[:80]}"; use 1 to 64 of A-Z a-z 0-9 _ -')
    if name in BUILT_IN_BY_NAME:
        raise UnusableToolError(f'"{name}" is the name of a built-in function; choose another one')
    if not 0 < len(description.strip()) <= MAX_DESCRIPTION_CHARACTERS:
        raise UnusableToolError(f"{name}: the description must have 1 to {MAX_DESCRIPTION_CHARACTERS:,} characters")
    if len(parameters.encode()) > max_schema_bytes:
        raise UnusableToolError(f"{name}: the schema of the parameters is larger than {max_schema_bytes // 1024} KiB")
    try:
        schema = _checked(_resolved(json.loads(parameters or '{"type": "object"}')))
    except UnusableToolError as error:
        raise UnusableToolError(f"{name}: {error}") from None
    except (ValueError, RecursionError):
        raise UnusableToolError(f"{name}: the parameters are not valid JSON") from None
    return Tool(name, description.strip(), json.dumps(schema, ensure_ascii=False), address)


def _resolved(schema: object) -> Schema:
    """Return the schema with its references resolved.

    Raises:
        UnusableToolError: A reference is external, broken or recursive, or the schema becomes too large.
    """
    if not isinstance(schema, Mapping):
        raise UnusableToolError("the schema of the parameters must be a JSON object")
    size = 0

    def resolve(value: object, depth: int, *, named: bool = False) -> object:
        nonlocal size
        size += 1
        if depth > _MAX_DEPTH or size > _MAX_VALUES:
            raise UnusableToolError("the schema is recursive, nested too deeply, or too large; write out a few levels")
        if isinstance(value, list):
            return [resolve(one, depth + 1) for one in value]
        if not isinstance(value, Mapping):
            return value
        if named:  # names of properties, which may look like keywords
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

    resolved = resolve(schema, 0)
    if not isinstance(resolved, Mapping):
        raise UnusableToolError("the schema of the parameters must refer to a JSON object")
    # Python reads numbers such as NaN, which are not JSON: an endpoint would refuse every request with them.
    if len(json.dumps(resolved, ensure_ascii=False, allow_nan=False).encode()) > MAX_RESOLVED_BYTES:
        raise UnusableToolError(f"the schema, with its references resolved, exceeds {MAX_RESOLVED_BYTES // 1024} KiB")
    return resolved


def _target(schema: Schema, reference: str) -> object:
    if reference == "#":
        return schema
    target: object = schema
    for token in reference.removeprefix("#/").split("/"):
        part = unquote(token).replace("~1", "/").replace("~0", "~")
        if not reference.startswith("#/") or not isinstance(target, Mapping) or part not in target:
            raise UnusableToolError(f'the reference "{reference[:80]}" does not lead to a place within the schema')
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
            raise UnusableToolError(f'a property may not be called "{name}": the Agent adds one of this name')
    return {**schema, "type": "object"}
