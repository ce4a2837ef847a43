"""The chat model of any OpenAI-compatible endpoint.

This is the only layer that retries a model. If its endpoint is busy, stops midway or cannot be reached, the request is
repeated within a budget of tries and of time. If the endpoint refuses an option, the request is repeated without it. If
an answer is not a call, the request is repeated once, and in ``auto`` in the other mode. A failure after that ends the
caller's stream, or the turn; the steps before it stay. People see the endpoint's own message, without secrets.

Retries are counted here and not by a library, because each pause is reported to the readers of the stream, and all
pauses share one budget of seconds.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import structlog
from memgpt.endpoints.address import parse_address
from memgpt.endpoints.refusals import PASSING, Meaning, Refusal
from memgpt_runtime import context, reasons

from memgpt_agent.context_window.tokens import CountTokens, TokenCalibration
from memgpt_agent.context_window.window import raw_function_tokens, raw_size
from memgpt_agent.domain import NO_USAGE, Usage
from memgpt_agent.models import refusal_errors
from memgpt_agent.models.answer.answer import BROKEN_OFF, FILTERED, LENGTH, Answer, MalformedError
from memgpt_agent.models.answer.completion import completion, cut_short, is_whole, repair
from memgpt_agent.models.answer.function_names import FunctionNames
from memgpt_agent.models.answer.reader import AnswerReader
from memgpt_agent.models.answer.reasoning import without_reasoning
from memgpt_agent.models.answer.text_calls import calls_in
from memgpt_agent.models.base import (
    BadAnswerError,
    Completion,
    ContextOverflowError,
    FilteredError,
    ModelRequest,
    Sink,
)
from memgpt_agent.models.endpoint import CallMode, ChatEndpointSettings
from memgpt_agent.models.modes import Modes
from memgpt_agent.models.request.dialect import Dialect
from memgpt_agent.models.transport import END, WHOLE, EndpointError, Transport

_log = structlog.get_logger(__name__)

_MAX_ADAPTATIONS = 24
_CONNECT_SECONDS = 5.0
"""Seconds to wait for a connection; an endpoint that is slow to answer still accepts one at once."""

_THINKING = (4, 16)
"""Factors by which the room for an answer grows for a model that spends it on reasoning."""

_LEAST_THINKING = 4096
_MOST_TOKENS = 65_536
_PLAIN_TRIES = 3


class _RefusedError(Exception):
    """The endpoint refuses the request for a reason that no option explains."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.meaning.value)
        self.refusal = refusal


