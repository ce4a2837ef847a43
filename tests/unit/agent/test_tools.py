"""Remote functions: valid registrations, their presentation to models, and validation of arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from memgpt_agent.domain import FunctionCall, Message, Role, Tool
from memgpt_agent.functions import BUILT_IN, Call, Function, FunctionError, functions_of, parameters_schema, parse_call
from memgpt_agent.functions.remote import function_of
from memgpt_agent.models.request import plain
from memgpt_agent.remote_tools.addresses import AllowedAddresses, normal
from memgpt_agent.remote_tools.description import UnusableToolError, describe

from tests.unit.agent.fakes import answered

WEATHER: dict[str, Any] = {
    "$defs": {"Place": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
    "properties": {
        "place": {"$ref": "#/$defs/Place", "description": "Where."},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "$ref": {"type": "string", "pattern": "^(a+)+$"},
    },
    "required": ["place"],
    "additionalProperties": False,
}


def weather(schema: object = WEATHER) -> Tool:
    return describe("weather", "Tells the weather.", json.dumps(schema), "localhost:7")


def parsed(schema: object = WEATHER, /, **arguments: object) -> Call:
    return parse_call(FunctionCall("c", "weather", json.dumps(arguments)), (function_of(weather(schema)),))


def test_an_agent_has_its_tools_beside_the_built_in_functions() -> None:
    context = replace(answered(), tools=(weather(),))
    assert functions_of(context)[:-1] == BUILT_IN == functions_of(answered())
    assert functions_of(context)[-1].name == "weather"


def test_references_are_written_out() -> None:
    schema = json.loads(weather().parameters)
    assert "$defs" not in schema
    assert schema["properties"]["place"]["properties"] == {"city": {"type": "string"}}
    assert schema["properties"]["place"]["description"] == "Where."
    assert schema["properties"]["$ref"]["type"] == "string", "a property may be called like a keyword"


@pytest.mark.parametrize("reference", ["a~1b~0c", "a~1b%7E0c"])
def test_references_may_be_escaped(reference: str) -> None:
    schema = {"properties": {"x": {"$ref": f"#/$defs/{reference}"}}, "$defs": {"a/b~c": {"type": "string"}}}
    assert json.loads(weather(schema).parameters)["properties"] == {"x": {"type": "string"}}


def test_how_models_are_told() -> None:
    function = function_of(weather())
    loose = parameters_schema(function, inner_thoughts=True)
    assert loose["required"] == ["inner_thoughts", "place", "request_heartbeat"]
    strict: Any = parameters_schema(function, inner_thoughts=False, strict=True)
    assert strict["required"] == ["place", "days", "$ref", "request_heartbeat"]
    assert strict["properties"]["days"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert strict["properties"]["place"]["additionalProperties"] is False
    assert "weather: Tells the weather." in plain.json_instructions((function,))
    assert '"city"' in plain.json_instructions((function,))


def test_arguments_reach_the_tool_as_it_wants_them() -> None:
    call = parsed(place={"city": "Oslo"}, days=None, request_heartbeat=False, inner_thoughts="Hm.")
    assert call.values == {"place": {"city": "Oslo"}}
    assert not call.request_heartbeat
    assert parsed(place={"city": "Oslo"}).request_heartbeat, "a result is of no use unless it is read"
    nullable = {"properties": {"x": {"type": ["string", "null"]}}}
    assert parsed(nullable, x=None).values == {"x": None}
    assert parsed({"properties": {"x": {"anyOf": [{"$ref": "#/$defs/N"}]}}, "$defs": {"N": {"type": "null"}}}, x=None)


def test_nulls_of_constrained_answers_are_dropped_inside_of_optional_objects() -> None:
    size = {"type": "object", "properties": {"cm": {"type": "integer"}}}
    for place in (
        {"anyOf": [size, {"type": "null"}]},
        {"oneOf": [{"type": "array", "items": size}, {"type": "string"}]},
    ):
        given: Any = {"cm": None} if "anyOf" in place else [{"cm": None}]
        assert parsed({"properties": {"size": place}}, size=given).values == {"size": {} if "anyOf" in place else [{}]}
    both = {"anyOf": [size, {"type": "object", "properties": {"cm": {"type": "null"}}}]}
    assert parsed({"properties": {"size": both}}, size={"cm": None}).values == {"size": {"cm": None}}


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", f"1{400 * '0'}"])
def test_a_tool_gets_no_number_that_json_lacks(number: str) -> None:
    function = function_of(weather({"properties": {"x": {"type": "number", "multipleOf": 0.5}}}))
    with pytest.raises(FunctionError, match="do not fit its schema"):
        parse_call(FunctionCall("c1", function.name, f'{{"x": {number}}}'), [function])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "'place' is a required property"),
        ({"place": {}}, "place: 'city' is a required property"),
        ({"place": {"city": 7}}, "place.city: 7 is not of type 'string'"),
        ({"place": {"city": "Oslo"}, "days": 8}, "days: 8 is greater than the maximum of 7"),
        ({"place": {"city": "Oslo"}, "color": "red"}, "'color' was unexpected"),
    ],
)
def test_arguments_that_do_not_fit(arguments: Mapping[str, object], complaint: str) -> None:
    with pytest.raises(FunctionError, match=r"The arguments of weather do not fit its schema") as caught:
        parsed(**arguments)
    assert complaint in str(caught.value)


def test_regular_expressions_are_left_to_the_tool() -> None:
    """This expression would take practically forever."""
    assert parsed(place={"city": "Oslo"}, **{"$ref": "a" * 60 + "!"})
    pattern = {"patternProperties": {"^(a+)+$": {"type": "string"}}, "additionalProperties": False}
    assert parsed(pattern, **{"a" * 60 + "!": 1})


@pytest.mark.parametrize(
    ("name", "description", "parameters", "complaint"),
    [
        ("two words", "x", "", "use 1 to 64"),
        ("send_message", "x", "", "built-in"),
        ("f", " ", "", "f: the description must have"),
        ("f", "x", "{", "f: the parameters are not valid JSON"),
        ("f", "x", "[" * 9000, "f: the parameters are not valid JSON"),
        ("f", "x", "[]", "must be a JSON object"),
        ("f", "x", '{"type": "array"}', "must be of type object"),
        ("f", "x", '{"properties": {"a": {"type": "text"}}}', "not valid at properties/a/type"),
        ("f", "x", '{"properties": {"inner_thoughts": {}}}', 'may not be called "inner_thoughts"'),
        ("f", "x", '{"$ref": "https://example.org/schema"}', "does not lead to a place within the schema"),
        ("f", "x", '{"$ref": "#/$defs/absent"}', "does not lead to a place within the schema"),
        ("f", "x", '{"$ref": "#/$defs/any", "$defs": {"any": true}}', "must refer to a JSON object"),
        ("f", "x", '{"properties": {"a": {"enum": [NaN]}}}', "f: the parameters are not valid JSON"),
        ("f", "x", '{"$dynamicRef": "https://example.org"}', "dynamic references"),
        ("f", "x", '{"properties": {"a": {"$ref": "#"}}}', "is recursive"),
        ("f", "x", json.dumps({"description": "x" * 20_000}), "larger than 16 KiB"),
    ],
)
def test_descriptions_that_are_refused(name: str, description: str, parameters: str, complaint: str) -> None:
    with pytest.raises(UnusableToolError) as caught:
        describe(name, description, parameters, "localhost:7")
    assert complaint in str(caught.value)


def test_references_that_multiply_are_refused() -> None:
    """Each level refers twice to the next: 2^30 copies when written out."""
    levels = {f"L{n}": {"allOf": [{"$ref": f"#/$defs/L{n + 1}"}] * 2} for n in range(30)}
    bomb = {"$defs": {**levels, "L30": {}}, "$ref": "#/$defs/L0"}
    with pytest.raises(UnusableToolError, match="nested too deeply"):
        weather(bomb)


def test_addresses() -> None:
    allowed = AllowedAddresses(["localhost:6000", "*.example.org:443", "tls://tools.example.com:*", "[::1]:7"])
    assert allowed.tls("localhost:6000") is False
    assert allowed.tls("a.b.example.org:443") is False
    assert allowed.tls("tools.example.com:99") is True
    assert allowed.tls("[::1]:7") is False
    for other in ("localhost:6001", "example.org:443", "evilexample.org:443", "tools.example.com.evil.net:99", "x"):
        assert allowed.tls(other) is None
    assert AllowedAddresses([]).tls("localhost:6000") is None
    assert AllowedAddresses(["*:*"]).tls("anything.net:1") is False
    assert normal(" LocalHost:06000 ") == "localhost:6000"


@pytest.mark.parametrize("address", ["", "localhost", "unix:/tmp/x", "http://x:1", "a b:1", "x:0", "x:99999", "x:1/y"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        normal(address)
    with pytest.raises(ValueError, match="is not an address"):
        AllowedAddresses([address])


def test_a_call_is_open_until_it_has_its_result() -> None:
    context = answered()
    call = FunctionCall("c", "weather", "{}")
    asked = replace(context, messages=(*context.messages, Message(Role.ASSISTANT, "", function_call=call)))
    assert context.open_call is None
    assert asked.open_call == call
    done = replace(asked, messages=(*asked.messages, Message(Role.TOOL, "{}", call_id="c")))
    assert done.open_call is None


def test_functions_are_made_once() -> None:
    first: Function = function_of(weather())
    assert function_of(weather()) is first
