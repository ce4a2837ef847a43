"""Reading of an answer as it streams, in any form that endpoints use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from memgpt_agent import envelopes
from memgpt_agent.models.answer.answer import Answer, MalformedError, finish_of
from memgpt_agent.models.answer.assembly import CallAssembly
from memgpt_agent.models.answer.function_names import FunctionNames
from memgpt_agent.models.answer.lenient_json import decode
from memgpt_agent.models.answer.native import as_chat
from memgpt_agent.models.answer.partial_json import PartialCall
from memgpt_agent.models.answer.reasoning import ReasoningFilter, join_blocks, without_reasoning
from memgpt_agent.models.answer.repetition import RepetitionDetector
from memgpt_agent.models.answer.surrogates import SurrogateJoiner, whole
from memgpt_agent.models.answer.text_calls import looks_like_a_call
from memgpt_agent.models.answer.usage import ReportedUsage, read_usage, reasoning_tokens
from memgpt_agent.models.base import DeltaKind, Sink

MAX_CHARACTERS = 500_000
"""Maximum number of characters of one answer; Memory's messages have at most 1 MiB."""

_MARKUP = re.compile(
    r"<\s?[|｜]|</?(?:[a-z]{1,12}:)?(?i:tool|func|invoke|param|arg_|start_|end_|seed|minimax|longcat|xai:)|\[[A-Z_]{3}|\]<\]|```|\bfunctools|^Action:",
    re.MULTILINE,
)
"""Possible beginnings of a call that is written as text: after one, nothing is shown as a thought."""

_MARKUP_BEGINS = re.compile(
    r"(?:</?(?:[a-z]{1,12}:)?[A-Za-z_]{0,12}|\[[A-Z_]{0,2}|\]<?|`{1,2}|\bfunctoo?l?|^Acti?o?n?)\Z", re.MULTILINE
)

_BLOCKS = ("reasoning_details", "thinking_blocks")
_REASONING = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
_TEXT_PARTS = ("text", "output_text", "input_text", "")
_CALLS = ("tool_calls", "function_call", "tool_call", "toolCalls", "functionCall")
_PLAIN_TEXTS = ("response", "generated_text", "output", "text", "result")
"""Fields with a text in the forms of Ollama's generation and Cloudflare, Hugging Face, Replicate, Cohere, and Baidu."""

_REASONS = ("finish_reason", "stop_reason", "stopReason")
"""Names of the reason for the end, in the forms of Cohere, Anthropic, and Bedrock."""

_WRAPPERS = (
    "data", "result", "output", "response", "body", "orchestration_result", "final_result", "chatResponse",
)  # fmt: skip
"""Fields in which gateways pass on the whole answer."""