class OpenAIModel:
    """A chat model at an endpoint."""

    def __init__(self, settings: ChatEndpointSettings, calibration: TokenCalibration, count: CountTokens) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            settings: The endpoint.
            calibration: Records the sizes of prompts that the endpoint reports, and the room that answers need.
            count: Counts the tokens of a text, as the window does.
        """
        self._settings = settings
        self._calibration = calibration
        self._count = count
        self._address = parse_address(settings.base_url, settings.headers, settings.query)
        self._transport = Transport(self._address, settings.api_key, min(settings.timeout, _CONNECT_SECONDS))
        self._modes = Modes(settings.mode)
        # By model, since agents may name their own.
        self._dialects: dict[str, Dialect] = {}

    def mode(self, model: str = "") -> CallMode:
        """Return how functions are called, as far as it is known."""
        return self._modes.shown(model or self._settings.model)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def complete(self, request: ModelRequest, sink: Sink) -> Completion:
        """Return the answer to one request, with retries where they may help."""
        if not request.functions:
            return await self._text(request, sink)
        name = request.model or self._settings.model
        mode = self._modes.current(name)
        try:
            first = await self._called(request, mode, sink)
        except _RefusedError as error:
            return await self._elsewhere(request, mode, error.refusal, sink)
        except MalformedError as malformed:
            return await self._mended(request, mode, malformed, sink)
        other = self._modes.other(mode)
        if first.call is None and other is not None and not self._modes.trusts(name):
            # Text alone, from a model that has not called a function yet: it may be unable to in this mode.
            return await self._in_words(request, mode, other, first, sink)
        if first.call is not None:
            self._modes.worked(name, mode)
        return first

    async def _text(self, request: ModelRequest, sink: Sink) -> Completion:
        """Return a plain text that is not empty and, if possible, not cut off.

        As a last resort it is what came as reasoning: some servers take the whole answer for that.
        """
        name, spent = request.model or self._settings.model, NO_USAGE
        kept = reasoned = ""
        refused = False
        for _ in range(_PLAIN_TRIES):
            try:
                answer = await self._answer(request, CallMode.JSON_SCHEMA, sink)
            except _RefusedError as error:
                raise self._error(error.refusal, request.model) from error
            except MalformedError as malformed:
                answer = malformed.answer
            spent += answer.usage
            text = answer.text.strip()
            if text and not answer.cut_off:
                return Completion(text, usage=spent)
            refused = answer.finish == FILTERED or (bool(answer.refusal.strip()) and not text)
            if not refused:
                kept = text or kept
                reasoned = ("" if answer.cut_off else without_reasoning(answer.reasoning).strip()) or reasoned
            sink.restart("The model's text was not complete; it is asked again.")
        if text := kept or reasoned:
            return Completion(text, usage=spent)
        if refused:
            raise FilteredError(refusal_errors.refused_text(name))
        raise BadAnswerError(refusal_errors.no_text(name))

    async def _mended(self, request: ModelRequest, mode: CallMode, malformed: MalformedError, sink: Sink) -> Completion:
        """Return the answer to a repeated request that shows the fault of the last one, perhaps in the other mode."""
        name = request.model or self._settings.model
        other = self._modes.other(mode)
        if malformed.at_fault:
            self._modes.failed(name, mode)
            mode = other or mode
        _log.info("model_answer_malformed", model=name, mode=mode.value, problem=str(malformed))
        sink.restart("The model's answer was not a function call; it is asked again.")
        spent = malformed.answer.usage
        try:
            answered = await self._called(repair(request, malformed), mode, sink)
        except MalformedError as again:
            short = cut_short(again.answer, as_json=mode is CallMode.JSON_SCHEMA)
            if short is None:
                # A filter that stops an answer before its first word has rejected the prompt.
                kind = FilteredError if again.answer.filtered_at_once else BadAnswerError
                raise kind(refusal_errors.malformed(name, again)) from again
            answered = short
        except _RefusedError as error:
            raise self._error(error.refusal, name) from error
        if answered.call is not None:
            self._modes.worked(name, mode)
        return replace(answered, usage=answered.usage + spent)

    async def _elsewhere(self, request: ModelRequest, mode: CallMode, refusal: Refusal, sink: Sink) -> Completion:
        """Return the answer in the other mode, after a refusal that no option explains."""
        name = request.model or self._settings.model
        other = self._modes.other(mode)
        if other is None or not refusal_errors.may_work_elsewhere(refusal):
            raise self._error(refusal, name)
        self._modes.failed(name, mode, for_good=refusal.meaning is Meaning.NO_TOOLS)
        _log.info("model_mode_refused", model=name, mode=mode.value, meaning=refusal.meaning.value, quote=refusal.quote)
        sink.restart("The endpoint refused the request; it is asked in another way.")
        try:
            answered = await self._called(request, other, sink)
        except (_RefusedError, MalformedError) as error:
            if isinstance(error, MalformedError) and refusal.meaning is Meaning.NO_TOOLS:
                return await self._mended(request, other, error, sink)
            raise self._error(refusal, name) from error
        if answered.call is not None:
            self._modes.worked(name, other)
        return answered

    async def _in_words(
        self, request: ModelRequest, mode: CallMode, other: CallMode, first: Completion, sink: Sink
    ) -> Completion:
        """Return the answer in the other mode, or the first one, without a call, if the other fails."""
        name = request.model or self._settings.model
        self._modes.failed(name, mode)
        sink.restart("The model called no function; it is asked in another way.")
        try:
            answered = await self._called(request, other, sink)
        except (_RefusedError, MalformedError):
            return first
        if answered.call is not None:
            self._modes.worked(name, other)
        return replace(answered, usage=answered.usage + first.usage)

    async def _called(self, request: ModelRequest, mode: CallMode, sink: Sink) -> Completion:
        """Return the interpretation of one answer."""
        answer = await self._answer(request, mode, sink)
        made = completion(answer, request, as_json=mode is CallMode.JSON_SCHEMA)
        dialect = self._dialect(request.model or self._settings.model)
        calls = [made.call, *made.further] if made.call else []
        for place, (call, raw) in enumerate(zip(calls, answer.calls, strict=False)):
            calls[place] = dialect.extras.keep(
                call, answer.reasoning, raw.extra, answer.blocks, reasoning_demanded=dialect.quirks.reasoning
            )
        return replace(made, call=calls[0], further=tuple(calls[1:])) if calls else made

    async def _answer(self, request: ModelRequest, mode: CallMode, sink: Sink) -> Answer:
        """Return one answer; a model that spends its room on reasoning gets more."""
        name = request.model or self._settings.model
        first, *larger = sorted({self._room(request, name, factor) for factor in (1, *_THINKING)})
        try:
            answer, room = await self._ask(request, mode, first, sink), first
        except _RefusedError as error:
            if error.refusal.meaning is not Meaning.TOO_LONG or first <= request.max_tokens:
                raise
            # The endpoint may count the room for the answer with the prompt: less room may do.
            answer = await self._ask(request, mode, request.max_tokens, sink)
            if _needs_room(answer):
                raise
            return answer
        for more in larger:
            if not _needs_room(answer):
                break
            _log.info("model_output_limit_raised", model=name, tokens=more)
            sink.restart("The model used up its tokens before it had answered; it gets more of them.")
            try:
                answer, room = await self._ask(request, mode, more, sink), more
            except _RefusedError as error:
                if error.refusal.meaning is not Meaning.TOO_LONG:
                    raise
                break
        if room > request.max_tokens and not _needs_room(answer):
            self._calibration.need(request.model, room)
        return answer

    def _room(self, request: ModelRequest, name: str, factor: int) -> int:
        """Return the most tokens that the model may write, within what the prompt leaves; 0 for no bound."""
        if not request.max_tokens:
            return 0
        room = max(request.max_tokens, self._calibration.needed(request.model))
        if factor > 1:
            room = max(room, min(max(request.max_tokens * factor, _LEAST_THINKING * factor // 4), _MOST_TOKENS))
        return min(filter(None, (room, request.most_tokens, self._dialect(name).most_tokens)))

    async def _ask(self, request: ModelRequest, mode: CallMode, room: int, sink: Sink) -> Answer:
        """Return one answer, with retries while they may help and the budget lasts."""
        max_retry_wait = self._settings.max_retry_wait
        name = request.model or self._settings.model
        retries = self._settings.retries if request.retried else 0
        broke_off = False
        for attempt in range(retries + 1):
            try:
                return await self._adapted(request, mode, room, sink)
            except EndpointError as error:
                refusal = error.refusal
            if (rescued := _rescued(request, refusal)) is not None:
                return self._counted(request, rescued)
            if refusal.meaning is Meaning.OUT_OF_ROOM:
                return self._counted(request, Answer(finish=LENGTH))
            _log.warning(
                "model_call_failed",
                endpoint=self._address.shown, model=name, meaning=refusal.meaning.value, status=refusal.status,
                quote=refusal.quote,
            )  # fmt: skip
            if refusal.meaning not in PASSING:
                raise _RefusedError(refusal)
            pause = self._backoff(attempt) if refusal.retry_after is None else refusal.retry_after
            broke_off = broke_off or refusal.meaning is Meaning.BROKEN_OFF
            if attempt == retries or pause > max_retry_wait:
                if refusal.meaning is Meaning.GENERATION_FAILED:
                    raise _RefusedError(refusal)
                if broke_off and not refusal.status:
                    # What cannot be reached now has crashed at an earlier attempt.
                    refusal = replace(refusal, meaning=Meaning.BROKEN_OFF)
                raise self._error(refusal, name)
            max_retry_wait -= pause
            sink.restart(refusal_errors.asked_again(refusal, pause))
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    def _backoff(self, attempt: int) -> float:
        return self._settings.pause * float(2**attempt) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret

    async def _adapted(self, request: ModelRequest, mode: CallMode, room: int, sink: Sink) -> Answer:
        """Return one answer, with the options that the endpoint accepts."""
        name = request.model or self._settings.model
        dialect = self._dialect(name)
        for _ in range(_MAX_ADAPTATIONS):
            changes, body = dialect.changes, dialect.body(request, name, mode, room)
            reader = AnswerReader(
                sink,
                FunctionNames(request.functions),
                as_json=mode is CallMode.JSON_SCHEMA and bool(request.functions),
            )
            try:
                answer, end = await self._read(body, dialect.path, reader)
            except EndpointError as error:
                changed = dialect.adapt(body, error.refusal, changes)
                if not changed:
                    raise
                _log.info("model_request_adapted", model=name, change=changed, quote=error.refusal.quote)
                continue
            broken_off = answer.finish == BROKEN_OFF
            finished = bool(answer.finish or end == WHOLE) and not broken_off
            whole = finished or is_whole(answer, request, as_json=mode is CallMode.JSON_SCHEMA)
            if (broken_off and not whole) or not dialect.believes(finished=finished, marked=end == END, whole=whole):
                raise EndpointError(Refusal(Meaning.BROKEN_OFF, 200, "", "half of an answer"))
            return self._counted(request, answer)
        raise EndpointError(Refusal(Meaning.REFUSED, 400, "", "every option of the request"))

    async def _read(self, body: dict[str, object], path: str, reader: AnswerReader) -> tuple[Answer, str]:
        """Return one answer, and `END` or `WHOLE` if its end was marked; fail if nothing comes for too long."""
        silence, end = self._settings.timeout, ""
        try:
            async with asyncio.timeout(context.remaining(silence)) as limit:
                async for chunk in self._transport.chunks(body, path):
                    before = reader.size
                    reader.chunk(chunk)
                    end = chunk if isinstance(chunk, str) else end
                    if reader.size > before:
                        limit.reschedule(asyncio.get_running_loop().time() + (context.remaining(silence) or silence))
        except TimeoutError as error:
            raise reasons.model_unavailable(
                f"the model's endpoint {self._address.shown} sent nothing for {silence:g} s; retry, or raise"
                " agent.model_timeout",
                model=str(body.get("model", self._settings.model)),
            ) from error
        return reader.answer(), end

    def _counted(self, request: ModelRequest, answer: Answer) -> Answer:
        """Return the answer with its usage, and correct the token counts by it."""
        sizes = [raw_size(message, self._count) for message in request.messages]
        functions = raw_function_tokens(request.functions, self._count)
        ours = sum(sizes) + functions
        usage, most = self._calibration.whole_prompt(request.model, ours, answer.usage, apart=answer.cached_apart)
        if not usage.prompt_tokens:
            written = self._count(answer.text) + sum(self._count(call.arguments) for call in answer.calls)
            return replace(answer, usage=Usage(ours, written))
        if self._calibration.truncated(request.model, ours, most, kept=sizes[0] + functions):
            _log.warning(
                "prompt_truncated_by_endpoint",
                endpoint=self._address.shown, model=request.model or self._settings.model, sent=ours,
                read=usage.prompt_tokens,
                fix="set agent.context_window to the window of the server, or raise it there"
                " (Ollama: OLLAMA_CONTEXT_LENGTH)",
            )  # fmt: skip
        else:
            self._calibration.observe(request.model, ours, usage.prompt_tokens, most=most)
        return replace(answer, usage=usage)

    def _dialect(self, name: str) -> Dialect:
        if name not in self._dialects:
            self._dialects[name] = Dialect(self._address, self._settings.temperature)
        return self._dialects[name]

    def _error(self, refusal: Refusal, model: str) -> Exception:
        if refusal.meaning is Meaning.TOO_LONG:
            return ContextOverflowError()
        return refusal_errors.error_for(refusal, self._address.shown, model or self._settings.model)


def _rescued(request: ModelRequest, refusal: Refusal) -> Answer | None:
    """Return what the model wrote as its answer, if its endpoint could not read the calls in it and we can."""
    if not calls_in(refusal.generated, FunctionNames(request.functions)).calls:
        return None
    _log.info("model_answer_rescued", quote=refusal.quote)
    return Answer(refusal.generated)


def _needs_room(answer: Answer) -> bool:
    """Whether the model used up its tokens by reasoning before it had answered."""
    thought = answer.reasoning_tokens > answer.usage.completion_tokens // 2 or bool(answer.reasoning)
    return answer.finish == LENGTH and not answer.runaway and (answer.starved or thought)
