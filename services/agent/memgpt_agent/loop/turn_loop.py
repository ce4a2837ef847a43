"""The loop: ask the model, run the one function it calls, commit the step, and go on while there is a reason to.

What a function changes in Memory is committed with the step that called it. What a remote tool does cannot be: so the
step that calls it is committed before the call is made, and its result in the next step. Whoever goes on from a call
without result makes that call, under the same key, and does not ask the model again.

Nothing is kept between two steps but what Memory holds: whoever gets the turn's lease goes on after the last committed
step by reading the context and asking the model. The event that makes an agent go on (a heartbeat, an alert) is
committed in the step that caused it, for that reason.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog
from memgpt_runtime import errors
from memgpt_runtime.errors import Reason

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.tokens import CountTokens, TokenCalibration
from memgpt_agent.context_window.window import ContextWindow, WindowTooSmallError
from memgpt_agent.domain import (
    NO_USAGE,
    Agent,
    BlockEdit,
    Context,
    Effects,
    Lease,
    Message,
    NewStep,
    Outcome,
    Role,
    Step,
    Turn,
    TurnState,
    Usage,
)
from memgpt_agent.functions import functions_of
from memgpt_agent.loop import boot, summary
from memgpt_agent.loop.event_stream import EventStream
from memgpt_agent.loop.lease_renewer import LeaseRenewer
from memgpt_agent.loop.tool_executor import StepResult, ToolExecutor
from memgpt_agent.memory.port import Memory, QueuePosition, TurnEvent, TurnGrant
from memgpt_agent.models.base import BadAnswerError, ChatModel, Completion, ContextOverflowError, ModelRequest
from memgpt_agent.remote_tools.port import Tools

_log = structlog.get_logger(__name__)

_COMMIT_TRIES = 6
_OVERFLOW_TRIES = 4
_CONFLICT_TRIES = 5
_OVERFLOW_SHRINK = 0.75

_BROKE = "The Agent failed on this turn. This is a bug; its log has more."


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How the loop runs.

    Attributes:
        context_window: Tokens of the model's window, for agents that do not say otherwise.
        max_answer_tokens: Tokens kept free for an answer, and the most that it may have.
        max_steps: Steps of a turn.
        pressure: The fraction of the window from which on the agent is alerted.
        keep: The largest fraction of the messages that an eviction leaves.
        renew_seconds: Time between two renewals of the lease, which lasts 10 seconds.
        queue_timeout: Seconds that a turn waits for the agent's other turns.
        retry_seconds: The first pause before a commit is repeated that Memory did not answer; it doubles every time.
    """

    context_window: int = 8192
    max_answer_tokens: int = 1024
    max_steps: int = 50
    pressure: float = 0.75
    keep: float = 0.75
    renew_seconds: float = 3.0
    queue_timeout: float = 600.0
    retry_seconds: float = 0.25

    def window(self, context_window: int, count: CountTokens) -> ContextWindow:
        """The window of an agent; ``context_window`` of 0 is the setting's."""
        tokens = context_window or self.context_window
        # A quarter at most, so that a small window has room for a prompt.
        reserve = min(self.max_answer_tokens, tokens // 4)
        return ContextWindow(tokens, reserve, self.pressure, self.keep, count)


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What a client asked for.

    Attributes:
        agent_id: The agent.
        request_id: Names the turn.
        fingerprint: Digest of the client's request.
        messages: The turn's input; none to continue a turn, or to let the agent answer what it has already.
        verify: Whether the first answer of a new agent is checked.
        max_steps: Steps of the turn; 0 for the setting.
        max_tokens: Tokens of the turn; 0 for no bound.
        retry: Whether the turn takes the last one back, and has its input instead of ``messages``.
    """

    agent_id: str
    request_id: str
    fingerprint: bytes = b""
    messages: tuple[Message, ...] = ()
    verify: bool = True
    max_steps: int = 0
    max_tokens: int = 0
    retry: bool = False

    def options(self) -> bytes:
        """What whoever continues the turn must know."""
        options = {"verify": self.verify, "max_steps": self.max_steps, "max_tokens": self.max_tokens}
        return json.dumps(options).encode()

    def with_options(self, options: bytes) -> TurnRequest:
        """The request with the options of the one that began the turn."""
        if not options:
            return self
        known = json.loads(options)
        return replace(self, verify=known["verify"], max_steps=known["max_steps"], max_tokens=known["max_tokens"])


@dataclass(frozen=True, slots=True)
class _Granted:
    """A grant; with a lease, ``events`` go on behind it."""

    grant: TurnGrant
    events: AsyncGenerator[TurnEvent, None]

    @property
    def turn(self) -> Turn:
        """The turn."""
        return self.grant.turn


@dataclass(slots=True)
class _Running:
    """A turn that this replica holds.

    ``context`` fills the window now, as far as it is known: every commit answers it.
    """

    request: TurnRequest
    lease: Lease
    next_step: int
    model_steps: int
    usage: Usage
    context: Context | None


class _LeaseLostError(Exception):
    """Another replica holds the turn now."""


class _TurnFailedError(Exception):
    """The turn ends: trying again would not mend it. The text is for people."""


class TurnLoop:
    """Runs turns."""

    def __init__(
        self,
        memory: Memory,
        model: ChatModel,
        tools: Tools,
        settings: LoopSettings,
        count: CountTokens,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        calibration: TokenCalibration | None = None,
    ) -> None:
        self._memory = memory
        self._model = model
        self._settings = settings
        self._count = count
        self._actor = ToolExecutor(memory, tools, now)
        self._now = now
        self._calibration = calibration or TokenCalibration()

    def window(self, agent: Agent) -> ContextWindow:
        """The window of an agent, with counts as its model's endpoint has them."""
        window = self._settings.window(agent.context_window, self._count)
        return replace(window, scale=self._calibration.scale(agent.model))

    async def run(self, request: TurnRequest, feed: EventStream) -> None:
        """Runs a turn, or follows it where another replica runs it, until it has ended.

        The events go to ``feed``. When the turn cannot go on for now, its lease is given back, so that the same request
        continues it later.

        Raises:
            ServiceError: It cannot go on.
        """
        wait = False
        while True:
            granted = await self._acquire(request, feed, wait=wait)
            if granted is not None:
                feed.started(granted.turn.turn_id)
            if granted is None or granted.turn.state.ended:
                await self._replay(request, feed)
                return
            lease = granted.grant.lease
            if lease is None:
                wait = True
                continue
            try:
                await self._hold(request.with_options(granted.grant.options), granted, lease, feed)
            except _LeaseLostError:
                # Whoever took the lease runs the turn now, or will end it.
                wait = True
                continue
            if not feed.ended:
                await self._replay(request, feed)
            return

    async def summarize(self, agent_id: str, request_id: str) -> tuple[int, str]:
        """Evicts and summarises the oldest messages now, in a turn of its own.

        Returns:
            How many messages left the window, and the summary that stands for them. A repeated request answers 0.

        Raises:
            FailedPrecondition: There is nothing to evict.
        """
        context = await self._memory.load_context(agent_id)
        time = envelopes.format_time(self._now(), context.agent.time_zone)
        event = Message(Role.USER, envelopes.heartbeat(prompt.HEARTBEAT_SUMMARIZE, time))
        request = TurnRequest(agent_id, request_id, b"summarize", (event,))
        # Before a turn is begun, which would leave its event behind.
        self._countable(replace(context, messages=(*context.messages, event)))
        granted = await self._granted(request, EventStream(), no_wait=False)
        lease = granted.grant.lease
        if lease is None:
            return 0, (await self._memory.load_context(agent_id)).summary
        async with self._keeper(agent_id, lease, granted):
            try:
                return await self._summarize(_running(request, lease, granted, EventStream()))
            except BadAnswerError as error:
                await self._memory.end_turn(agent_id, lease, Outcome(TurnState.FAILED, str(error)[:1000]))
                raise errors.FailedPrecondition(Reason.MODEL_UNUSABLE, str(error)) from error
            except errors.ServiceError:
                await self._release(agent_id, lease)
                raise

    async def _summarize(self, running: _Running) -> tuple[int, str]:
        context = await self._context(running)
        window, count = self._countable(context)
        try:
            eviction, _ = await summary.evict(context, count, self._model, window)
        except ContextOverflowError as error:
            raise BadAnswerError(_refuses(window)) from error
        await self._commit(running, NewStep(running.next_step, eviction=eviction, outcome=Outcome(TurnState.COMPLETED)))
        return count, eviction.summary

    def _countable(self, context: Context) -> tuple[ContextWindow, int]:
        window = self.window(context.agent)
        context = window.shaped(context)
        count = window.plan_eviction(context, functions_of(context))
        if count == 0:
            raise errors.FailedPrecondition(
                Reason.WRONG_STATE, "there is nothing to summarise yet: the last three messages always stay"
            )
        return window, count

    def cancelled_call(self, time_zone: str) -> str:
        """The result of a call that a cancelled turn leaves behind."""
        return envelopes.function_result(False, prompt.CALL_CANCELLED, envelopes.format_time(self._now(), time_zone))

    # Getting the turn.

    async def _acquire(self, request: TurnRequest, feed: EventStream, *, wait: bool) -> _Granted | None:
        """A grant; None when the turn ended at another replica while we waited for it."""
        if not wait:
            return await self._granted(request, feed, no_wait=True)
        follower = asyncio.create_task(self._replay(request, feed, follow=True))
        granted = asyncio.create_task(self._granted(request, feed, no_wait=False))
        try:
            await asyncio.wait((follower, granted), return_when=asyncio.FIRST_COMPLETED)
            if follower.done() and follower.exception() is None:
                return None
            return await granted
        finally:
            await _cancel(follower, granted)

    async def _granted(self, request: TurnRequest, feed: EventStream, *, no_wait: bool) -> _Granted:
        """The grant of the turn, after finishing those before it whose holder died."""
        until = time.monotonic() + self._settings.queue_timeout
        while True:
            left = max(0.0, until - time.monotonic())
            granted = await self._next_grant(request, feed, no_wait=no_wait, queue_timeout=left)
            grant = granted.grant
            if grant.lease is None or grant.turn.request_id == request.request_id:
                return granted
            other = TurnRequest(request.agent_id, grant.turn.request_id).with_options(grant.options)
            _log.info("turn_taken_over", agent_id=request.agent_id, turn_id=grant.turn.turn_id)
            try:
                await self._hold(other, granted, grant.lease, EventStream())
            except _LeaseLostError:
                _log.info("turn_lost_again", agent_id=request.agent_id, turn_id=grant.turn.turn_id)

    async def _next_grant(
        self, request: TurnRequest, feed: EventStream, *, no_wait: bool, queue_timeout: float
    ) -> _Granted:
        events = self._memory.begin_turn(
            request.agent_id,
            request.request_id,
            fingerprint=request.fingerprint,
            messages=request.messages,
            options=request.options(),
            no_wait=no_wait,
            queue_timeout=queue_timeout,
            retry=request.retry,
        )
        async for event in events:
            if isinstance(event, QueuePosition):
                feed.queued(event.ahead)
            elif isinstance(event, TurnGrant):
                if event.lease is None:
                    await events.aclose()
                return _Granted(event, events)
        raise errors.Unavailable(Reason.SERVICE_UNAVAILABLE, "Memory ended the queue without an answer; try again")

    async def _replay(self, request: TurnRequest, feed: EventStream, *, follow: bool = False) -> None:
        """Tells the committed steps that were not told yet, and the end if the turn has ended."""
        after = feed.narrator.next_step - 1
        items = self._memory.read_turn(request.agent_id, request.request_id, after_step=after, follow=follow)
        async for item in items:
            if isinstance(item, Step):
                feed.step(item)
            elif isinstance(item, Turn) and item.state.ended:
                feed.end(item)

    # Holding it.

    def _keeper(self, agent_id: str, lease: Lease, granted: _Granted) -> LeaseRenewer:
        return LeaseRenewer(self._memory, agent_id, lease, granted.events, self._settings.renew_seconds)

    async def _hold(self, request: TurnRequest, granted: _Granted, lease: Lease, feed: EventStream) -> None:
        """Runs the turn's steps under its lease, and ends it."""
        agent_id = request.agent_id
        async with self._keeper(agent_id, lease, granted) as keeper:
            if granted.turn.committed_steps > 0:
                await self._replay(request, feed)
            if granted.grant.resumed:
                feed.restart("The turn goes on after an interruption.")
            running = _running(request, lease, granted, feed)
            work = asyncio.create_task(self._steps(running, feed))
            try:
                await asyncio.wait((work, keeper.task), return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    await self._conclude(work, agent_id, lease)
                    return
                await _cancel(work)
                if keeper.lost:
                    raise _LeaseLostError
                keeper.task.result()  # a keeper that broke was not told to cancel
                outcome = Outcome(TurnState.CANCELLED, "Cancelled on request.")
                context = await self._context(running)
                await self._memory.end_turn(agent_id, lease, outcome, self.cancelled_call(context.agent.time_zone))
            except _LeaseLostError:
                raise
            except BaseException:
                await _cancel(work)
                await self._release(agent_id, lease)
                raise

    async def _conclude(self, work: asyncio.Task[None], agent_id: str, lease: Lease) -> None:
        try:
            await work
        except (_TurnFailedError, BadAnswerError) as error:
            _log.warning("turn_failed", agent_id=agent_id, turn_id=lease.turn_id, reason=str(error))
            await self._memory.end_turn(agent_id, lease, Outcome(TurnState.FAILED, str(error)[:1000]))
        except (_LeaseLostError, errors.ServiceError):
            raise
        except Exception:
            # Left as it is, the turn would be taken up by the agent's next one, and break that in the same way.
            await self._memory.end_turn(agent_id, lease, Outcome(TurnState.FAILED, _BROKE))
            raise

    async def _release(self, agent_id: str, lease: Lease) -> None:
        """Gives the lease back, if Memory can be reached; else it runs out by itself."""
        try:
            await asyncio.shield(self._memory.release_lease(agent_id, lease))
        except errors.ServiceError as error:
            _log.info("lease_not_released", agent_id=agent_id, turn_id=lease.turn_id, reason=error.reason)

    async def _steps(self, running: _Running, feed: EventStream) -> None:
        request = running.request
        limit = request.max_steps or self._settings.max_steps
        while not await self._step(running, feed, limit):
            pass

    def _stopped(self, running: _Running, limit: int) -> Outcome | None:
        """How a turn ends that has used up its steps or its tokens; None while it has not."""
        budget = running.request.max_tokens
        if 0 < budget <= running.usage.total:
            return Outcome(TurnState.STOPPED, f"The budget of {budget:,} tokens is used up.")
        if running.model_steps >= limit:
            return Outcome(TurnState.STOPPED, f"The limit of {limit} steps is reached.")
        return None

    async def _step(self, running: _Running, feed: EventStream, limit: int) -> bool:
        """One step; answers whether the turn has ended."""
        agent_id = running.request.agent_id
        for _ in range(_CONFLICT_TRIES):
            context = await self._context(running)
            usage = NO_USAGE
            if context.open_call is not None:
                window = self.window(context.agent)
                committed = running.next_step - 1
                act = await self._actor.finish(context, context.open_call, running.lease.turn_id, committed)
                context = window.shaped(context)
            elif (outcome := self._stopped(running, limit)) is not None:
                await self._memory.end_turn(agent_id, running.lease, outcome)
                return True
            else:
                context, window, completion = await self._answer(running, feed, context)
                usage = completion.usage
                act = await self._actor.act(context, completion)
            new = self._new_step(running, context, window, act, usage, limit)
            try:
                step = await self._commit(running, new)
            except errors.Aborted as error:
                if error.reason != Reason.ETAG_MISMATCH:
                    raise _LeaseLostError from error
                feed.restart("Core memory was changed by somebody else meanwhile.")
                running.context = None
                continue
            running.model_steps += act.messages[0].role is Role.ASSISTANT
            running.usage += usage
            feed.step(step)
            if new.outcome is None:
                return False
            feed.end(_ended(running, new.outcome, step.index))
            return True
        raise errors.Aborted(
            Reason.ETAG_MISMATCH, "core memory is being changed by others all the time; send the same request again"
        )

    # One step.

    async def _answer(
        self, running: _Running, feed: EventStream, context: Context
    ) -> tuple[Context, ContextWindow, Completion]:
        """The model's answer to the context, after making room for it."""
        window = self.window(context.agent)
        for _ in range(_OVERFLOW_TRIES):
            try:
                context = await self._make_room(running, feed, window.shaped(context), window)
                return context, window, await self._ask(running, feed, context, window)
            except ContextOverflowError:
                # The endpoint counts otherwise than we do, or its window is smaller than the setting says.
                feed.restart("The prompt was too long for the model: the oldest messages are taken out.")
                window = replace(window, tokens=int(min(window.tokens, _whole(window, context)) * _OVERFLOW_SHRINK))
            except WindowTooSmallError as error:
                raise _TurnFailedError(
                    f"{error}; raise the agent's context_window, or shorten its instructions"
                ) from error
        raise _TurnFailedError(_refuses(window))

    async def _make_room(
        self, running: _Running, feed: EventStream, context: Context, window: ContextWindow
    ) -> Context:
        """Evicts the oldest messages, in a step of its own, if the prompt would leave too little room."""
        if not window.overflows(context, functions_of(context)):
            return context
        count = window.plan_eviction(context, functions_of(context))
        if count == 0:
            return context
        eviction, usage = await summary.evict(context, count, self._model, window)
        running.usage += usage
        try:
            step = await self._commit(running, NewStep(running.next_step, eviction=eviction))
        except errors.Aborted as error:
            raise _LeaseLostError from error
        feed.step(step)
        return window.shaped(await self._context(running))

    async def _ask(self, running: _Running, feed: EventStream, context: Context, window: ContextWindow) -> Completion:
        """Asks the model; a new agent's first answer is asked for until it passes the check."""
        functions = functions_of(context)
        messages = prompt.compose(window.fit(context, functions))
        documents = bool(context.agent.attachments)
        question = ModelRequest(messages, functions, context.agent.model, window.reserve, documents)
        check = running.request.verify and boot.awaits_first_answer(context)
        usage = NO_USAGE
        for attempt in range(boot.MAX_FIRST_TRIES if check else 1):
            if attempt:
                feed.restart("The first answer must be a message to the user or a search.")
                # The same question would get the same answer.
                question = replace(question, functions=tuple(filter(boot.may_come_first, functions)))
            completion = await self._model.complete(question, feed)
            usage += completion.usage
            if not check or boot.is_good_first_answer(completion.call):
                return replace(completion, usage=usage)
        raise _TurnFailedError(
            f"the model was asked {boot.MAX_FIRST_TRIES} times for its first message and neither sent one nor searched;"
            " try again, use another model, or set no_verify"
        )

    def _new_step(
        self, running: _Running, context: Context, window: ContextWindow, act: StepResult, usage: Usage, limit: int
    ) -> NewStep:
        """The step of an act, with the event that makes the agent go on, or with the turn's end."""
        index, messages, effects = running.next_step, act.messages, act.effects
        if act.open:
            return NewStep(index, messages)
        time = envelopes.format_time(self._now(), context.agent.time_zone)
        event = envelopes.heartbeat(act.reason, time) if act.reason else ""
        if window.under_pressure(_after(context, messages, effects), functions_of(context)):
            event = envelopes.system_alert(prompt.MEMORY_PRESSURE_ALERT, time)
        outcome: Outcome | None = Outcome(TurnState.COMPLETED)
        if event:
            asked = running.model_steps + (messages[0].role is Role.ASSISTANT)
            outcome = self._stopped(replace(running, usage=running.usage + usage, model_steps=asked), limit)
            if outcome is None:
                messages = (*messages, Message(Role.USER, event))
        return NewStep(index, messages, effects.blocks, effects.notes, outcome=outcome)

    async def _context(self, running: _Running) -> Context:
        """What fills the window now."""
        if running.context is None:
            running.context = await self._memory.load_context(running.request.agent_id)
        return running.context

    async def _commit(self, running: _Running, step: NewStep) -> Step:
        """Commits a step, asking again where Memory gave no answer: a committed step is only answered once more."""
        context = await self._context(running)
        pause = self._settings.retry_seconds
        for attempt in range(_COMMIT_TRIES):
            try:
                committed = await self._memory.commit_step(running.request.agent_id, running.lease, step, context)
                running.context = committed.context
                running.next_step += 1
                return committed.step
            except (errors.Unavailable, errors.DeadlineExceeded):
                if attempt == _COMMIT_TRIES - 1:
                    raise
                await asyncio.sleep(pause)
                pause *= 2
        raise AssertionError("unreachable")


def _running(request: TurnRequest, lease: Lease, granted: _Granted, feed: EventStream) -> _Running:
    """A turn that was granted, after what the feed has told of it."""
    told = feed.narrator
    context = granted.grant.context
    return _Running(request, lease, granted.turn.committed_steps + 1, told.model_steps, told.usage, context)


def _after(context: Context, messages: Sequence[Message], effects: Effects) -> Context:
    """The context as it will be once the step is committed."""
    edits: dict[str, BlockEdit] = {edit.label: edit for edit in effects.blocks}
    blocks = tuple(
        replace(block, value=edits[block.label].value) if block.label in edits else block for block in context.blocks
    )
    return replace(context, blocks=blocks, messages=(*context.messages, *messages))


def _ended(running: _Running, outcome: Outcome, steps: int) -> Turn:
    """A turn as Memory knows it after its last step."""
    return Turn(running.lease.turn_id, running.request.request_id, outcome.state, outcome.reason, steps)


def _refuses(window: ContextWindow) -> str:
    return f"the model refuses even {window.tokens} tokens as too long; set agent.context_window to what it has"


def _whole(window: ContextWindow, context: Context) -> int:
    return window.total(context, functions_of(context)) + window.reserve


async def _cancel(*tasks: asyncio.Task[object] | asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
