"""Any endpoint that speaks OpenAI's protocol. The only module that imports ``openai``.

Nothing is retried here but an answer that is no call, once: the caller of the turn repeats it, and the turn goes on
after its last committed step. Neither the key nor an exception's text ever reaches a message or a log.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import openai
import structlog
from memgpt_runtime import context, errors
from memgpt_runtime.errors import Reason
from memgpt_runtime.tokens import count_tokens

from memgpt_agent import envelopes
from memgpt_agent.domain import FunctionCall, Message, Role, Usage, new_call_id
from memgpt_agent.functions import Function, declarations
from memgpt_agent.functions.schema import INNER_THOUGHTS
from memgpt_agent.models import rendering
from memgpt_agent.models.base import BadAnswerError, Completion, ContextOverflowError, DeltaKind, ModelRequest, Sink
from memgpt_agent.models.endpoint import EndpointSettings, Mode
from memgpt_agent.models.partial import PartialCall

_log = structlog.get_logger(__name__)

_PROBE_TOKENS = 128
_MAX_NAME = 64
_OVERFLOW = re.compile(
    r"context.{0,20}(?:length|window|size)|maximum.{0,20}(?:tokens|length)"
    r"|too (?:long|many tokens)|exceeds?.{0,40}context",
    re.I,
)
_DEFAULT_RETRY_AFTER = 5.0


class _MalformedError(Exception):
    """An answer that is no call. The text tells the model what is wrong with it."""

    def __init__(self, problem: str, raw: str, usage: Usage) -> None:
        super().__init__(problem)
        self.raw = raw
        self.usage = usage


@dataclass(slots=True)
class _Answer:
    """An answer as it was streamed."""

    text: str = ""
    name: str = ""
    arguments: str = ""
    finish: str = ""
    usage: Usage = Usage()  # noqa: RUF009 - frozen


class OpenAIModel:
    """A chat model behind an endpoint."""

    def __init__(self, settings: EndpointSettings) -> None:
        self._settings = settings
        self._client = openai.AsyncOpenAI(
            api_key=settings.api_key or "none",
            base_url=settings.base_url or None,
            max_retries=0,
            timeout=settings.timeout,
        )
        # By model, since agents may name their own.
        self._modes: dict[str, Mode] = {}
        self._probing = asyncio.Lock()
        self._required = True

    def mode(self, model: str = "") -> Mode:
        """How functions are called, as far as it is known."""
        return self._modes.get(model or self._settings.model, self._settings.mode)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def probe(self, model: str = "") -> Mode:
        """Finds out whether the endpoint's model emits tool calls, with one small request."""
        name = model or self._settings.model
        question = [
            Message(Role.SYSTEM, "Call the function send_message."),
            Message(Role.USER, "Say hello."),
        ]
        request = ModelRequest(question, (declarations.SEND_MESSAGE,), name, _PROBE_TOKENS)
        try:
            answer = await self._stream(request, Mode.TOOLS, _Silent())
            found = answer.name == declarations.SEND_MESSAGE.name and bool(envelopes.parse(answer.arguments))
        except (errors.FailedPrecondition, ContextOverflowError) as error:
            if isinstance(error, errors.FailedPrecondition) and error.metadata.get("status") not in (
                "400",
                "422",
                "501",
            ):
                raise
            found = False
        mode = Mode.TOOLS if found else Mode.JSON_SCHEMA
        _log.info("model_probed", model=name, mode=mode.value)
        return mode

    async def complete(self, request: ModelRequest, sink: Sink) -> Completion:
        """Answers one request. An answer that is no call is asked for once more, in ``auto`` mode in the other mode."""
        if not request.functions:
            answer = await self._stream(request, Mode.TOOLS, sink)
            return Completion(answer.text, usage=answer.usage)
        name = request.model or self._settings.model
        mode = await self._mode_for(name)
        try:
            return await self._call(request, mode, sink)
        except _MalformedError as malformed:
            if self._settings.mode is Mode.AUTO and mode is Mode.TOOLS:
                mode = self._modes[name] = Mode.JSON_SCHEMA
            _log.info("model_answer_malformed", model=name, mode=mode.value, problem=str(malformed))
            sink.restart("The model's answer was no function call; it is asked again.")
            spent = malformed.usage
            again = _repair(request, malformed)
        try:
            completion = await self._call(again, mode, sink)
        except _MalformedError as malformed:
            raise BadAnswerError(
                f"the model {name!r} answered twice with something that is no function call ({malformed}); try"
                f" again, or"
                " choose another model or another agent.mode (tools or json_schema)"
            ) from malformed
        return Completion(completion.text, completion.call, completion.usage + spent)

    async def _mode_for(self, name: str) -> Mode:
        if self._settings.mode is not Mode.AUTO:
            return self._settings.mode
        async with self._probing:
            if name not in self._modes:
                self._modes[name] = await self.probe(name)
        return self._modes[name]

    async def _call(self, request: ModelRequest, mode: Mode, sink: Sink) -> Completion:
        answer = await self._stream(request, mode, sink)
        if mode is Mode.JSON_SCHEMA:
            return _from_json(answer)
        return _from_tools(answer, request)

    async def _stream(self, request: ModelRequest, mode: Mode, sink: Sink) -> _Answer:
        try:
            async with asyncio.timeout(context.remaining(self._settings.timeout)):
                try:
                    return await self._read(request, mode, sink)
                except openai.BadRequestError as error:
                    if not (self._required and mode is Mode.TOOLS and "tool_choice" in _text(error)):
                        raise
                    # The endpoint does not know `required`: from now on the model may choose.
                    self._required = False
                    return await self._read(request, mode, sink)
        except TimeoutError as error:
            raise errors.Unavailable(
                Reason.MODEL_UNAVAILABLE,
                f"the model gave no answer within {self._settings.timeout:g} s; try again, or raise"
                f" agent.model_timeout",
            ) from error
        except openai.APIError as error:
            raise self._translate(error, request.model or self._settings.model) from None

    async def _read(self, request: ModelRequest, mode: Mode, sink: Sink) -> _Answer:
        answer = _Answer()
        partial = PartialCall(sink)
        stream = await self._client.chat.completions.create(**self._body(request, mode))
        async with stream:
            async for chunk in stream:
                if chunk.usage is not None:
                    answer.usage = Usage(chunk.usage.prompt_tokens or 0, chunk.usage.completion_tokens or 0)
                if not chunk.choices:
                    continue
                choice = chunk.choices[0]
                answer.finish = choice.finish_reason or answer.finish
                if choice.delta.content:
                    answer.text += choice.delta.content
                    if mode is Mode.JSON_SCHEMA and request.functions:
                        partial.answer(answer.text)
                    else:
                        sink.delta(DeltaKind.THOUGHT, choice.delta.content)
                for call in choice.delta.tool_calls or ():
                    # Only the first call runs; further ones are not even read.
                    if (call.index or 0) == 0 and call.function is not None:
                        answer.name += call.function.name or ""
                        answer.arguments += call.function.arguments or ""
                        partial.arguments(answer.name, answer.arguments)
        if not answer.usage.total:
            answer.usage = _estimate(request, answer)
        return answer

    def _body(self, request: ModelRequest, mode: Mode) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": request.model or self._settings.model,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._settings.temperature is not None:
            body["temperature"] = self._settings.temperature
        if request.max_tokens:
            # OpenAI's reasoning models take the new name only, everybody else's server the old one only.
            body["max_tokens" if self._settings.base_url else "max_completion_tokens"] = request.max_tokens
        if not request.functions:
            body["messages"] = rendering.json_messages(request.messages, ())
        elif mode is Mode.JSON_SCHEMA:
            body["messages"] = rendering.json_messages(request.messages, request.functions)
            body["response_format"] = rendering.json_schema(request.functions, request.messages)
        else:
            body["messages"] = rendering.tool_messages(request.messages)
            body["tools"] = rendering.tools(request.functions)
            body["tool_choice"] = "required" if self._required else "auto"
        return body

    def _translate(self, error: openai.APIError, model: str) -> Exception:
        """The error in the suite's words. Its own text is looked at, and never passed on."""
        where = _where(self._settings.base_url)
        status = getattr(error, "status_code", None)
        _log.warning("model_call_failed", endpoint=where, model=model, error=type(error).__name__, status=status)
        if isinstance(error, openai.RateLimitError):
            return errors.ResourceExhausted(
                Reason.MODEL_RATE_LIMITED,
                f"the model's endpoint {where} has had too many requests, or its quota is used up; try again later",
                retry_after=_retry_after(error),
            )
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return _unusable(
                f"the model's endpoint {where} refuses the key; set agent.api_key (MEMGPT_AGENT_API_KEY)", status
            )
        if isinstance(error, openai.NotFoundError):
            return _unusable(
                f"the endpoint {where} does not know the model {model!r}, or is none; check agent.model and"
                f" agent.base_url"
                " (which usually ends in /v1)",
                status,
            )
        if isinstance(error, openai.APIStatusError) and error.status_code < 500:
            if _OVERFLOW.search(_text(error)) or error.status_code == 413:
                return ContextOverflowError()
            return _unusable(
                f"the model's endpoint {where} refuses the request (HTTP {error.status_code}); check agent.model,"
                f" and try"
                " another agent.mode (tools or json_schema)",
                status,
            )
        return errors.Unavailable(
            Reason.MODEL_UNAVAILABLE,
            f"the model's endpoint {where} cannot be reached or is out of order; check that it runs, and"
            f" agent.base_url",
        )


