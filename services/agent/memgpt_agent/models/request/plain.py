"""The prompt in the mode ``json_schema``: plain messages, in which calls and results are JSON text.

The model answers with one JSON object ``{inner_thoughts, call: {function, arguments}}``, constrained by a schema with a
branch per function. Where the user's message may tell facts, ``new_about_user`` is between the two. It is for local
servers whose models do not emit tool calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, zip_longest
from operator import itemgetter
from typing import cast

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.domain import Message, Role
from memgpt_agent.functions import Function, parameters_schema
from memgpt_agent.functions.core_memory_append import CORE_MEMORY_APPEND
from memgpt_agent.functions.function import ABOUT_USER, HUMAN, INNER_THOUGHTS
from memgpt_agent.functions.send_message import SEND_MESSAGE
from memgpt_agent.models.answer.surrogates import whole
from memgpt_agent.models.request.wire import FILLER, OPENING, Wire


def json_messages(messages: Sequence[Message], functions: Sequence[Function], note: str = "") -> list[Wire]:
    """Return the prompt without tool calls, with ``note`` at its end.

    Neighbors of one role are joined: many chat templates require roles to alternate.
    """
    rendered: list[tuple[str, str]] = []
    names = {m.function_call.call_id: m.function_call.name for m in messages if m.function_call is not None}
    learned: Message | None = None
    for message, *following in zip_longest(messages, messages[1:], messages[2:]):
        match message.role:
            case Role.SYSTEM:
                rendered.append(("system", _with_functions(message.text, functions)))
            case Role.ASSISTANT if _learned_beside(message, *following):
                learned = message
            case Role.ASSISTANT:
                rendered.append(("assistant", json_call(message, learned)))
                learned = None
            case Role.TOOL if envelopes.result_ok(message.text) and (
                learned is not None or names.get(message.call_id) == SEND_MESSAGE.name
            ):
                pass  # says nothing that the model does not know
            case Role.TOOL:
                result = {"type": "function_result", "function": names.get(message.call_id, "")}
                rendered.append(("user", envelopes.dumps({**result, **envelopes.parse(message.text)})))
            case Role.USER:
                rendered.append(("user", message.text))
    if note:
        rendered.append(("user", note))
    if len(rendered) > 1 and rendered[1][0] == "assistant":
        rendered.insert(1, ("user", OPENING))
    return [
        {"role": role, "content": whole("\n".join(text for _, text in neighbors if text)) or FILLER}
        for role, neighbors in groupby(rendered, key=itemgetter(0))
    ]


def _learned_beside(message: Message, result: Message | None, then: Message | None) -> bool:
    """Whether a call saved facts about the user that came beside the call ``then``; see ``schemas.json_schema``."""
    call = message.function_call
    if call is None or result is None or then is None or then.function_call is None or then.text:
        return False
    to_human = call.name == CORE_MEMORY_APPEND.name and envelopes.parse(call.arguments).get("name") == HUMAN
    return to_human and result.role is Role.TOOL and envelopes.result_ok(result.text)


def _with_functions(system: str, functions: Sequence[Function]) -> str:
    """Add the functions before the part that changes from turn to turn, so that endpoints can cache them."""
    if not functions:
        return system
    instructions, mark, memory = system.partition(prompt.MEMORY_MARK)
    return f"{instructions.rstrip()}\n\n{json_instructions(functions)}\n\n{mark}{memory}"


def json_instructions(functions: Sequence[Function]) -> str:
    """Return the functions as instructions in words."""
    lines = [
        "### Functions",
        "Answer every event with one JSON object and nothing else:"
        ' {"inner_thoughts": "...", "call": {"function": "...", "arguments": {...}}}. The functions:',
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


def json_call(message: Message, learned: Message | None = None) -> str:
    """Return an earlier answer in the form of ``json_schema`` mode.

    Args:
        message: The answer.
        learned: The call that saved facts about the user beside it.
    """
    call = message.function_call
    if call is None:
        return message.text
    arguments: object = envelopes.parse(call.arguments)
    if not arguments and call.arguments.strip() not in ("", "{}"):
        arguments = call.arguments  # the result next to them says why they did not parse
    made = {"function": call.name, "arguments": arguments}
    if learned is None or learned.function_call is None:
        return envelopes.dumps({INNER_THOUGHTS: message.text, "call": made})
    line = envelopes.parse(learned.function_call.arguments).get("content", "")
    return envelopes.dumps({INNER_THOUGHTS: learned.text, ABOUT_USER: line, "call": made})
