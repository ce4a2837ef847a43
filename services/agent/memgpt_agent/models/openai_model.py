"""Any endpoint that speaks OpenAI's protocol. The only module that imports ``openai``.

This is the one layer that asks a model again: when its endpoint is busy, breaks off or cannot be reached, within a
budget of tries and of time, and once when an answer is no call. What still fails then ends the caller's stream, or the
turn; in either case the steps before it stay. Neither the key nor an exception's text ever reaches a message or a log.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import openai
import structlog
from memgpt_runtime import context, errors
from memgpt_runtime.errors import Reason

from memgpt_agent import envelopes
from memgpt_agent.context_window.tokens import CountTokens, TokenCalibration
from memgpt_agent.context_window.window import raw_function_tokens, raw_size
from memgpt_agent.domain import NO_USAGE, Message, Role, Usage
from memgpt_agent.functions.send_message import SEND_MESSAGE
from memgpt_agent.models.answer.answers import Answer, AnswerReader, MalformedError, completion, cut_short, repair
from memgpt_agent.models.base import BadAnswerError, Completion, ContextOverflowError, DeltaKind, ModelRequest, Sink
from memgpt_agent.models.endpoint import EndpointSettings, Mode
from memgpt_agent.models.request.dialect import Dialect

_log = structlog.get_logger(__name__)
# It would log every request with its address, and the password that may stand in it.
logging.getLogger("httpx2").setLevel(logging.WARNING)

_PROBE_TOKENS = 256
_OVERFLOW = re.compile(
    r"context.{0,20}(?:length|window|size)|maximum.{0,20}(?:tokens|length)"
    r"|too (?:long|many tokens)|exceeds?.{0,40}context",
    re.I,
)
_FILTERED = re.compile(r"content.?(?:filter|policy|management)|ResponsibleAI", re.I)
_QUOTA_USED_UP = "insufficient_quota"
_DEFAULT_RETRY_AFTER = 5.0
_REFUSING = (400, 404, 422, 501)
_PASSING = (408, 409, 425, 429)
"""Statuses below 500 that are worth another try."""


class _ToolsRefusedError(Exception):
    """The endpoint says that this model takes no tools."""


class OpenAIModel:
    """A chat model behind an endpoint."""

    def __init__(self, settings: EndpointSettings, calibration: TokenCalibration, count: CountTokens) -> None:
        """Connects to nothing yet.

        Args:
            settings: The endpoint.
            calibration: Is told how long the endpoint says prompts were.
            count: Counts tokens as the window does.
        """
        self._settings = settings
        self._calibration = calibration
        self._count = count
        self._client = openai.AsyncOpenAI(
            api_key=settings.api_key or "none",
            base_url=settings.base_url or None,
            max_retries=0,
            timeout=settings.timeout,
        )
        # By model, since agents may name their own.
        self._modes: dict[str, Mode] = {}
        self._dialects: dict[str, Dialect] = {}
        self._probing = asyncio.Lock()

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
        request = ModelRequest(question, (SEND_MESSAGE,), name, _PROBE_TOKENS)
        try:
            answer = await self._ask(request, Mode.TOOLS, _Silent())
            found = answer.name == SEND_MESSAGE.name and bool(envelopes.parse(answer.arguments))
        except (_ToolsRefusedError, MalformedError, ContextOverflowError):
            found = False
        except errors.FailedPrecondition as error:
            if error.metadata.get("status") not in ("400", "422", "501"):
                raise
            found = False
        mode = Mode.TOOLS if found else Mode.JSON_SCHEMA
        _log.info("model_probed", model=name, mode=mode.value)
        return mode

    async def complete(self, request: ModelRequest, sink: Sink) -> Completion:
        """Answers one request. An answer that is no call is asked for once more, in ``auto`` mode in the other mode."""
        if not request.functions:
            answer = await self._ask(request, Mode.JSON_SCHEMA, sink)
            return Completion(answer.text, usage=answer.usage)
        name = request.model or self._settings.model
        mode = await self._mode_for(name)
        try:
            return await self._call(request, mode, sink)
        except MalformedError as malformed:
            if malformed.at_fault:
                mode = self._switched(name, mode)
            _log.info("model_answer_malformed", model=name, mode=mode.value, problem=str(malformed))
            sink.restart("The model's answer was no function call; it is asked again.")
            spent = malformed.answer.usage
            again = repair(request, malformed)
        except _ToolsRefusedError as refused:
            mode = self._switched(name, mode)
            if mode is Mode.TOOLS:
                raise _unusable(
                    f"the model {name!r} takes no tools; set agent.mode to json_schema or auto", None
                ) from refused
            spent, again = NO_USAGE, request
        try:
            answered = await self._call(again, mode, sink)
        except MalformedError as malformed:
            short = cut_short(malformed.answer, as_json=mode is Mode.JSON_SCHEMA)
            if short is None:
                raise BadAnswerError(_of_no_use(name, malformed)) from malformed
            answered = short
        return Completion(answered.text, answered.call, answered.usage + spent)

    async def _mode_for(self, name: str) -> Mode:
        if self._settings.mode is not Mode.AUTO:
            return self._settings.mode
        if name not in self._modes:
            async with self._probing:
                if name not in self._modes:
                    self._modes[name] = await self.probe(name)
        return self._modes[name]

    def _switched(self, name: str, mode: Mode) -> Mode:
        """The mode to go on with after ``mode`` did not work."""
        if self._settings.mode is not Mode.AUTO:
            return mode
        self._modes[name] = Mode.JSON_SCHEMA
        return Mode.JSON_SCHEMA

    async def _call(self, request: ModelRequest, mode: Mode, sink: Sink) -> Completion:
        answer = await self._ask(request, mode, sink)
        return completion(answer, request, as_json=mode is Mode.JSON_SCHEMA)

    async def _ask(self, request: ModelRequest, mode: Mode, sink: Sink) -> Answer:
        """One answer, asked for again while that may help and patience lasts."""
        patience = self._settings.patience
        for attempt in range(self._settings.retries + 1):
            try:
                async with asyncio.timeout(context.remaining(self._settings.timeout)):
                    return await self._read(request, mode, sink)
            except TimeoutError as error:
                raise errors.Unavailable(
                    Reason.MODEL_UNAVAILABLE,
                    f"the model gave no answer within {self._settings.timeout:g} s; try again, or raise"
                    f" agent.model_timeout",
                ) from error
            except openai.APIError as error:
                failure = self._translate(error, request.model or self._settings.model)
                pause = self._pause(error, attempt)
            except (ValueError, RecursionError):  # A stream of something that is no JSON.
                failure, pause = self._broken(), self._backoff(attempt)
            if attempt == self._settings.retries or pause is None or pause > patience:
                raise failure
            patience -= pause
            sink.restart(f"The model's endpoint is busy or broke off; it is asked again in {pause:.1f} s.")
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _read(self, request: ModelRequest, mode: Mode, sink: Sink) -> Answer:
        name = request.model or self._settings.model
        dialect = self._dialects.get(name)
        if dialect is None:
            dialect = self._dialects[name] = Dialect(self._settings)
        while True:
            body = dialect.body(request, name, mode)
            try:
                answer = await self._stream(body, AnswerReader(sink, as_json=_as_json(request, mode)))
                break
            except openai.APIStatusError as error:
                problem = _text(error)
                if error.status_code not in _REFUSING or _too_long(error):
                    raise
                if option := dialect.fall_back(body, problem):
                    _log.info("model_option_refused", model=name, option=option)
                elif "tools" in body and "tool" in problem.lower():
                    raise _ToolsRefusedError from None
                else:
                    raise
        ours = sum(raw_size(message, self._count) for message in request.messages)
        ours += raw_function_tokens(request.functions, self._count)
        if answer.usage.prompt_tokens:
            self._calibration.observe(request.model, ours, answer.usage.prompt_tokens)
            return answer
        return _with_usage(answer, Usage(ours, self._count(answer.text) + self._count(answer.arguments)))

    async def _stream(self, body: Mapping[str, object], reader: AnswerReader) -> Answer:
        # As plain dictionaries: to check and to copy every message of a long prompt, and every chunk, into the
        # library's own types takes longer than all else that the Agent does in a step.
        stream = await self._client.post(
            "/chat/completions", body=body, cast_to=object, stream=True, stream_cls=openai.AsyncStream[object]
        )
        async with stream:
            async for chunk in stream:
                reader.chunk(chunk)
        return reader.answer()

    def _pause(self, error: openai.APIError, attempt: int) -> float | None:
        """Seconds to wait before another try; None where that is of no use."""
        status = getattr(error, "status_code", None)
        if _QUOTA_USED_UP in _text(error):
            return None
        if isinstance(error, openai.APIStatusError) and error.status_code < 500 and error.status_code not in _PASSING:
            return None
        if status == 501 or _too_long(error):
            return None
        asked = _retry_after(error) if isinstance(error, openai.APIStatusError) else None
        return self._backoff(attempt) if asked is None else asked

    def _backoff(self, attempt: int) -> float:
        return self._settings.pause * float(2**attempt) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret

    def _translate(self, error: openai.APIError, model: str) -> Exception:
        """The error in the suite's words. Its own text is looked at, and never passed on."""
        where = _where(self._settings.base_url)
        status = getattr(error, "status_code", None)
        _log.warning("model_call_failed", endpoint=where, model=model, error=type(error).__name__, status=status)
        if isinstance(error, openai.RateLimitError):
            after = _retry_after(error)
            return errors.ResourceExhausted(
                Reason.MODEL_RATE_LIMITED,
                f"the model's endpoint {where} has had too many requests, or its quota is used up; try again later",
                retry_after=_DEFAULT_RETRY_AFTER if after is None else after,
            )
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return _unusable(
                f"the model's endpoint {where} refuses the key; set agent.api_key (MEMGPT_AGENT_API_KEY)", status
            )
        if isinstance(error, openai.NotFoundError):
            return _unusable(
                f"the endpoint {where} does not know the model {model!r}, or is none; check agent.model and"
                f" agent.base_url (which usually ends in /v1)",
                status,
            )
        if _too_long(error):
            return ContextOverflowError()
        if isinstance(error, openai.APIStatusError) and error.status_code < 500 and error.status_code not in _PASSING:
            if _FILTERED.search(_text(error)):
                return BadAnswerError(
                    f"the content filter of the model's endpoint {where} refuses the prompt; put it in other words"
                )
            return _unusable(
                f"the model's endpoint {where} refuses the request (HTTP {error.status_code}); check agent.model,"
                f" and try another agent.mode (tools or json_schema)",
                status,
            )
        return self._broken()

    def _broken(self) -> errors.Unavailable:
        return errors.Unavailable(
            Reason.MODEL_UNAVAILABLE,
            f"the model's endpoint {_where(self._settings.base_url)} cannot be reached or is out of order; check that"
            f" it runs, and agent.base_url",
        )


