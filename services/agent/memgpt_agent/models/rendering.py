"""How a prompt looks on the wire: in ``tools`` mode as OpenAI's tool calls, in ``json_schema`` mode as plain messages.

In ``json_schema`` mode the model answers with one JSON object ``{inner_thoughts, function, arguments}``, constrained by
a schema with a branch per function; the history shows its former calls in the same form, and results as messages to it.
That is what local servers understand whose models do not emit tool calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import cast

from memgpt_agent import envelopes, prompt
from memgpt_agent.domain import FunctionCall, Message, Role
from memgpt_agent.functions import Function, parameters_schema
from memgpt_agent.functions.declarations import ARCHIVAL_MEMORY_SEARCH, BUILT_IN_BY_NAME, SEND_MESSAGE
from memgpt_agent.functions.schema import INNER_THOUGHTS

Wire = dict[str, object]

_REPEATED = 200
"""Characters of a question that are said once more at the end of a prompt."""

_BEFORE_DOCUMENTS = (
    "Is this about a document, or anything that does not stand above? Then call archival_memory_search now, before you"
    " answer: what you believe to know of it may be wrong."
)
# The smallest models call whatever function is named last.
_BEFORE_ANSWER = (
    "Now answer the user's last message with send_message. If it is about the user or about what was said before, and"
    " you do not see that above, call conversation_search first, with the one or two words that matter."
)
_BEFORE_REPLY = (
    "If the user told you something about themselves just now that you must remember, call core_memory_append first,"
    " with the name human and request_heartbeat true. Otherwise reply to their last message with send_message."
)


def tool_messages(messages: Sequence[Message]) -> list[Wire]:
    """The prompt with tool calls; a thought goes back into the call it was taken from."""
    return [_tool_message(message) for message in messages]


def tools(functions: Sequence[Function]) -> list[Wire]:
    """The declarations of the functions."""
    return [_tool(function) for function in functions]


@lru_cache(maxsize=1024)
def _tool(function: Function) -> Wire:
    declaration = {
        "name": function.name,
        "description": function.description,
        "parameters": parameters_schema(function, inner_thoughts=True),
    }
    return {"type": "function", "function": declaration}


def json_messages(messages: Sequence[Message], functions: Sequence[Function], *, documents: bool = False) -> list[Wire]:
    """The prompt without tool calls. Neighbours of one role are joined: many chat templates want roles to alternate."""
    rendered: list[tuple[str, str]] = []
    names = {m.function_call.call_id: m.function_call.name for m in messages if m.function_call is not None}
    for message in messages:
        match message.role:
            case Role.SYSTEM:
                rendered.append(("system", _with_functions(message.text, functions)))
            case Role.ASSISTANT:
                rendered.append(("assistant", json_call(message)))
            case Role.TOOL:
                result = {"type": "function_result", "function": names.get(message.call_id, "")}
                rendered.append(("user", envelopes.dumps({**result, **envelopes.parse(message.text)})))
            case Role.USER:
                rendered.append(("user", message.text))
    if functions and (note := _reminder(messages, documents=documents)):
        rendered.append(("user", note))
    if len(rendered) > 1 and rendered[1][0] == "assistant":
        rendered.insert(1, ("user", "(The conversation begins.)"))
    return [
        {"role": role, "content": "\n".join(text for _, text in neighbours)}
        for role, neighbours in groupby(rendered, key=itemgetter(0))
    ]


def _with_functions(system: str, functions: Sequence[Function]) -> str:
    """The functions stand before what changes from turn to turn, so that endpoints can cache the prompt's beginning."""
    if not functions:
        return system
    instructions, mark, memory = system.partition(prompt.MEMORY_MARK)
    return f"{instructions.rstrip()}\n\n{json_instructions(functions)}\n\n{mark}{memory}"


def json_instructions(functions: Sequence[Function]) -> str:
    """The functions, told in words."""
    lines = [
        "### Functions",
        "Answer every event with one JSON object and nothing else:"
        ' {"inner_thoughts": "...", "function": "...", "arguments": {...}}. The functions:',
    ]
    if any(function.brief and function.chains for function in functions):
        lines[1] += " request_heartbeat true: you are called again at once with the result."
    for function in functions:
        if function.brief:
            lines.append(f"- {function.name}({', '.join(_argument_names(function))}): {function.description}")
            continue
        lines.append(f"- {function.name}: {function.description}")
        lines += [f"    {p.name} ({p.type}): {p.description}" for p in function.parameters]
        if function.schema is not None:
            lines.append(f"    arguments by this JSON schema: {envelopes.dumps(function.schema)}")
        if function.chains:
            lines.append("    request_heartbeat (boolean): true to be called again at once with the result.")
    return "\n".join(lines)


