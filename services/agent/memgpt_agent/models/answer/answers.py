"""An answer of a model: read piece by piece as it is streamed, and made into a call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from memgpt_agent import envelopes
from memgpt_agent.domain import NO_USAGE, FunctionCall, Message, Role, Usage, new_call_id
from memgpt_agent.functions import BUILT_IN
from memgpt_agent.functions.function import INNER_THOUGHTS
from memgpt_agent.functions.send_message import SEND_MESSAGE
from memgpt_agent.models.answer.characters import Pieces, whole
from memgpt_agent.models.answer.partial import PartialCall, Path, StringReader
from memgpt_agent.models.answer.thinking import WithoutReasoning, without_reasoning
from memgpt_agent.models.base import Completion, DeltaKind, ModelRequest, Sink

MAX_CHARACTERS = 500_000
"""Of one answer; Memory's messages have at most 1 MiB."""

_FENCE = re.compile(r"```(?:json)?\s*")
_MAX_NAME = 64
_SHOWN, _REPAIR_TOKENS = 200, 128
"""Characters of an unusable answer that the model is shown again: it may be long, and is no example to follow. And what
they take, with the note beside them, of the room for the answer."""


class MalformedError(Exception):
    """An answer that is no call. The text tells the model what is wrong with it.

    Attributes:
        answer: The answer.
        at_fault: Whether the model does not keep to the form, as against having been cut off or filtered.
    """

    def __init__(self, problem: str, answer: Answer, *, at_fault: bool = True) -> None:
        super().__init__(problem)
        self.answer = answer
        self.at_fault = at_fault


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was streamed; ``usage`` is empty where the endpoint does not report it."""

    text: str = ""
    name: str = ""
    arguments: str = ""
    finish: str = ""
    refusal: str = ""
    usage: Usage = NO_USAGE

    @property
    def cut_off(self) -> str:
        """Why it is not whole; empty when it is, as far as one can tell."""
        match self.finish:
            case "length":
                return "it was cut off for its length: write less"
            case "content_filter":
                return "the endpoint's content filter stopped it: put it in other words"
            case _:
                return ""


class AnswerReader:
    """Puts the chunks of a stream together, and tells a sink what can be shown already.

    Reads what servers really send: fields that are missing or null, names with every piece, arguments as an object.
    """

    def __init__(self, sink: Sink, *, as_json: bool) -> None:
        """Begins an answer.

        Args:
            sink: Gets thoughts and messages as they come.
            as_json: Whether a call is expected as JSON text.
        """
        self._sink = sink
        self._as_json = as_json
        self._partial = PartialCall(sink)
        self._reasoning = WithoutReasoning()
        self._content, self._written = Pieces(), Pieces()
        self._text: list[str] = []
        self._arguments: list[str] = []
        self._refusal: list[str] = []
        self._name = self._call_id = self._finish = ""
        self._usage = NO_USAGE
        self._size = 0

    def chunk(self, chunk: object) -> None:
        """More of the answer, as decoded JSON.

        Raises:
            MalformedError: It grows beyond all bounds.
        """
        if not isinstance(chunk, dict):
            return
        if isinstance(usage := chunk.get("usage"), dict):
            self._usage = Usage(_number(usage.get("prompt_tokens")), _number(usage.get("completion_tokens")))
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return
        self._finish = str(choices[0].get("finish_reason") or self._finish)
        delta = choices[0].get("delta")
        if not isinstance(delta, dict):
            return
        if isinstance(content := delta.get("content"), str) and content:
            self._grow(content)
            self._say(self._reasoning.feed(self._content.feed(content)))
        if isinstance(refusal := delta.get("refusal"), str):
            self._grow(refusal)
            self._refusal.append(refusal)
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            self._call(call)

    def answer(self) -> Answer:
        """The answer, after its last chunk."""
        self._say(self._reasoning.end())
        text = without_reasoning("".join(self._text))
        arguments, refusal = "".join(self._arguments), whole("".join(self._refusal))
        return Answer(text, self._name[:_MAX_NAME], arguments, self._finish, refusal, self._usage)

    def _say(self, text: str) -> None:
        if not text:
            return
        self._text.append(text)
        if self._as_json:
            self._partial.answer(text)
        else:
            self._sink.delta(DeltaKind.THOUGHT, text)

    def _call(self, call: object) -> None:
        """More of a call. Only the first one runs; further ones are not even read."""
        if not isinstance(call, dict) or not isinstance(call.get("function"), dict) or call.get("index"):
            return
        # Some servers number all calls 0 and tell them apart by id.
        call_id = str(call.get("id") or "")
        self._call_id = self._call_id or call_id
        if call_id and call_id != self._call_id:
            return
        function: Mapping[str, Any] = call["function"]
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(name, str) and name != self._name:
            self._name += name
        if isinstance(arguments, dict):
            arguments = envelopes.dumps(arguments)
        if isinstance(arguments, str) and arguments:
            self._grow(arguments)
            arguments = self._written.feed(arguments)
            self._arguments.append(arguments)
            self._partial.arguments(self._name, arguments)

    def _grow(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_CHARACTERS:
            raise MalformedError("it does not come to an end", self.answer())


def completion(answer: Answer, request: ModelRequest, *, as_json: bool) -> Completion:
    """The thought and the call in an answer.

    Raises:
        MalformedError: There is none in it.
    """
    if answer.finish == "content_filter":
        raise MalformedError(answer.cut_off, answer, at_fault=False)
    if answer.refusal and not answer.name and not answer.text.strip():
        # What it has to say, though not as a call: a thought, after which it is told how to reach the user.
        return Completion(answer.refusal.strip(), usage=answer.usage)
    try:
        return _from_json(answer) if as_json else _from_tools(answer, request)
    except RecursionError:  # what could just be read may be too deep to be written
        raise MalformedError("it is nested too deeply", answer) from None


def _from_tools(answer: Answer, request: ModelRequest) -> Completion:
    """The first tool call; a mere text is a thought."""
    if not answer.name:
        if answer.cut_off:
            raise MalformedError(answer.cut_off, answer, at_fault=False)
        if not answer.text.strip():
            raise MalformedError("there is neither a function call nor a text", answer)
        if _looks_like_a_call(answer.text):
            raise MalformedError("the call was written as text", answer)
        return Completion(answer.text.strip(), usage=answer.usage)
    arguments = answer.arguments.strip() or "{}"
    parsed = _object(arguments)
    if parsed is None:
        if answer.cut_off:
            raise MalformedError(answer.cut_off, answer, at_fault=False)
        if _failed_before(request):
            raise MalformedError("the arguments are no JSON object", answer)
        # Told to the model as a failed call, which it can mend.
        return Completion(answer.text.strip(), _function_call(answer.name, arguments), answer.usage)
    thought = parsed.pop(INNER_THOUGHTS, "")
    text = "\n".join(part for part in (answer.text.strip(), whole(str(thought)).strip()) if part)
    return Completion(text, _function_call(answer.name, envelopes.dumps(parsed)), answer.usage)


def _from_json(answer: Answer) -> Completion:
    """The object ``{inner_thoughts, function, arguments}``."""
    value = _first_object(answer.text)
    if value is None:
        raise MalformedError(answer.cut_off or "it is no JSON object", answer, at_fault=not answer.cut_off)
    name, arguments = value.get("function"), value.get("arguments", {})
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        raise MalformedError("it lacks function or arguments", answer)
    thought = whole(str(value.get(INNER_THOUGHTS, ""))).strip()
    return Completion(thought, _function_call(name, envelopes.dumps(arguments)), answer.usage)


def cut_short(answer: Answer, *, as_json: bool) -> Completion | None:
    """A message to the user as far as it came, of an answer that was cut off for its length; None if it holds none."""
    told: dict[Path, str] = {}
    for path, text in StringReader().feed(answer.text if as_json else answer.arguments):
        told[path] = told.get(path, "") + text
    name = told.get(("function",), "") if as_json else answer.name
    message = told.get(("arguments", "message") if as_json else ("message",), "").rstrip()
    if answer.finish != "length" or name != SEND_MESSAGE.name or not message:
        return None
    parts = ("" if as_json else answer.text.strip(), told.get((INNER_THOUGHTS,), "").strip())
    call = _function_call(name, envelopes.dumps({"message": f"{message} …"}))
    return Completion("\n".join(filter(None, parts)), call, answer.usage)


def repair(request: ModelRequest, malformed: MalformedError) -> ModelRequest:
    """The request once more, with what was wrong with the answer shown to the model."""
    raw = malformed.answer.text or malformed.answer.arguments
    problem = f"Your last answer could not be used: {malformed}. Answer with exactly one function call."
    alert = {"type": "system_alert", "message": envelopes.SYSTEM_NOTE + problem}
    former = [Message(Role.ASSISTANT, raw[:_SHOWN])] if raw.strip() else []
    return replace(
        request,
        messages=[*request.messages, *former, Message(Role.USER, envelopes.dumps(alert))],
        max_tokens=max(request.max_tokens - _REPAIR_TOKENS, request.max_tokens // 2),
    )


def _function_call(name: str, arguments: str) -> FunctionCall:
    # JSON can name half a character, which is none.
    return FunctionCall(new_call_id(), whole(name)[:_MAX_NAME], whole(arguments))


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _first_object(text: str) -> dict[str, Any] | None:
    """The object in a text, whatever fence or chatter stands around it."""
    try:
        value, _ = json.JSONDecoder(strict=False).raw_decode(text, max(text.find("{"), 0))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _looks_like_a_call(text: str) -> bool:
    begins = _FENCE.sub("", text.lstrip()).startswith(("{", "<tool_call>"))
    return begins and any(f'"{f.name}"' in text for f in BUILT_IN)


def _failed_before(request: ModelRequest) -> bool:
    """Whether the model's last call had arguments that do not parse either."""
    for message in reversed(request.messages):
        if message.function_call is not None:
            return _object(message.function_call.arguments or "{}") is None
    return False


def _number(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