class _Silent:
    def delta(self, kind: DeltaKind, text: str) -> None:
        pass

    def restart(self, reason: str) -> None:
        pass


def _from_tools(answer: _Answer, request: ModelRequest) -> Completion:
    """The first tool call; a mere text is a thought."""
    if not answer.name:
        if not answer.text.strip() or answer.finish == "length":
            raise _MalformedError("there is neither a function call nor a finished text", answer.text, answer.usage)
        if _looks_like_a_call(answer.text, request.functions):
            raise _MalformedError("the call was written as text", answer.text, answer.usage)
        return Completion(answer.text.strip(), usage=answer.usage)
    arguments = answer.arguments.strip() or "{}"
    parsed = _object(arguments)
    if parsed is None:
        if _failed_before(request):
            raise _MalformedError("the arguments are no JSON object", arguments, answer.usage)
        # Told to the model as a failed call, which it can mend.
        return Completion(answer.text.strip(), _function_call(answer.name, arguments), answer.usage)
    thought = parsed.pop(INNER_THOUGHTS, "")
    text = "\n".join(part for part in (answer.text.strip(), str(thought).strip()) if part)
    return Completion(text, _function_call(answer.name, envelopes.dumps(parsed)), answer.usage)


def _from_json(answer: _Answer) -> Completion:
    """The object ``{inner_thoughts, function, arguments}``."""
    value = _object(_unfenced(answer.text))
    if value is None:
        problem = "it was cut off" if answer.finish == "length" else "it is no JSON object"
        raise _MalformedError(problem, answer.text, answer.usage)
    name, arguments = value.get("function"), value.get("arguments", {})
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        raise _MalformedError("it lacks function or arguments", answer.text, answer.usage)
    thought = str(value.get(INNER_THOUGHTS, "")).strip()
    return Completion(thought, _function_call(name, envelopes.dumps(arguments)), answer.usage)


