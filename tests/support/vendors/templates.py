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

_NAMED_RESULTS = """
{%- set before = namespace(calls=[], place=0) -%}
{%- for message in messages -%}
  {%- if message.role == "tool" -%}
    {%- set found = namespace(name=none) -%}
    {%- for call in before.calls if call.id == message.tool_call_id -%}{%- set found.name = call.function.name -%}{%- endfor -%}
    {%- if found.name is none and before.place < before.calls | length -%}{%- set found.name = before.calls[before.place].function.name -%}{%- endif -%}
    {%- if found.name is none -%}{{- raise_exception("Tool messages need a resolvable tool name.") -}}{%- endif -%}
    {%- set before.place = before.place + 1 -%}
    <|open|>message role="tool" tool="{{ found.name }}"<|sep|>
  {%- elif message.role == "assistant" -%}
    {%- set before.calls = message.tool_calls -%}{%- set before.place = 0 -%}
    {%- for call in message.tool_calls -%}
      {%- if call.function.arguments is not mapping and call.function.arguments is not string -%}{{- raise_exception("Tool call arguments must be a mapping or a JSON object string.") -}}{%- endif -%}
      <|open|>call tool="{{ call.function.name }}"<|sep|>
    {%- endfor -%}
  {%- endif -%}
  {{- message.content | string -}}
{%- endfor -%}
"""

_RESULTS_WITHIN_ANSWERS = """
{%- set answer = namespace(open=false, called=false) -%}
{%- for message in messages -%}
  {%- if message.role == "system" -%}
    {%- if not loop.first -%}{{- raise_exception("Invalid system message") -}}{%- endif -%}
  {%- elif message.role == "user" -%}
    {%- set answer.open = false -%}
    {%- if message.content is not string -%}{{- raise_exception("Invalid user message: " + message.role) -}}{%- endif -%}
  {%- elif message.role == "assistant" -%}
    {%- set answer.open = true -%}
    {%- for call in message.tool_calls -%}
      {%- if call.type != "function" -%}{{- raise_exception("Invalid tool call type: " + call.type) -}}{%- endif -%}
      <|tools_prefix|>[{"{{ call.function.name }}": {{ call.function.arguments | tojson }}}]<|tools_suffix|>
    {%- endfor -%}
  {%- elif message.role == "tool" -%}
    {%- if not answer.open -%}{{- raise_exception("Tool message outside of assistant") -}}{%- endif -%}
  {%- else -%}{{- raise_exception("Invalid message role") -}}
  {%- endif -%}
  {{- message.content -}}
{%- endfor -%}
"""

_ARGUMENTS_ARE_OBJECTS = """
{%- if not messages -%}{{- raise_exception("No messages provided.") -}}{%- endif -%}
{%- for message in messages -%}
  {%- if message.content is not string -%}{{- raise_exception(message.role ~ " content must be a string or a list of text blocks") -}}{%- endif -%}
  {%- for call in message.tool_calls -%}
    {%- if call.function.arguments is not mapping -%}
      {{- raise_exception("tool_call.function.arguments must be a dictionary; normalize JSON strings before apply_chat_template") -}}
    {%- endif -%}
    <tool_call>{{ call.function.name }}{% for name, value in call.function.arguments.items() %}<arg_key>{{ name }}</arg_key>{{ value | tojson }}{% endfor %}</tool_call>
  {%- endfor -%}
  {{- message.content -}}
{%- endfor -%}
"""

_ARGUMENTS_ARE_TEXT = """
{%- for message in messages -%}
  {%- if message.role == "assistant" and message.tool_calls is defined and message.tool_calls is not none -%}
    {%- for call in message.tool_calls -%}
      {{- message.content + "<｜tool▁call▁begin｜>" + call.function.name + "<｜tool▁sep｜>" + call.function.arguments -}}
    {%- endfor -%}
  {%- elif message.role == "tool" -%}{{- "<｜tool▁output▁begin｜>" + message.content -}}
  {%- elif message.role == "assistant" -%}{{- message.content.split("</think>", 1)[-1] + "<｜end▁of▁sentence｜>" -}}
  {%- else -%}{{- "<｜User｜>" + message.content -}}
  {%- endif -%}
{%- endfor -%}
"""

_CALLS_AS_IN_PYTHON = """
{%- for message in messages -%}
  {{- "<|im_start|>" + message.role + "\n" -}}
  {%- if message.role == "assistant" and message.tool_calls is defined -%}
    {%- for call in message.tool_calls -%}
      {{- call.function.name + "(" -}}
      {%- for name, value in call.function.arguments.items() -%}
        {{- name + "=" + (value if value is string else value | tojson if value is mapping else value | string) -}}
      {%- endfor -%}
      {{- ")" -}}
    {%- endfor -%}
  {%- endif -%}
  {{- message.content -}}
{%- endfor -%}
"""

_ENDS_WITH_THE_USER = """
{%- for message in messages -%}
  {%- if message.role in ["user", "system"] and "/think" in message.content -%}/think{%- endif -%}
  {%- if message.role == "assistant" and loop.last -%}{{- raise_exception("The last answer would be left out.") -}}{%- endif -%}
  {{- message.content.replace("/think", "").replace("/no_think", "").strip() -}}
  {%- for call in message.tool_calls -%}
    <TOOLCALL>[{{- '{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) + "}" -}}]</TOOLCALL>
  {%- endfor -%}
{%- endfor -%}
"""

