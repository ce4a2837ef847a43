"""Answers to prompts that an endpoint refuses to read: for its content filter, in words unknown, or with a crash.

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
from memgpt_agent.loop import boot
from memgpt_agent.loop.held_turn import HeldTurn
from memgpt_agent.models.base import (
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
        except FilteredError:
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
        """
        try:
            return await self._ask(turn, view)
        except errors.ServiceError as error:
            if not may_be_for_content(error) or not await self._answers_another(view):
                raise
            refused = error
        if isinstance(refused, errors.Unavailable):  # it may have been out of order for a moment
            try:
                return await self._ask(turn, view)
            except errors.Unavailable as again:
                if not may_be_for_content(again):
                    raise
                refused = again
        raise FilteredError(
            f"{refused.message}; it answers other prompts, so use other words, or /undo if it still refuses"
        ) from refused

    async def _answers_another(self, view: ContextView) -> bool:
        """Whether the endpoint answers the same request about a conversation that has just begun."""
        context = replace(
            _without(view, _memory(view)).context,
            summary="",
            messages=tuple(boot.boot_sequence(self._now(), view.context.agent.time_zone)),
            recalled=(),
        )
        other = replace(view, context=context)
        request = ModelRequest(
            other.messages(),
            other.functions,
            context.agent.model,
            other.window.answer_tokens,
            other.window.reserve,
            note=other.note(),
            guided_note=other.guided_note(),
        )
        try:
            await self._model.complete(request, NullSink())
        except (errors.ServiceError, ContextOverflowError, FilteredError):
            return False
        except BadAnswerError:
            pass  # it has read the prompt
        return True


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