def _function_call(name: str, arguments: str) -> FunctionCall:
    return FunctionCall(new_call_id(), name[:_MAX_NAME], arguments)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _unfenced(text: str) -> str:
    match = re.search(r"```(?:json)?\s*(\{.*\})\s*```", text, re.DOTALL)
    return match[1] if match else text


def _looks_like_a_call(text: str, functions: Sequence[Function]) -> bool:
    stripped = _unfenced(text).strip()
    return stripped.startswith(("{", "<tool_call>")) and any(f'"{f.name}"' in stripped for f in functions)


def _failed_before(request: ModelRequest) -> bool:
    """Whether the model's last call had arguments that do not parse either."""
    for message in reversed(request.messages):
        if message.function_call is not None:
            return _object(message.function_call.arguments or "{}") is None
    return False


def _repair(request: ModelRequest, malformed: _MalformedError) -> ModelRequest:
    note = (
        f"{envelopes.SYSTEM_NOTE}Your last answer could not be used: {malformed}. Answer with exactly one"
        f" function call."
    )
    # What was wrong is shown in part only: it may be long, and it is no example to follow.
    former = [Message(Role.ASSISTANT, malformed.raw[:500])] if malformed.raw.strip() else []
    return ModelRequest(
        [*request.messages, *former, Message(Role.USER, envelopes.dumps({"type": "system_alert", "message": note}))],
        request.functions,
        request.model,
        request.max_tokens,
    )


def _estimate(request: ModelRequest, answer: _Answer) -> Usage:
    """For endpoints that do not report usage."""
    prompt = sum(count_tokens(message.text) for message in request.messages)
    return Usage(prompt, count_tokens(answer.text) + count_tokens(answer.arguments))


def _unusable(message: str, status: int | None) -> errors.FailedPrecondition:
    metadata: Mapping[str, object] = {} if status is None else {"status": status}
    return errors.FailedPrecondition(Reason.MODEL_UNUSABLE, message, metadata=metadata)


def _where(base_url: str) -> str:
    """The endpoint without credentials that somebody put into its address."""
    parts = urlsplit(base_url or "https://api.openai.com/v1")
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _text(error: openai.APIError) -> str:
    return f"{error.code or ''} {error.message} {error.body or ''}"


def _retry_after(error: openai.APIStatusError) -> float:
    try:
        return max(0.0, float(error.response.headers.get("retry-after", "")))
    except ValueError:
        return _DEFAULT_RETRY_AFTER
