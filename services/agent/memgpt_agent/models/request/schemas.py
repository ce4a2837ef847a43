"""The functions in a request: tool declarations, or a schema that constrains the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from memgpt_agent.functions import Function, parameters_schema
from memgpt_agent.functions.function import ABOUT_USER, INNER_THOUGHTS
from memgpt_agent.models.request.wire import Wire

MAX_DESCRIPTION = 1024
"""Maximum number of characters of a description that OpenAI accepts."""

BOOLEAN_ENUM = "enum of booleans"
"""Not a keyword: an ``enum`` with the type ``boolean``, which Gemini accepts for strings only."""

TYPE_LIST = "list of types"
"""Not a keyword: a ``type`` with several types, where some endpoints accept one."""

DROPPABLE = (
    "additionalProperties", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
    "maxLength", "pattern", "format", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
    "patternProperties", "propertyNames", "unevaluatedProperties", "contains", "prefixItems", "default", "examples",
    "title", "const", "enum", "oneOf", "allOf", "anyOf", "not", "if", "then", "else", "readOnly", "deprecated",
    "nullable", "dependentSchemas", "dependentRequired", "contentEncoding", "contentMediaType", "$comment",
)  # fmt: skip
"""Keywords that can be dropped: without them a schema is less strict, but still describes the arguments."""

_NAMED = ("properties", "patternProperties", "dependentSchemas", "$defs")


def tools(
    functions: Sequence[Function], dropped: frozenset[str] = frozenset(), *, described: bool = False
) -> list[Wire]:
    """Return the declarations of the functions.

    Args:
        functions: The functions.
        dropped: Keywords to leave out.
        described: Whether to give a description to every property that has none.
    """
    return [_tool(function, dropped | {BOOLEAN_ENUM}, described) for function in functions]


@lru_cache(maxsize=4096)
def _tool(function: Function, dropped: frozenset[str], described: bool) -> Wire:
    parameters = without(parameters_schema(function, inner_thoughts=True), dropped)
    declaration = {
        "name": function.name,
        "description": _shortened(function.description) if function.description.strip() else _words(function.name),
        "parameters": _described(parameters) if described else parameters,
    }
    return {"type": "function", "function": declaration}


def _described(schema: object) -> object:
    """Return a schema in which every property has a description, by default the words of its name."""
    if isinstance(schema, list):
        return [_described(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {key: value if key == "properties" else _described(value) for key, value in schema.items()}
    properties = found.get("properties")
    if isinstance(properties, Mapping):
        found["properties"] = {
            name: {"description": _words(name), **value} if isinstance(value := _described(one), dict) else value
            for name, one in properties.items()
        }
    return found


def _words(name: str) -> str:
    return name.replace("_", " ").replace("-", " ").strip().capitalize() or name


def json_schema(
    functions: Sequence[Function],
    withheld: frozenset[str] = frozenset(),
    dropped: frozenset[str] = frozenset(),
    *,
    learns: bool = False,
    flat: bool = False,
) -> Wire:
    """Return the ``response_format`` that constrains an answer to a thought and one call.

    Its root is an object, as every constrained decoder demands, with a branch for each function inside. A small model
    seldom chooses to write to memory, and takes twice the time if it does, since it is asked again for its reply. It is
    better at filling in a place beside its reply.

    Args:
        functions: The functions of the agent.
        withheld: Names of those that may not be called now.
        dropped: Keywords to leave out.
        learns: Whether there is a place for facts about the user.
        flat: Whether to leave the arguments open, for decoders without support for alternatives.
    """
    offered = [function for function in functions if function.name not in withheld]
    if flat:
        name = {"type": "string", "enum": [function.name for function in offered]}
        call = _object({"function": name, "arguments": {"type": "object"}})
    else:
        call = {"anyOf": [_branch(function, dropped) for function in offered]}
    form: Wire = {INNER_THOUGHTS: {"type": "string"}}
    if learns:
        form[ABOUT_USER] = {"type": "string"}
    form["call"] = call
    schema = without(_object(form), dropped - {"anyOf", "enum"})
    wrapped: Wire = {"name": "function_call", "schema": schema}
    return {"type": "json_schema", "json_schema": wrapped if flat else {**wrapped, "strict": True}}


@lru_cache(maxsize=4096)
def _branch(function: Function, dropped: frozenset[str]) -> Wire:
    arguments = without(parameters_schema(function, inner_thoughts=False, strict=True), dropped)
    return _object({"function": {"type": "string", "enum": [function.name]}, "arguments": arguments})


def _object(properties: Mapping[str, object]) -> Wire:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def without(schema: object, dropped: frozenset[str]) -> object:
    """Return a schema without the keywords ``dropped``, and with no description that is empty or too long."""
    if isinstance(schema, list):
        return [without(one, dropped) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    if schema.get("type") == "array" and not {"items", "prefixItems"} & schema.keys():
        schema = {**schema, "items": {"type": "string"}}  # most endpoints demand them
    kept: dict[str, object] = {}
    for key, value in schema.items():
        if key in dropped or (key == "enum" and BOOLEAN_ENUM in dropped and _not_texts(value)):
            continue
        if key in _NAMED and isinstance(value, Mapping):  # names of properties, which may look like keywords
            kept[key] = {name: {} if one is True else without(one, dropped) for name, one in value.items()}
        elif key == "type" and isinstance(value, list) and TYPE_LIST in dropped:
            kept[key] = next((one for one in value if one != "null"), "string")
        elif key == "description" and isinstance(value, str):
            if value.strip():
                kept[key] = _shortened(value)
        else:
            kept[key] = without(value, dropped)
    return kept


def keywords(schema: object) -> set[str]:
    """Return the droppable keywords that a schema uses."""
    if isinstance(schema, list):
        return set().union(*map(keywords, schema)) if schema else set()
    if not isinstance(schema, Mapping):
        return set()
    found = {key for key in schema if key in DROPPABLE}
    if _not_texts(schema.get("enum")):
        found.add(BOOLEAN_ENUM)
    if isinstance(schema.get("type"), list):
        found.add(TYPE_LIST)
    for key, value in schema.items():
        inner = list(value.values()) if key in _NAMED and isinstance(value, Mapping) else value
        found |= keywords(inner)
    return found


def _not_texts(values: object) -> bool:
    return isinstance(values, list) and not all(isinstance(value, str) for value in values)


def _shortened(description: str) -> str:
    return description if len(description) <= MAX_DESCRIPTION else f"{description[: MAX_DESCRIPTION - 1]}…"
