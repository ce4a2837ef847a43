"""Answers to prompts that an endpoint refuses to read: for its content filter, in words unknown, or with a crash.

A refusal in unknown words, or a crash, is due to the prompt if the endpoint answers another one, and due to its length
if the endpoint refuses another one that is as long.

The cause may be a block of core memory or the summary, which are in every prompt of the agent. Then its prompts leave
that part out for an hour, or until it is edited; the agent keeps it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime

import structlog
from cachetools import TTLCache
from memgpt_runtime import errors

from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.memory_pressure import ContextView
from memgpt_agent.domain import Message, Role
from memgpt_agent.loop import boot
from memgpt_agent.loop.held_turn import HeldTurn
from memgpt_agent.models.base import (
    NO_STATUS,
    BadAnswerError,
    ChatModel,
    Completion,
    ContextOverflowError,
    FilteredError,
    ModelRequest,
    NullSink,
    may_be_for_content,
)

_log = structlog.get_logger(__name__)

_REMEMBERED = 1024
_REMEMBERED_SECONDS = 3600.0
"""Filters change, and what an endpoint refuses in unknown words may have had another cause."""

_FILLER = "The quick brown fox jumps over the lazy dog. "
"""Repeated for a prompt of any length."""

_MARGIN = 1.25

Ask = Callable[[HeldTurn, ContextView], Awaitable[Completion]]


class Rejections:
    """Asks a model, without the parts of an agent's memory that its endpoint rejects."""

    def __init__(self, model: ChatModel, ask: Ask, now: Callable[[], datetime]) -> None:
        """Prepare to ask.

        Args:
            model: The model.
            ask: Asks it for the next step of a turn.
            now: The clock.
        """
        self._model = model
        self._ask = ask
        self._now = now
        self._rejected: TTLCache[tuple[str, str], frozenset[int]] = TTLCache(_REMEMBERED, _REMEMBERED_SECONDS)
        """Hashes of the texts, by agent and model."""
        self._suspects: TTLCache[tuple[str, str], FilteredError | None] = TTLCache(_REMEMBERED, _REMEMBERED_SECONDS)
        """Turns whose last prompt was rejected, or may have crashed the endpoint; then the value is None."""

    async def answer(self, turn: HeldTurn, view: ContextView) -> Completion:
        """Return the answer to a prompt.

        Raises:
            FilteredError: The endpoint rejects what the prompt says, and the cause is not in memory.
        """
        memory = _memory(view)
        rejected = self._rejected.get((turn.agent_id, view.context.agent.model), frozenset())
        known = [text for text in memory if hash(text) in rejected]
        try:
            return await self._asked(turn, _without(view, known))
        except FilteredError as error:
            self._suspects[turn.agent_id, turn.lease.turn_id] = error
            if len(known) == len(memory) or view.context.recalled:
                raise
        return await self._without_cause(turn, view, [text for text in memory if text not in known], known)

    async def _without_cause(
        self, turn: HeldTurn, view: ContextView, suspects: Sequence[str], known: Sequence[str]
    ) -> Completion:
        """Return the answer to a prompt without the parts of memory that are rejected.

        The suspects are put back by halves: those that are answered stay.
        """
        turn.stream.restart("The endpoint rejected the prompt; the agent is asked without its core memory.")
        left_out = {*suspects, *known}
        found = await self._asked(turn, _without(view, left_out))
        groups = _halves(suspects)
        while groups:
            group = groups.pop()
            turn.stream.restart("The endpoint rejects a part of core memory; the agent is asked with the others.")
            try:
                answered = await self._asked(turn, _without(view, left_out.difference(group)))
            except FilteredError:
                groups += _halves(group)
            except (BadAnswerError, ContextOverflowError, errors.ServiceError):  # such as a limit of requests
                return found
            else:
                found = replace(answered, usage=found.usage + answered.usage)
                left_out.difference_update(group)
        self._rejected[turn.agent_id, view.context.agent.model] = frozenset(map(hash, left_out))
        _log.warning(
            "memory_left_out",
            agent_id=turn.agent_id,
            parts=["summary"] * (view.context.summary in left_out)
            + [block.label for block in view.context.blocks if block.value in left_out],
            fix="edit these parts: the endpoint rejects what they say",
        )
        return found

    async def _asked(self, turn: HeldTurn, view: ContextView) -> Completion:
        """Return the answer to a prompt.

        Raises:
            FilteredError: The endpoint rejects what the prompt says, perhaps in unknown words: it answers another one.
            ContextOverflowError: It rejects any prompt of this length, perhaps in unknown words.
        """
        key = turn.agent_id, turn.lease.turn_id
        suspect, rejection = key in self._suspects, self._suspects.get(key)
        # Another prompt comes first: after this one, the endpoint may be starting again.
        works = suspect and rejection is None and await self._refusal(self._another(view)) is None
        try:
            answered = await self._ask(turn, view)
        except errors.ServiceError as error:
            if rejection is not None and isinstance(error, errors.Unavailable):
                raise rejection from error
            if not may_be_for_content(error):
                raise
            refused = error
        else:
            self._suspects.pop(key, None)
            return answered
        if not works:
            if await self._refusal(self._another(view)) is not None:
                self._suspects[key] = None
                raise refused
            if isinstance(refused, errors.Unavailable):  # it may have been out of order for a moment
                try:
                    return await self._ask(turn, view)
                except errors.Unavailable as again:
                    if not may_be_for_content(again):
                        raise
                    refused = again
        if refused.metadata.get("status") != NO_STATUS and await self._refuses_length(view):
            raise ContextOverflowError
        raise FilteredError(
            f"{refused.message}; it answers other prompts, so use other words, or /undo if it still refuses"
        ) from refused

    async def _refuses_length(self, view: ContextView) -> bool:
        """Whether the endpoint refuses another prompt that is as long, with a margin for its way of counting."""
        other, tokens = self._another(view), view.prompt_tokens
        tokens = min(int(tokens * _MARGIN), max(tokens, view.window.limit))
        count = (tokens - other.prompt_tokens) // view.window.text_size(_FILLER)
        refusal = await self._refusal(other, (Message(Role.USER, _FILLER * count),)) if count > 0 else None
        return isinstance(refusal, ContextOverflowError) or (
            isinstance(refusal, errors.ServiceError) and may_be_for_content(refusal)
        )

    def _another(self, view: ContextView) -> ContextView:
        """Return the view of a conversation that has just begun."""
        context = replace(
            _without(view, _memory(view)).context,
            summary="",
            messages=tuple(boot.boot_sequence(self._now(), view.context.agent.time_zone)),
            recalled=(),
        )
        return replace(view, context=context)

    async def _refusal(self, view: ContextView, more: Sequence[Message] = ()) -> Exception | None:
        """Return the error of the endpoint for a prompt with ``more`` messages; None if it accepts the prompt."""
        request = ModelRequest(
            [*view.messages(), *more],
            view.functions,
            view.context.agent.model,
            view.window.answer_tokens,
            view.window.reserve,
            note=view.note(),
            guided_note=view.guided_note(),
            retried=False,
        )
        try:
            await self._model.complete(request, NullSink())
        except (errors.ServiceError, ContextOverflowError, FilteredError) as error:
            return error
        except BadAnswerError:
            pass  # it has read the prompt
        return None


def _memory(view: ContextView) -> list[str]:
    """Return the texts of memory in every prompt, those that the agent edits first."""
    texts = (view.context.summary, *(block.value for block in reversed(view.context.blocks)))
    return [text for text in dict.fromkeys(texts) if text.strip()]


def _without(view: ContextView, texts: Collection[str]) -> ContextView:
    """Return the view without texts of memory."""
    context = view.context
    blocks = tuple(replace(block, value=prompt.LEFT_OUT) if block.value in texts else block for block in context.blocks)
    summary = prompt.LEFT_OUT if context.summary in texts else context.summary
    return replace(view, context=replace(context, blocks=blocks, summary=summary))


def _halves(texts: Sequence[str]) -> list[Sequence[str]]:
    """Return the two halves of some texts; none of a single one."""
    middle = len(texts) // 2
    return [texts[:middle], texts[middle:]] if middle else []