_UPPER_TYPES = """
{%- macro declared(properties, required) -%}
  {%- for name, value in properties | dictsort -%}
    {%- if value is not mapping -%}{{- raise_exception("A property is no schema.") -}}{%- endif -%}
    {{ name }}:{ {{- (value["type"] | default("") | string | upper) -}} {{- value["description"] | default("") -}}
    {%- if value["properties"] is defined -%}{{- declared(value["properties"], value["required"] | default([])) -}}{%- endif -%}
    {%- if value["type"] | default("") == "array" -%}{%- for key, item in value["items"] | dictsort -%}{{ key }}:{{ item | string }}{%- endfor -%}{%- endif -%}
    }
  {%- endfor -%}
{%- endmacro -%}
{%- for tool in tools or [] -%}
  {{- "declaration:" + tool.function.name + tool.function.description -}}
  {{- declared(tool.function.parameters.properties, tool.function.parameters.required) -}}
  {{- tool.function.parameters.type | upper -}}
{%- endfor -%}
{%- for message in messages -%}
  {%- for call in message.tool_calls -%}
    {{- "<|tool_call>call:" + call.function.name + "{" -}}
    {%- for name, value in call.function.arguments | dictsort -%}{{ name }}:{{ value | string }}{%- endfor -%}}<tool_call|>
  {%- endfor -%}
  {{- message.content | trim -}}
{%- endfor -%}
"""

_TYPESCRIPT = """
{%- macro typed(schema) -%}
  {%- if schema.get("anyOf") is sequence -%}
    {%- for one in schema.anyOf -%}({{ typed(one) }}){%- endfor -%}
  {%- elif schema.get("type") is sequence and schema.type is not string -%}
    {%- for one in schema.type -%}({{ one + "" }}){%- endfor -%}
  {%- elif schema.get("type") == "object" or schema.get("properties") is mapping -%}
    {%- set required = schema.get("required", []) + ["[key: string]"] -%}
    {%- for name, value in schema.get("properties", {}).items() -%}
      {%- if value.get("description") is string -%}{%- for line in value["description"].split("\n") -%}// {{ line.strip() }}{%- endfor -%}{%- endif -%}
      {{- name + ("" if name in required else "?") + ": " + typed(value) -}}
    {%- endfor -%}
  {%- elif schema.get("type") == "array" -%}({{ typed(schema["items"]) }})[]
  {%- else -%}{{ schema.get("type", "any") }}
  {%- endif -%}
{%- endmacro -%}
{%- for tool in tools or [] -%}
  {%- for line in tool.function.description.split("\n") -%}// {{ line }}{%- endfor -%}
  type {{ tool.function.name }} = (_: {{ typed(tool.function.parameters) }}) => any;
{%- endfor -%}
{%- for message in messages -%}
  {{- message.role + message.content -}}
  {%- for call in message.tool_calls -%}function call<|role_sep|>{{ {"name": call.function.name, "arguments": call.function.arguments} | tojson }}{%- endfor -%}
{%- endfor -%}
"""

_IDS_ARE_SHOWN = """
{%- for message in messages -%}
  {%- if message.role == "tool" and message.content[:15].startswith("<tool_response>") -%}{{- message.content[15:] | trim -}}{%- endif -%}
  {%- if message.content and message.content | length > 0 -%}{{- message.content.split("[BEGIN FINAL RESPONSE]")[-1] -}}{%- endif -%}
  {%- for call in message.tool_calls -%}
    {{- '{"name": "' + call["function"]["name"] + '", "arguments": ' + call["function"]["arguments"] | tojson -}}
    {{- ', "id": "' + call["id"] + '"}' -}}
  {%- endfor -%}
{%- endfor -%}
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
    "Kimi K3": _NAMED_RESULTS,
    "Apertus": _RESULTS_WITHIN_ANSWERS,
    "Spark 2.5, Muse, GLM 4.6": _ARGUMENTS_ARE_OBJECTS,
    "DeepSeek V3.1": _ARGUMENTS_ARE_TEXT,
    "LFM 2.5": _CALLS_AS_IN_PYTHON,
    "Nemotron": _ENDS_WITH_THE_USER,
    "Gemma 4": _UPPER_TYPES,
    "GigaChat 3.5": _TYPESCRIPT,
    "Apriel, MiroThinker": _IDS_ARE_SHOWN,
}
"""Templates by the family of models that use their like."""

WITHOUT_TOOLS = frozenset({"Gemma 2"})
_TEXT_ARGUMENTS = frozenset({"DeepSeek V3.1"})
_OWN_FIELDS_ONLY = frozenset({"DeepSeek V3.1", "LFM 2.5"})
"""Templates that ask whether a message has calls; the others take none for an empty list."""


def render(name: str, body: Mapping[str, Any]) -> str:
    """Return the prompt that a template makes of a request.

    Raises:
        RefusedError: The template does not take the messages.
    """
    messages = [_prepared(name, message) for message in body["messages"]]
    try:
        return _compiled(name).render(messages=messages, tools=body.get("tools"))
    except jinja2.TemplateError as error:
        raise RefusedError(f"Error rendering the chat template: {error}") from error


def _prepared(name: str, message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as servers pass it to a template."""
    calls = message.get("tool_calls") or []
    if name not in _TEXT_ARGUMENTS:
        read = [{**call["function"], "arguments": json.loads(call["function"]["arguments"])} for call in calls]
        calls = [{**call, "function": function} for call, function in zip(calls, read, strict=True)]
    return {**message, "tool_calls": calls} if calls or name not in _OWN_FIELDS_ONLY else message


@lru_cache
def _compiled(name: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _raise
    return environment.from_string(TEMPLATES[name])


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
