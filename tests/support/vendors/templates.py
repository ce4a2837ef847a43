# ruff: noqa: E501 - a demand a line
"""Chat templates with the demands of those that llama.cpp ships, reduced to what can fail.

Each raises in the words of the templates of its family. Rendered as servers do: the arguments of calls as objects,
undefined names as errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tests.support.vendors.validators import RefusedError

_ALTERNATING = """
{%- set talk = messages[1:] if messages[0].role == "system" else messages -%}
{%- set counted = namespace(turn=0) -%}
{%- for message in talk -%}
  {%- if message.role == "user" or (message.role == "assistant" and not message.tool_calls) -%}
    {%- if (message.role == "user") != (counted.turn % 2 == 0) -%}
      {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") -}}
    {%- endif -%}
    {%- set counted.turn = counted.turn + 1 -%}
  {%- endif -%}
  {%- for call in message.tool_calls or [] -%}
    {%- if call.id | length != 9 -%}{{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") -}}{%- endif -%}
    [TOOL_CALLS]{{ call.function.name }}{{ call.function.arguments | tojson }}
  {%- endfor -%}
  {%- if message.role == "tool" and message.tool_call_id | length != 9 -%}
    {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") -}}
  {%- endif -%}
  [{{ message.role }}]{{ message.content | trim }}
{%- endfor -%}
"""

_FIRST_IS_THE_USERS = """
{%- set talk = messages[1:] if messages[0].role == "system" else messages -%}
{%- if tools and (not talk or talk[0].role != "user") -%}
  {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") -}}
{%- endif -%}
{%- for message in talk -%}
  {%- if message.tool_calls -%}
    {%- if message.tool_calls | length != 1 -%}{{- raise_exception("This model only supports single tool-calls at once!") -}}{%- endif -%}
    {{- message.tool_calls[0].function.name }}{{ message.tool_calls[0].function.arguments | tojson }}
  {%- else -%}
    <|{{ message.role }}|>{{ message.content | trim }}
  {%- endif -%}
{%- endfor -%}
"""

_SYSTEM_FIRST = """
{%- set query = namespace(found=false) -%}
{%- for message in messages -%}
  {%- if message.role == "system" and not loop.first -%}{{- raise_exception("System message must be at the beginning.") -}}{%- endif -%}
  {%- if message.role == "user" and not message.content.startswith("<tool_response>") -%}{%- set query.found = true -%}{%- endif -%}
  {%- if message.role not in ["system", "user", "assistant", "tool"] -%}{{- raise_exception("Unexpected message role.") -}}{%- endif -%}
  <|im_start|>{{ message.role }} {{ message.content.split("</think>")[-1].lstrip("\\n") }}
  {%- for call in message.tool_calls or [] -%}
    <function={{ call.function.name }}>
    {%- for name, value in call.function.arguments | items -%}<parameter={{ name }}>{{ value if value is string else value | tojson }}{%- endfor -%}
  {%- endfor -%}
{%- endfor -%}
{%- if not query.found -%}{{- raise_exception("No user query found in messages.") -}}{%- endif -%}
"""

_RESULTS_AFTER_CALLS = """
{%- set last = namespace(name=none) -%}
{%- for message in messages -%}
  {%- if message.role == "assistant" and message.tool_calls -%}
    {%- set last.name = message.tool_calls[-1].function.name -%}
    <|channel|>commentary to=functions.{{ last.name }}
  {%- elif message.role == "tool" and last.name is none -%}
    {{- raise_exception("Message has tool role, but there was no previous assistant message with a tool call!") -}}
  {%- elif message.role == "assistant" -%}
    {%- set last.name = none -%}
  {%- endif -%}
  {%- if message.role == "assistant" and "<|channel|>analysis<|message|>" in message.content -%}
    {{- raise_exception("You have passed a message containing <|channel|> tags in the content field.") -}}
  {%- endif -%}
  {{- message.content -}}
{%- endfor -%}
"""

_NO_SYSTEM = """
{%- if messages[0].role == "system" -%}{{- raise_exception("System role not supported") -}}{%- endif -%}
{%- for message in messages -%}
  {%- if (message.role == "user") != (loop.index0 % 2 == 0) -%}
    {{- raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") -}}
  {%- endif -%}
  <start_of_turn>{{ message.role }} {{ message.content | trim }}<end_of_turn>
{%- endfor -%}
"""

_TYPED_TOOLS = """
{%- for tool in tools or [] -%}
  def {{ tool.function.name }}(
  {%- for name, fields in tool.function.parameters.properties | items -%}
    {{ name }}: {{ fields.type if fields.type is defined else "Any" }}{{ "" if name in tool.function.parameters.required else " = None" }},
  {%- endfor -%}
  ): {{ tool.function.description | trim }}
  {%- for name, fields in tool.function.parameters.properties | items -%}
    {{ name }}: {{ fields.description | trim }}
  {%- endfor -%}
{%- endfor -%}
{%- for message in messages -%}
  <|{{ message.role }}|>{{ message.content | trim }}
  {%- for call in message.tool_calls or [] -%}
    Action: {"tool_name": "{{ call.function.name }}", "parameters": {{ call.function.arguments | tojson }}}
  {%- endfor -%}
{%- endfor -%}
"""

_KNOWN_RESULTS = """
{%- set calls = namespace(ids=[]) -%}
{%- for message in messages -%}
  {%- if message.content is not string -%}{{- raise_exception("Only text content is supported in messages.") -}}{%- endif -%}
  {%- for call in message.tool_calls or [] -%}
    {%- if call.type != "function" or call.function.arguments is not mapping -%}{{- raise_exception("A tool call is no function.") -}}{%- endif -%}
    {%- set calls.ids = calls.ids + [call.id] -%}
    <|tool_call_begin|>{{ call.function.name }}:{{ calls.ids | length - 1 }}{{ call.function.arguments | tojson }}
  {%- endfor -%}
  {%- if message.role == "tool" -%}
    {%- if message.tool_call_id not in calls.ids -%}{{- raise_exception("A tool result has no call before it.") -}}{%- endif -%}
    ## Return of {{ message.tool_call_id }}
  {%- endif -%}
  {{- message.content -}}
{%- endfor -%}
"""

_RESULTS_DIRECTLY_AFTER = """
{%- set before = namespace(role="", last="") -%}
{%- for message in messages -%}
  {%- if message.role == "tool" and before.role != "call" and before.role != "tool" -%}
    {{- raise_exception("Tool messages must directly follow an assistant message with tool calls.") -}}
  {%- endif -%}
  {%- if before.role == "call" and message.role != "tool" -%}
    {{- raise_exception("An assistant message with tool_calls must be followed by tool messages.") -}}
  {%- endif -%}
  {%- set before.role = "call" if message.tool_calls else message.role -%}
  {%- for call in message.tool_calls or [] -%}<seed:tool_call><function={{ call.function.name }}>{%- endfor -%}
  {{- message.role ~ message.content -}}
{%- endfor -%}
{%- if messages[-1].role == "assistant" -%}{{- raise_exception("Cannot continue an assistant message.") -}}{%- endif -%}
"""

TEMPLATES = {
    "Mistral": _ALTERNATING,
    "Llama 3": _FIRST_IS_THE_USERS,
    "Qwen 3": _SYSTEM_FIRST,
    "gpt-oss, MiniMax": _RESULTS_AFTER_CALLS,
    "Gemma 2": _NO_SYSTEM,
    "Command R+, Hermes, Functionary": _TYPED_TOOLS,
    "Kimi K2, GLM, Granite": _KNOWN_RESULTS,
    "Seed-OSS, DeepSeek": _RESULTS_DIRECTLY_AFTER,
}
"""Templates by the family of models that use their like."""

WITHOUT_TOOLS = frozenset({"Gemma 2"})


def render(name: str, body: Mapping[str, Any]) -> str:
    """Return the prompt that a template makes of a request.

    Raises:
        RefusedError: The template does not take the messages.
    """
    messages = [_with_objects(message) for message in body["messages"]]
    try:
        return _compiled(name).render(messages=messages, tools=body.get("tools"))
    except jinja2.TemplateError as error:
        raise RefusedError(f"Error rendering the chat template: {error}") from error


def _with_objects(message: dict[str, Any]) -> dict[str, Any]:
    calls = [
        {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
        for call in message.get("tool_calls") or ()
    ]
    return {**message, "tool_calls": calls}


@lru_cache
def _compiled(name: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _raise
    return environment.from_string(TEMPLATES[name])


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
