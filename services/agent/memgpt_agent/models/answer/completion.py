"""Conversion of a streamed answer to a thought and calls, and the request to repeat if there are none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from memgpt_agent import envelopes
from memgpt_agent.domain import FunctionCall, new_call_id
from memgpt_agent.functions.core_memory_append import CORE_MEMORY_APPEND
from memgpt_agent.functions.function import ABOUT_USER, INNER_THOUGHTS
from memgpt_agent.functions.send_message import SEND_MESSAGE
from memgpt_agent.models.answer.answer import Answer, MalformedError, RawCall
from memgpt_agent.models.answer.function_names import FunctionNames
from memgpt_agent.models.answer.lenient_json import read_object
from memgpt_agent.models.answer.partial_json import Path, StringReader
from memgpt_agent.models.answer.reasoning import spoken
from memgpt_agent.models.answer.surrogates import whole
from memgpt_agent.models.answer.text_calls import TextCalls, calls_in, looks_like_a_call, unfold
from memgpt_agent.models.base import Completion, ModelRequest

_CALL_IN_REASONING = re.compile(
    r"<(?:longcat_)?tool_calls?>|<function(?:[= ]|_calls?>)|<invoke |\[TOOL_CALLS\]|<\s?[|｜](?:tool|\s?DSML)"
    r"|<\|python_tag\|>|✿FUNCTION✿|\bto=functions\."
    rf'|\{{\s*"(?:{INNER_THOUGHTS}|call)"\s*:'
)
_SHOWN, _REPAIR_TOKENS = 200, 128
"""Characters of an unusable answer that the model is shown again: it may be long, and is not an example to follow. Then
the tokens that they take, with their note, from the room for the answer."""


def completion(answer: Answer, request: ModelRequest, *, as_json: bool) -> Completion:
    """Return the thought and the calls in an answer.

    Raises:
        MalformedError: It has nothing usable.
    """
    names = FunctionNames(request.functions)
    if answer.finish == "content_filter":
        raise MalformedError(answer.cut_off, answer, at_fault=False)
    if answer.refusal and not answer.calls and not answer.text.strip():
        # A refusal counts as a thought, after which the model is told how to reach the user.
        return Completion(answer.refusal.strip(), usage=answer.usage)
    try:
        if answer.calls:
            unfolded = [TextCalls((raw,)) if answer.cut_off else unfold(raw, names) for raw in answer.calls]
            thought = "\n".join(filter(None, (answer.text.strip(), *(one.thought for one in unfolded))))
            return _made(thought, [call for one in unfolded for call in one.calls], answer, request)
        written = _written(answer, names, as_json=as_json)
        if written.calls:
            return _made(written.thought, _without_copies(written.calls, answer, request), answer, request)
    except RecursionError:  # a value that could be read may be too deep to be written
        raise MalformedError("it is nested too deeply", answer) from None
    return _thought(answer, names, as_json=as_json)


def is_whole(answer: Answer, request: ModelRequest, *, as_json: bool) -> bool:
    """Whether an answer without a mark at its end holds complete calls; a text may have been cut off anywhere."""
    if answer.calls:
        return all(not raw.arguments.strip() or read_object(raw.arguments) is not None for raw in answer.calls)
    try:
        return bool(_written(answer, FunctionNames(request.functions), as_json=as_json).calls)
    except RecursionError:
        return True  # `completion` rejects it


def _written(answer: Answer, names: FunctionNames, *, as_json: bool) -> TextCalls:
    """Return the calls that were written as text, or else at the end of reasoning."""
    text = answer.text if answer.text.strip() or answer.cut_off else _tail_of_reasoning(answer.reasoning)
    return calls_in(text, names, contiguous=as_json)


def _tail_of_reasoning(reasoning: str) -> str:
    """Return the call at the end of reasoning: parsers of servers take an answer without marks for reasoning."""
    begun = reasoning.lstrip()
    mark = _CALL_IN_REASONING.search(reasoning)
    return begun if begun.startswith("{") else reasoning[mark.start() :] if mark else ""


def _without_copies(calls: Sequence[RawCall], answer: Answer, request: ModelRequest) -> Sequence[RawCall]:
    """Leave out a fact about the user that no one asked for, and that was copied from an earlier answer.

    Endpoints without schemas do not keep models from it, and the fact may have been corrected since.
    """
    if request.learns or ABOUT_USER not in answer.text:
        return calls
    earlier = [message.function_call for message in request.messages if message.function_call is not None]
    known = {line for call in earlier if call.name == CORE_MEMORY_APPEND.name for line in _facts(call.arguments)}
    kept = [c for c in calls if c.name != CORE_MEMORY_APPEND.name or not known.issuperset(_facts(c.arguments))]
    return kept or calls[-1:]  # what the model called is its answer, though it says the same again


def _facts(arguments: str) -> list[str]:
    """Return the lines to save, without what a model changes in a copy: case, punctuation, and spaces."""
    lines = str(envelopes.parse(arguments).get("content", "")).casefold().splitlines()
    return [" ".join(re.findall(r"\w+", line)) or line for line in lines if line.strip()]


def _thought(answer: Answer, names: FunctionNames, *, as_json: bool) -> Completion:
    """Return an answer without a call as a thought, in the mode ``tools``."""
    if answer.cut_off:
        raise MalformedError(answer.cut_off, answer, at_fault=False)
    if as_json:
        readable = read_object(answer.text) is not None
        raise MalformedError("it lacks function or arguments" if readable else "it is not a JSON object", answer)
    if not answer.text.strip():
        raise MalformedError("there is neither a function call nor a text", answer)
    if looks_like_a_call(answer.text, names):
        raise MalformedError("the call was written as text", answer)
    return Completion(answer.text.strip(), usage=answer.usage)


def _made(text: str, calls: Sequence[RawCall], answer: Answer, request: ModelRequest) -> Completion:
    """Return a completion of calls; those after one with invalid arguments are left for the model to make again."""
    thoughts = [whole(text).strip()]
    made: list[FunctionCall] = []
    for place, raw in enumerate(calls):
        arguments = read_object(raw.arguments) if raw.arguments.strip() else {}
        if arguments is None:
            if place:
                break
            if answer.cut_off:
                raise MalformedError(answer.cut_off, answer, at_fault=False)
            if _failed_before(request):
                raise MalformedError("the arguments are not a JSON object", answer)
            # The model sees it as a failed call, which it can correct.
            made.append(_function_call(raw.name, raw.arguments))
            break
        thought = arguments.pop(INNER_THOUGHTS, None)
        thoughts.append(whole(thought).strip() if isinstance(thought, str) else "")
        if raw.name == SEND_MESSAGE.name and isinstance(message := arguments.get("message"), str):
            arguments["message"] = spoken(message)
            if message.strip() and not arguments["message"].strip():
                raise MalformedError("the message holds nothing but reasoning", answer)
        made.append(_function_call(raw.name, envelopes.dumps(arguments)))
    together = "\n".join(dict.fromkeys(filter(None, thoughts)))
    return Completion(together, made[0], answer.usage, further=tuple(made[1:]))


def cut_short(answer: Answer, *, as_json: bool) -> Completion | None:
    """Return the partial message to the user in an answer that was cut off for its length; None without one."""
    if answer.finish != "length" and not answer.runaway:
        return None
    raw = answer.calls[0] if answer.calls else RawCall("", "")
    told: dict[Path, str] = {}
    for path, text in StringReader().feed(answer.text if as_json else raw.arguments):
        told[path] = told.get(path, "") + text
    if as_json:
        name = told.get(("call", "function"), told.get(("function",), ""))
        message = told.get(("call", "arguments", "message"), told.get(("arguments", "message"), ""))
    else:
        name, message = raw.name, told.get(("message",), "")
    message = spoken(message).rstrip()
    if name != SEND_MESSAGE.name or not message:
        return None
    parts = ("" if as_json else answer.text.strip(), told.get((INNER_THOUGHTS,), "").strip())
    call = _function_call(name, envelopes.dumps({"message": f"{message} …"}))
    return Completion("\n".join(filter(None, parts)), call, answer.usage)


def repair(request: ModelRequest, malformed: MalformedError) -> ModelRequest:
    """Return the request again, with a note that tells the model what was wrong with its answer."""
    answer = malformed.answer
    raw = (answer.text or "".join(call.arguments for call in answer.calls)).strip()
    problem = f"Your last answer could not be used: {malformed}. Answer with exactly one function call."
    if raw:
        problem += f" Your answer began: {raw[:_SHOWN]}"
    alert = envelopes.dumps({"type": "system_alert", "message": envelopes.SYSTEM_NOTE + problem})
    # The status, which is the last line of the note, gives way to the alert; blocks of core memory before it stay.
    note = "\n".join(filter(None, (request.note.rpartition("\n")[0], alert)))
    room = max(request.max_tokens - _REPAIR_TOKENS, request.max_tokens // 2)
    return replace(request, note=note, guided_note=note, max_tokens=room)


def _function_call(name: str, arguments: str) -> FunctionCall:
    # JSON can escape half a character, which is not valid text.
    return FunctionCall(new_call_id(), whole(name), whole(arguments))


def _failed_before(request: ModelRequest) -> bool:
    """Whether the model's last call also had arguments that do not parse."""
    for message in reversed(request.messages):
        if message.function_call is not None:
            return read_object(message.function_call.arguments or "{}") is None
    return False