def _argument_names(function: Function) -> list[str]:
    schema = parameters_schema(function, inner_thoughts=False)
    defaults = {p.name: f"={p.default}" for p in function.parameters if p.default is not None}
    return [name + defaults.get(name, "") for name in cast(Mapping[str, object], schema["properties"])]


def json_schema(functions: Sequence[Function], messages: Sequence[Message] = ()) -> Wire:
    """The ``response_format`` that constrains an answer to one call.

    Args:
        functions: What may be called.
        messages: The context: a search that was just made twice with the same arguments may not be made a third time.
            Small models go on with it for ever, whatever they are told.
    """
    repeated = _repeated_search(messages)
    branches = [
        {
            "type": "object",
            "properties": {
                INNER_THOUGHTS: {"type": "string"},
                "function": {"type": "string", "enum": [function.name]},
                "arguments": parameters_schema(function, inner_thoughts=False, strict=True),
            },
            "required": [INNER_THOUGHTS, "function", "arguments"],
            "additionalProperties": False,
        }
        for function in functions
        if function.name != repeated
    ]
    schema = {"name": "function_call", "strict": True, "schema": {"anyOf": branches}}
    return {"type": "json_schema", "json_schema": schema}


def json_call(message: Message) -> str:
    """A former answer in the form of ``json_schema`` mode."""
    call = message.function_call
    if call is None:
        return message.text
    arguments: object = envelopes.parse(call.arguments) or call.arguments
    return envelopes.dumps({INNER_THOUGHTS: message.text, "function": call.name, "arguments": arguments})


def _tool_message(message: Message) -> Wire:
    call = message.function_call
    if message.role is Role.TOOL:
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
    if call is None:
        return {"role": message.role.value, "content": message.text}
    function = {"name": call.name, "arguments": _with_thought(call, message.text)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call.call_id, "type": "function", "function": function}],
    }


def _with_thought(call: FunctionCall, thought: str) -> str:
    arguments: Mapping[str, object] = envelopes.parse(call.arguments)
    if not arguments and call.arguments.strip() not in ("", "{}"):
        # It did not parse. Endpoints refuse such a history, and the error beside it shows what was written.
        return envelopes.dumps({INNER_THOUGHTS: thought})
    return envelopes.dumps({INNER_THOUGHTS: thought, **arguments})


def _repeated_search(messages: Sequence[Message]) -> str:
    """Name of the search that the last two calls were, with equal arguments; else the empty text."""
    calls = [message.function_call for message in messages if message.function_call is not None][-2:]
    if len(calls) < 2 or calls[0].name != calls[1].name:
        return ""
    function = BUILT_IN_BY_NAME.get(calls[0].name)
    same = envelopes.parse(calls[0].arguments) == envelopes.parse(calls[1].arguments)
    return calls[0].name if same and function is not None and function.searches else ""


def _reminder(messages: Sequence[Message], *, documents: bool) -> str:
    """What small models lose sight of, said once more at the end of the prompt.

    Before a question is answered: where the answer lies, or they invent one. Beside the results of a search: the
    question, or they search for ever. After anything else: that somebody waits.
    """
    last = messages[-1]
    if last.role is Role.USER and envelopes.kind(last.text) == "user_message":
        asks = "?" in str(envelopes.parse(last.text).get("message", ""))
        return envelopes.SYSTEM_NOTE + (_BEFORE_DOCUMENTS if documents else _BEFORE_ANSWER if asks else _BEFORE_REPLY)
    question, call = _open_question(messages)
    if not question or call is None:
        return ""
    question = question if len(question) <= _REPEATED else f"{question[:_REPEATED]}…"
    function = BUILT_IN_BY_NAME.get(call.name)
    if function is None or not function.searches:
        return f"{envelopes.SYSTEM_NOTE}The user still waits for your answer to: “{question}”. Call send_message."
    elsewhere = "" if function is ARCHIVAL_MEMORY_SEARCH else " Documents are found by archival_memory_search only."
    return (
        f"{envelopes.SYSTEM_NOTE}The question to answer: “{question}”. If the results above hold the answer,"
        " call send_message now: some full sentences from these results alone, with file and page,"
        " nothing made up."
        " If not, ask for the next page or search in other words; do not repeat a search. If nothing is left to"
        " read, say that you did not find it."
        f"{elsewhere}"
    )


def _open_question(messages: Sequence[Message]) -> tuple[str, FunctionCall | None]:
    """The user's last message, and the agent's last call since; an empty text once the agent has spoken."""
    call: FunctionCall | None = None
    for message in reversed(messages):
        if message.function_call is not None:
            if message.function_call.name == SEND_MESSAGE.name:
                return "", None
            call = call or message.function_call
        elif message.role is Role.USER:
            envelope = envelopes.parse(message.text)
            text = str(envelope.get("message", ""))
            if envelope.get("type") == "user_message":
                return text, call
            if open_question := text.partition(prompt.STILL_OPEN)[2]:
                return open_question, call
    return "", None