class AnswerReader:
    """Assembles the chunks of a stream, and passes text that can be shown to a sink.

    A chunk may hold a ``delta``, a whole ``message``, or neither; a whole answer that was not streamed is one chunk.
    """

    def __init__(self, sink: Sink, names: FunctionNames, *, as_json: bool) -> None:
        """Begin an answer.

        Args:
            sink: Gets thoughts and messages as they come.
            names: The functions that may be called.
            as_json: Whether a call is expected as JSON text.
        """
        self._sink = sink
        self._names = names
        self._as_json = as_json
        self._partial = PartialCall(sink, names)
        self._calls = CallAssembly(names)
        self._without_reasoning = ReasoningFilter()
        self._content = SurrogateJoiner()
        self._text: list[str] = []
        self._held = ""
        self._reasoning: list[str] = []
        self._blocks: dict[str, list[dict[str, object]]] = {}
        self._refusal: list[str] = []
        self._finish = ""
        self._usage = ReportedUsage()
        self._reasoning_tokens = 0
        self._repetition = RepetitionDetector()
        self._circles = self._runaway = False
        self.size = 0

    def chunk(self, chunk: object) -> None:
        """Add a chunk of the answer, as decoded JSON.

        Raises:
            MalformedError: The answer is too long, is nested too deeply, or repeats itself.
        """
        try:
            self._chunk(chunk)
        except RecursionError:  # a value that could be read may be too deep to be written
            raise MalformedError("it is nested too deeply", self.answer()) from None

    def _chunk(self, chunk: object) -> None:
        if isinstance(chunk, list):
            for one in chunk:
                self._chunk(one)
        if not isinstance(chunk, dict):
            return
        chunk = as_chat(_unwrapped(chunk))
        self._usage = self._usage.larger(read_usage(chunk))
        self._reasoning_tokens = reasoning_tokens(chunk) or self._reasoning_tokens
        choices = chunk.get("choices")
        choices = [choices] if isinstance(choices, dict) else choices
        given = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
        if not given:
            self._native(chunk)
        # One answer is requested; some endpoints spread it over several choices.
        for choice in given:
            self._choice(choice)
        if given and "tool_calls" in chunk:
            self._add_calls(_entries(chunk["tool_calls"]))

    def _choice(self, choice: dict[str, object]) -> None:
        delta, message = choice.get("delta"), choice.get("message")
        reason = (
            choice.get("finish_reason")
            or choice.get("finishReason")
            or (delta.get("finish_reason") if isinstance(delta, dict) else None)
        )
        if reason:
            self._finish = finish_of(reason)
        if isinstance(delta, dict) and any(value for key, value in delta.items() if key != "role"):
            self._delta(delta)
        elif isinstance(message, dict):
            self._message(message)
        elif isinstance(text := choice.get("text"), str):
            self._write(text)
        if "tool_calls" in choice:
            self._add_calls(_entries(choice["tool_calls"]))

    def _native(self, chunk: dict[str, object]) -> None:
        """Add a chunk in Ollama's own form, in which each has a ``message`` with the next piece, or a whole answer."""
        if isinstance(message := chunk.get("message"), dict):
            self._delta(message)
        elif any(key in chunk for key in (*_CALLS, "content")):
            self._delta(chunk)
        self._write(next((text for key in _PLAIN_TEXTS if isinstance(text := chunk.get(key), str)), ""))
        if chunk.get("done") is True:
            self._finish = finish_of(chunk.get("done_reason") or "stop")
        elif reason := next((chunk[key] for key in _REASONS if chunk.get(key)), None):
            self._finish = finish_of(reason)

    def answer(self) -> Answer:
        """Return the answer, after its last chunk."""
        self._show(self._without_reasoning.end())
        if self._held and not _MARKUP.match(self._held) and not looks_like_a_call(self._held, self._names):
            self._sink.delta(DeltaKind.THOUGHT, self._held)
        self._text.append(self._held)
        self._held = ""
        text, calls, reasoning = without_reasoning("".join(self._text)), self._calls.calls(), "".join(self._reasoning)
        if not (text.strip() or calls):
            # Models forget to end their reasoning before the answer.
            reasoning = reasoning or "".join(self._without_reasoning.removed)
        return Answer(
            text,
            calls,
            self._finish,
            whole("".join(self._refusal)),
            self._usage.usage,
            whole(reasoning),
            self._reasoning_tokens,
            self._runaway,
            self._usage.apart,
            self._blocks or None,
        )

    def _message(self, message: dict[str, object]) -> None:
        """Add a whole message; at the end of a stream it repeats what came before."""
        known = "".join(self._text) + self._held
        text = "".join(_texts(message.get("content")))
        if known and text.startswith(known.strip()):
            message = {**message, "content": text[len(known.strip()) :]}
        if self._refusal:
            message = {**message, "refusal": None, "content": _without_refusals(message.get("content"))}
        if self._calls.complete:
            message = {key: value for key, value in message.items() if key not in _CALLS}
        self._delta({key: value for key, value in message.items() if key not in self._blocks})

    def _delta(self, delta: dict[str, object]) -> None:
        self._reason(next((delta[key] for key in _REASONING if delta.get(key)), None))
        for key in _BLOCKS:
            given = delta.get(key)
            if isinstance(given, list) and given:
                join_blocks(self._blocks.setdefault(key, []), given)
                self.size += 1
        content = delta.get("content")
        if not content and isinstance(delta.get("parsed"), dict):
            content = delta["parsed"]
        if isinstance(content, dict) and not {"type", "text", "content"} & content.keys():
            content = envelopes.dumps(content)  # the answer in JSON, which the server has decoded
        parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
        for part in parts:
            self._reason(part.get("thinking") or part.get("reasoning"))
            self._refuse(str(part.get("refusal") or ""))
        for text in _texts(content):
            self._write(text)
        if isinstance(refusal := delta.get("refusal"), str):
            self._refuse(refusal)
        calls = next((delta[key] for key in _CALLS if delta.get(key)), None)
        self._add_calls([*_entries(calls), *filter(None, map(_call_in, parts))])

    def _reason(self, value: object) -> None:
        for text in _texts(value):
            self._grow(text)
            self._reasoning.append(text)

    def _refuse(self, text: str) -> None:
        self._grow(text)
        self._refusal.append(text)

    def _write(self, text: str) -> None:
        self._grow(text)
        self._show(self._without_reasoning.feed(self._content.feed(text)))

    def _show(self, text: str) -> None:
        if not text:
            return
        if self._as_json:
            self._text.append(text)
            self._partial.answer(text)
            return
        text = self._held + text
        mark = _MARKUP.search(text) or _MARKUP_BEGINS.search(text)
        sure = 0 if self._begins_a_call(text) else mark.start() if mark else len(text)
        self._held = text[sure:]
        if sure:
            self._text.append(text[:sure])
            self._sink.delta(DeltaKind.THOUGHT, text[:sure])

    def _begins_a_call(self, text: str) -> bool:
        """Whether the answer begins like a bare call, in JSON or as in Python."""
        begun = text.lstrip()
        if not begun or any(part.strip() for part in self._text):
            return False
        return begun[0] in "{[" or any(
            begun.startswith(f"{name}(") or name.startswith(begun) for name in (*self._names.by_name, "functools")
        )

    def _add_calls(self, entries: Sequence[object]) -> None:
        self.size += bool(entries)
        for name, new, shown in self._calls.add(entries):
            self._grow(new)
            if shown:
                self._partial.arguments(name, new)

    def _grow(self, text: str) -> None:
        if text and (self._circles or self.size > MAX_CHARACTERS):
            self._runaway = True
            answer = self.answer()
            raise MalformedError(answer.cut_off, answer, at_fault=not answer.text.strip() and not answer.calls)
        self.size += len(text)
        self._circles = self._repetition.feed(text) or self._circles


