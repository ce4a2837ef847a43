"""The steps of a turn: make room, ask the model, run the one function that it calls, commit.

The changes of a function in Memory are committed with the step that called it. This is not possible for a call of a
remote tool: it is committed as a step without a result, then made, and its result is the next step. A replica that
finds a call without a result makes it under the same key, and does not ask the model again.

The event that makes an agent continue (a heartbeat, an alert) is committed in the step that caused it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from memgpt_runtime import errors, reasons

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.memory_pressure import ContextView
from memgpt_agent.context_window.window import WindowTooSmallError
from memgpt_agent.domain import (
    NO_USAGE,
    Context,
    FunctionCall,
    Message,
    NewStep,
    Outcome,
    PlanEdit,
    Role,
    TurnState,
    Usage,
)
from memgpt_agent.functions import BUILT_IN_BY_NAME, MemorySearch
from memgpt_agent.loop import boot, final_reply, summary
from memgpt_agent.loop.answer_check import (
    MAX_FIRST_ATTEMPTS,
    Objection,
    first_answer_objection,
    mismatch_objection,
)
from memgpt_agent.loop.auto_recall import with_recalled
from memgpt_agent.loop.held_turn import HeldTurn, TurnFailedError
from memgpt_agent.loop.rejections import Rejections
from memgpt_agent.loop.tool_executor import StepResult, ToolExecutor
from memgpt_agent.models.base import ChatModel, Completion, ContextOverflowError, FilteredError, ModelRequest

_OVERFLOW_ATTEMPTS = 4
_CONFLICT_ATTEMPTS = 5
_OVERFLOW_SHRINK = 0.75
_MAX_FURTHER = 15
"""Maximum number of further calls of one answer that are made after its first one."""


class StepRunner:
    """Runs the steps of held turns."""

    def __init__(
        self,
        model: ChatModel,
        executor: ToolExecutor,
        view: Callable[[Context], ContextView],
        max_steps: int,
        now: Callable[[], datetime],
        recall_from: MemorySearch | None = None,
    ) -> None:
        """Prepare to run steps.

        Args:
            model: The chat model.
            executor: Runs the functions that it calls.
            view: Returns a context as its window shows it.
            max_steps: Limit of steps for turns that set none.
            now: The clock.
            recall_from: The memory to search for each user message before the model is asked; None to search nothing.
        """
        self._model = model
        self._rejections = Rejections(model, self._ask, now)
        self._executor = executor
        self._view = view
        self._max_steps = max_steps
        self._now = now
        self._memory = recall_from

    async def run(self, turn: HeldTurn) -> None:
        """Run steps until the turn has ended.

        Raises:
            TurnFailedError: The turn cannot be completed.
            BadAnswerError: The model's answers are unusable.
            LeaseLostError: Another replica holds the turn.
        """
        while not await self._step(turn):
            pass

    async def _step(self, turn: HeldTurn) -> bool:
        """Run one step, and return whether the turn has ended."""
        for _ in range(_CONFLICT_ATTEMPTS):
            new, usage = await self._next(turn)
            try:
                new = await self._commit(turn, new, usage)
            except (errors.Aborted, errors.NotFound) as error:
                if isinstance(error, errors.NotFound) and error.reason != errors.Reason.BLOCK_NOT_FOUND:
                    raise
                turn.stream.restart("The agent was changed in the meantime.")
                turn.known_context = None
                # The model is asked again, with the changed context.
                turn.further_calls.clear()
                turn.reason = ""
                continue
            turn.model_steps += usage is not None
            turn.usage += usage or NO_USAGE
            return new.outcome is not None
        raise reasons.etag_mismatch(
            "other callers changed core memory at each attempt; send the same request again", resource="block", etag=""
        )

    async def _commit(self, turn: HeldTurn, new: NewStep, usage: Usage | None) -> NewStep:
        """Commit a step and return it. If an edit of a shared block came too late, the step says so instead.

        Agents that share a block may change it often, so asking the model again might go on until the turn fails.

        Raises:
            Aborted: The agent's own memory has changed.
            NotFound: A block of the agent's own no longer exists.
        """
        before = await turn.context()
        shared = {block.label for block in before.blocks if block.shared}
        edited = next((edit.label for edit in new.blocks if edit.label in shared), "")
        try:
            await turn.commit(new)
        except (errors.Aborted, errors.NotFound):
            if not edited:
                raise
            turn.known_context = None
            context = await turn.context()
            result = self._executor.conflict(context, new.messages[0], edited)
            new = self._new_step(turn, self._view(context), result, usage)
            await turn.commit(new)
        return new

    async def _next(self, turn: HeldTurn) -> tuple[NewStep, Usage | None]:
        """Return the next step to commit, and the tokens that the model used for it; None if it was not asked."""
        context = await turn.context()
        if context.open_call is not None:
            result = await self._executor.finish(context, context.open_call, turn.lease.turn_id, turn.next_step - 1)
            return self._new_step(turn, self._view(context), result, None), None
        if turn.further_calls:
            view = self._view(context)
            result = await self._executor.act(view.context, Completion("", turn.further_calls.popleft()), asked=False)
            return self._new_step(turn, view, result, None), None
        if (outcome := self._limit_reached(turn)) is not None:
            words = self._last_words(context, outcome.state)
            return NewStep(turn.next_step, words, outcome=outcome), None
        try:
            view, completion = await self._answer(turn, context)
        except FilteredError:
            context = await turn.context()
            if not prompt.only_results(prompt.unanswered(context.messages)):
                raise
            # The agent may find another way.
            time = envelopes.format_time(self._now(), context.agent.time_zone)
            event = Message(Role.USER, envelopes.heartbeat(prompt.HEARTBEAT_REJECTED, time))
            return NewStep(turn.next_step, (event,)), None
        turn.further_calls.extend(_further(completion))
        result = await self._executor.act(view.context, completion)
        return self._new_step(turn, view, result, completion.usage), completion.usage

    def _limit_reached(self, turn: HeldTurn, usage: Usage | None = None) -> Outcome | None:
        """Return the end of a turn that has used up its steps or tokens; None if it has not.

        Args:
            turn: The turn.
            usage: Tokens of a step that is about to be committed, if the model was asked in it.
        """
        budget = turn.request.max_tokens
        if 0 < budget <= (turn.usage + (usage or NO_USAGE)).total:
            return Outcome(TurnState.STOPPED, f"The budget of {budget:,} tokens is used up.")
        limit = turn.request.max_steps or self._max_steps
        if turn.model_steps + (usage is not None) >= limit:
            return Outcome(TurnState.STOPPED, f"The limit of {limit} steps is reached.")
        return None

    # Asking the model.

    async def _answer(self, turn: HeldTurn, context: Context) -> tuple[ContextView, Completion]:
        """Return the model's answer to the context, after making room for it."""
        if self._memory is not None:
            context = await with_recalled(context, self._memory)
        view = self._view(context)
        for _ in range(_OVERFLOW_ATTEMPTS):
            try:
                view = await self._make_room(turn, view)
                return view, await self._rejections.answer(turn, view)
            except ContextOverflowError:
                turn.stream.restart("The prompt was too long for the model; its oldest messages are taken out.")
                view = view.narrowed(_OVERFLOW_SHRINK)
            except FilteredError:
                if not view.context.recalled:
                    raise
                turn.stream.restart(
                    "The content filter rejected the prompt; the agent is asked without what it recalled."
                )
                view = replace(view, context=replace(view.context, recalled=()))
            except WindowTooSmallError as error:
                raise TurnFailedError(
                    f"{error}; raise the agent's context_window, or shorten its instructions"
                ) from error
        raise TurnFailedError(refusal(view))

    async def _make_room(self, turn: HeldTurn, view: ContextView) -> ContextView:
        """Evict the oldest messages, in a step of its own, if the prompt leaves too little room for an answer."""
        recalled = view.context.recalled
        view = view.with_fitting_recall()
        if not view.overflows or (count := view.evictable) == 0:
            return view
        eviction, usage = await summary.evict(view.context, count, self._model, view.window)
        turn.usage += usage
        await turn.commit(NewStep(turn.next_step, eviction=eviction))
        context = replace(await turn.context(), recalled=recalled)
        return ContextView.of(view.window, context).with_fitting_recall()

    async def _ask(self, turn: HeldTurn, view: ContextView) -> Completion:
        """Ask the model until there is no objection to its answer; each objection is sent to the model."""
        first = turn.request.verify and boot.awaits_first_answer(view.context)
        messages, prompt_tokens = view.messages(), view.prompt_tokens
        # An answer with its reasoning may take what the prompt leaves of the window.
        most_answer_tokens = max(view.window.tokens - prompt_tokens, view.window.reserve)
        usage, told = NO_USAGE, ""
        for attempt in range(MAX_FIRST_ATTEMPTS):
            request = ModelRequest(
                messages,
                view.functions,
                view.context.agent.model,
                view.window.answer_tokens,
                most_answer_tokens,
                note=view.note(told),
                guided_note=view.guided_note(told),
                withheld=view.withheld,
                learns=view.learns,
            )
            turn.stream.model_called(prompt_tokens)
            completion = await self._model.complete(request, turn.stream)
            usage += completion.usage
            objection = _objection(view.context, completion, first=first, again=attempt > 0)
            if objection is None:
                return replace(completion, usage=usage)
            turn.stream.restart(objection.to_people)
            told = objection.to_model
        raise TurnFailedError(
            f"the model did not send a first message in {MAX_FIRST_ATTEMPTS} attempts; retry, choose another model,"
            " or set skip_verify"
        )

    # Building the step.

    def _new_step(self, turn: HeldTurn, view: ContextView, result: StepResult, usage: Usage | None) -> NewStep:
        """Return the step of a result, with the event that makes the agent continue, or with the turn's end."""
        index, messages, effects = turn.next_step, result.messages, result.effects
        if result.open:
            return NewStep(index, messages)
        plan = None if effects.plan is None else PlanEdit(effects.plan, view.context.plan_etag)
        if result.failed:
            turn.further_calls.clear()
        # Further calls after a write already are the continuation that it requested.
        if not (turn.further_calls and _writes(result)):
            turn.reason = result.reason or turn.reason
        if turn.further_calls:
            return NewStep(index, messages, effects.blocks, effects.notes, plan=plan)
        result, turn.reason = replace(result, reason=turn.reason), ""
        event = self._event(view, result)
        outcome: Outcome | None = Outcome(TurnState.COMPLETED)
        if event:
            outcome = self._limit_reached(turn, usage)
            if outcome is None:
                messages = (*messages, Message(Role.USER, event))
        if outcome is not None:
            messages = (*messages, *self._last_words(view.context, outcome.state, messages))
        return NewStep(index, messages, effects.blocks, effects.notes, plan=plan, outcome=outcome)

    def _event(self, view: ContextView, result: StepResult) -> str:
        """Return the event that makes the agent continue; empty if nothing does."""
        context = view.context
        time = envelopes.format_time(self._now(), context.agent.time_zone)
        if view.alert_due(result.messages, result.effects):
            return envelopes.system_alert(prompt.MEMORY_PRESSURE_ALERT, time)
        reason = result.reason
        if not reason and final_reply.owes_reply(context, result.messages):
            reason = prompt.HEARTBEAT_SPEAK if final_reply.reminders(context) < final_reply.MAX_REMINDERS else ""
        return envelopes.heartbeat(reason, time) if reason else ""

    def _last_words(
        self, context: Context, state: TurnState, messages: tuple[Message, ...] = ()
    ) -> tuple[Message, ...]:
        return final_reply.last_words(context, state, self._now()) if final_reply.owes_reply(context, messages) else ()


def refusal(view: ContextView) -> str:
    """Return the message to people if the endpoint refuses prompts of any size."""
    return (
        f"the model refuses even {view.window.tokens} tokens as too long; set agent.context_window to the model's own"
    )


def _further(completion: Completion) -> list[FunctionCall]:
    """Return the further calls of an answer, without repetitions of its calls of built-in functions."""
    seen = {(call.name, call.arguments) for call in [completion.call] if call is not None}
    kept: list[FunctionCall] = []
    for call in completion.further[:_MAX_FURTHER]:
        if call.name in BUILT_IN_BY_NAME and (call.name, call.arguments) in seen:
            continue
        seen.add((call.name, call.arguments))
        kept.append(call)
    return kept


def _writes(result: StepResult) -> bool:
    call = result.messages[0].function_call
    function = BUILT_IN_BY_NAME.get(call.name) if call is not None else None
    return function is not None and function.writes


def _objection(context: Context, completion: Completion, *, first: bool, again: bool) -> Objection | None:
    if first:
        return first_answer_objection(completion)
    return None if again else mismatch_objection(context, completion)