class _Silent:
    def delta(self, kind: DeltaKind, text: str) -> None:
        pass

    def restart(self, reason: str) -> None:
        pass


def _as_json(request: ModelRequest, mode: Mode) -> bool:
    return mode is Mode.JSON_SCHEMA and bool(request.functions)


def _with_usage(answer: Answer, usage: Usage) -> Answer:
    """For endpoints that do not report it."""
    return Answer(answer.text, answer.name, answer.arguments, answer.finish, answer.refusal, usage)


def _of_no_use(name: str, malformed: MalformedError) -> str:
    if malformed.at_fault:
        return (
            f"the model {name!r} answered twice with something that is no function call ({malformed}); try again, or"
            " choose another model or another agent.mode (tools or json_schema)"
        )
    return (
        f"the model {name!r} was asked twice and did not finish its answer ({malformed}); use other words, or"
        " raise agent.max_answer_tokens and agent.context_window"
    )


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


def _too_long(error: openai.APIError) -> bool:
    """Whether the endpoint says that the prompt is too long; some say so in mid-stream."""
    if isinstance(error, openai.APIStatusError):
        if error.status_code == 413:
            return True
        if error.status_code not in (400, 422, 500):
            return False
    elif isinstance(error, openai.APIConnectionError):
        return False
    return _OVERFLOW.search(_text(error)) is not None


def _retry_after(error: openai.APIStatusError) -> float | None:
    """Seconds that the endpoint asks to wait; None when it does not say."""
    given = error.response.headers.get("retry-after", "")
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
