"""Parsing and checking of a call's arguments as a model wrote them, with errors that the model can act on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from memgpt_agent.domain import FunctionCall
from memgpt_agent.functions import remote
from memgpt_agent.functions.function import (
    INNER_THOUGHTS,
    REQUEST_HEARTBEAT,
    Call,
    Function,
    FunctionError,
    Parameter,
)

_MAX_INT = 2**31 - 1
_WHOLE = re.compile(r"-?[0-9]{1,18}")


def parse_call(call: FunctionCall, functions: Sequence[Function]) -> Call:
    """Check a call to one of ``functions``.

    Raises:
        FunctionError: The function is unknown, the arguments are not a JSON object, one is missing, unexpected, of the
            wrong type or out of its range.
    """
    function = next((function for function in functions if function.name == call.name), None)
    if function is None:
        known = ", ".join(f.name for f in functions)
        raise FunctionError(f'There is no function "{call.name}". Call one of: {known}.')
    given = _parse_object(call)
    given.pop(INNER_THOUGHTS, None)
    heartbeat = _boolean(function, given.pop(REQUEST_HEARTBEAT, None))
    if function.tool is not None:
        return Call(function, _check_remote(function, given), heartbeat)
    values: dict[str, object] = {}
    for parameter in function.parameters:
        value = given.pop(parameter.name, None)
        if value is None:
            if parameter.default is None:
                raise FunctionError(f'{function.name} needs the argument "{parameter.name}": {parameter.description}')
            value = parameter.default
        values[parameter.name] = _check(function, parameter, value)
    if given:
        takes = ", ".join(p.name for p in function.parameters)
        raise FunctionError(f'{function.name} has no argument "{next(iter(given))}". It takes: {takes}.')
    return Call(function, values, heartbeat)


def _parse_object(call: FunctionCall) -> dict[str, object]:
    try:
        value = json.loads(call.arguments or "{}", strict=False)
    except ValueError as error:
        raise FunctionError(
            f"The arguments of {call.name} are not valid JSON ({error}). Call it again with one JSON object."
        ) from None
    except RecursionError:
        raise FunctionError(f"The arguments of {call.name} are nested too deeply. Call it with plain values.") from None
    if not isinstance(value, dict):
        raise FunctionError(f"The arguments of {call.name} must be one JSON object, not {type(value).__name__}.")
    return value


def _check_remote(function: Function, given: Mapping[str, object]) -> Mapping[str, object]:
    try:
        return remote.check(function, given)
    except ValueError as error:
        raise FunctionError(f"The arguments of {function.name} do not fit its schema: {error}") from None


def _boolean(function: Function, value: object) -> bool:
    if not function.chains:
        return False
    if value is None:
        return function.heartbeat_default
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise FunctionError(f"{REQUEST_HEARTBEAT} must be true or false, not {_json(value)}.")


def _json(value: object) -> str:
    """Return a value as the model wrote it, shortened."""
    return json.dumps(value, ensure_ascii=False)[:100]


def _check(function: Function, parameter: Parameter, value: object) -> str | int:
    where = f'"{parameter.name}" of {function.name}'
    if parameter.type == "integer":
        return _integer(where, parameter, value)
    if not isinstance(value, str):
        raise FunctionError(f"{where} must be text, not {_json(value)}.")
    if not parameter.may_be_empty and not value.strip():
        raise FunctionError(f"{where} must not be empty.")
    return value


def _integer(where: str, parameter: Parameter, value: object) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise FunctionError(f"{where} must be a whole number, not {_json(value)}.")
    if parameter.minimum is not None and value < parameter.minimum:
        raise FunctionError(f"{where} must be at least {parameter.minimum}, not {value}.")
    maximum = _MAX_INT if parameter.maximum is None else parameter.maximum
    if value > maximum:
        raise FunctionError(f"{where} must be at most {maximum}, not {value}.")
    return value