def _unwrapped(chunk: dict[str, object]) -> dict[str, object]:
    """Return the answer inside a gateway's envelope."""
    if "choices" in chunk or "message" in chunk:
        return chunk
    inside = (chunk[key] for key in _WRAPPERS if isinstance(chunk.get(key), dict))
    found = next(
        (
            one
            for one in inside
            if isinstance(one, dict) and {"choices", "candidates", "message", "tool_calls"} & one.keys()
        ),
        None,
    )
    return chunk if found is None else {**chunk, **found}


def _entries(calls: object) -> list[object]:
    """Return the calls in a field, which may be one call, several, or their JSON."""
    if isinstance(calls, str) and calls.lstrip()[:1] in ("{", "["):
        try:
            calls, _ = decode(calls)
        except ValueError:
            return []
    if isinstance(calls, dict) and calls and all(str(key).isdecimal() for key in calls):
        return list(calls.values())
    return calls if isinstance(calls, list) else [calls] if isinstance(calls, dict) else []


def _call_in(part: dict[str, object]) -> object:
    """Return the call in a part of a content; None for other parts."""
    for key in ("function_call", "functionCall", "tool_call", "function", "toolUse"):
        if isinstance(inner := part.get(key), dict):
            return {**part, **inner}
    return part if str(part.get("type")) in ("tool_use", "tool_call", "function_call") else None


def _without_refusals(content: object) -> object:
    """Return a content without the parts of a refusal."""
    if not isinstance(content, list):
        return content
    return [part for part in content if not (isinstance(part, dict) and part.get("refusal"))]


def _texts(content: object) -> Iterator[str]:
    """Yield the texts of a content, which may be one text or a list of parts, without reasoning."""
    if isinstance(content, str) and content:
        yield content
    elif isinstance(content, list):
        for part in content:
            yield from _texts(part)
    elif isinstance(content, dict) and str(content.get("type") or "").lower() in _TEXT_PARTS:
        yield from _texts(content.get("text") or content.get("content"))
