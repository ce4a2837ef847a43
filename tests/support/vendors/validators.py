"""What request models of servers and validators of vendors demand of a chat request, as pydantic models.

The packages themselves bring whole inference engines, so their rules are written here, from their sources as of
mistral-common 1.5, vLLM 0.33 and SGLang 0.5. Each check raises `RefusedError` with words like those of the original.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from jsonschema import Draft7Validator
from jsonschema.exceptions import SchemaError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Body = Mapping[str, Any]
Check = Callable[[Body], None]

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ID = re.compile(r"[a-zA-Z0-9]{9}")


class RefusedError(Exception):
    """The request is refused. The message is what the endpoint says."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Function(_Strict):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    arguments: str


class _Call(_Strict):
    id: Annotated[str, Field(min_length=1, max_length=40)]
    type: Literal["function"]
    function: _Function
    extra_content: dict[str, Any] | None = None


class _System(_Strict):
    role: Literal["system"]
    content: Annotated[str, Field(min_length=1)]


class _User(_Strict):
    role: Literal["user"]
    content: Annotated[str, Field(min_length=1)]


class _Assistant(_Strict):
    role: Literal["assistant"]
    content: str
    tool_calls: Annotated[list[_Call], Field(min_length=1)] | None = None
    reasoning_content: str | None = None


class _Tool(_Strict):
    role: Literal["tool"]
    content: Annotated[str, Field(min_length=1)]
    tool_call_id: Annotated[str, Field(min_length=1, max_length=40)]


class _Declaration(_Strict):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: Annotated[str, Field(min_length=1, max_length=1024)]
    parameters: dict[str, Any]


class _Tools(_Strict):
    type: Literal["function"]
    function: _Declaration


class _Schema(_Strict):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool = False


class _Format(_Strict):
    type: Literal["json_schema", "json_object"]
    json_schema: _Schema | None = None


class _Options(_Strict):
    include_usage: bool


class ChatRequest(_Strict):
    """The fields that the request models of OpenAI, vLLM and SGLang have in common, each as narrow as the narrowest."""

    model: Annotated[str, Field(min_length=1)]
    messages: Annotated[
        list[Annotated[_System | _User | _Assistant | _Tool, Field(discriminator="role")]], Field(min_length=1)
    ]
    tools: Annotated[list[_Tools], Field(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["required", "auto"] | None = None
    parallel_tool_calls: Literal[False] | None = None
    response_format: _Format | None = None
    stream: bool = False
    stream_options: _Options | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None

    @model_validator(mode="after")
    def _agrees(self) -> ChatRequest:
        if self.tools is None and (self.tool_choice or self.parallel_tool_calls is not None):
            raise ValueError("When using `tool_choice`, `tools` must be set.")
        if self.stream_options is not None and not self.stream:
            raise ValueError("Stream options can only be defined when `stream=True`.")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("max_tokens and max_completion_tokens are given both")
        if self.response_format is not None and self.response_format.type == "json_schema":
            schema = self.response_format.json_schema
            if schema is None or schema.schema_.get("type") != "object":
                raise ValueError("schema must be a JSON Schema of 'type: \"object\"'")
        return self


def request_model(body: Body) -> None:
    """Check a request as the request models of vLLM and SGLang do, and OpenAI's service."""
    try:
        ChatRequest.model_validate(dict(body))
        # A body is sent as JSON of UTF-8, in which there are no halves of characters and no infinite numbers.
        json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
    except (ValidationError, ValueError) as error:
        raise RefusedError(str(error)) from error


def engine(body: Body) -> None:
    """Check what vLLM and SGLang do with a request before they render it."""
    for message in body["messages"]:
        for call in message.get("tool_calls") or ():
            try:
                arguments = json.loads(call["function"]["arguments"], parse_constant=_no_constant)
            except ValueError as error:
                raise RefusedError(f"tool call arguments are not valid JSON: {error}") from error
            if not isinstance(arguments, dict):
                raise RefusedError("tool call arguments must be an object")
    for tool in body.get("tools") or ():
        try:
            Draft7Validator.check_schema(tool["function"]["parameters"])
        except SchemaError as error:
            raise RefusedError(f"Invalid tool schema: {error.message}") from error


def mistral(body: Body) -> None:
    """Check the order of messages, the names and the ids, as the validators of mistral-common do."""
    messages = body["messages"]
    _mistral_order([message["role"] for message in messages])
    pending = 0
    for message in messages:
        if message["role"] == "tool":
            pending -= 1
            _matches(_ID, message["tool_call_id"], "Tool call id", "a-z, A-Z, 0-9, with a length of 9.")
        elif message["role"] == "assistant":
            calls = message.get("tool_calls") or []
            if pending:
                raise RefusedError("Not the same number of function calls and responses")
            if bool(message.get("content")) == bool(calls):
                raise RefusedError("Assistant message must have either content or tool_calls, but not both.")
            pending = len(calls)
            for call in calls:
                _matches(_ID, call["id"], "Tool call id", "a-z, A-Z, 0-9, with a length of 9.")
                _matches(_NAME, call["function"]["name"], "Function name", "a-z, A-Z, 0-9, underscores and dashes.")
    if pending:
        raise RefusedError("Not the same number of function calls and responses")


_MAY_FOLLOW = {
    "system": {"user", "assistant", "system"},
    "user": {"assistant", "system", "user"},
    "assistant": {"assistant", "user", "tool"},
    "tool": {"assistant", "tool"},
}


def _mistral_order(roles: list[str]) -> None:
    for before, role in itertools.pairwise(roles):
        if role not in _MAY_FOLLOW[before]:
            raise RefusedError(f"Unexpected role '{role}' after role '{before}'")
    if roles[-1] not in ("user", "tool"):
        raise RefusedError(
            f"Expected last role User or Tool (or Assistant with prefix True) for serving but got {roles[-1]}"
        )


def _matches(pattern: re.Pattern[str], given: str, what: str, demanded: str) -> None:
    if not pattern.fullmatch(given):
        raise RefusedError(f"{what} was {given} but must be {demanded}")


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


VALIDATORS: dict[str, Check] = {"request models": request_model, "engines": engine, "mistral-common": mistral}
