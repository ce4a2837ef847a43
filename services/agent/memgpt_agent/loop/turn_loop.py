"""The life of a turn: get the agent's lease, run the steps under it, and end the turn even after a failure.

Between two steps all state is in Memory: any replica that gets the turn's lease continues after the
last committed step, by reading the context and asking the model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from memgpt_runtime import clock, errors, reasons

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.memory_pressure import ContextView
from memgpt_agent.context_window.tokens import CountTokens, TokenCalibration
from memgpt_agent.domain import Context, Lease, Message, NewStep, Outcome, Role, Step, Turn, TurnState
from memgpt_agent.loop import final_reply, summary
from memgpt_agent.loop.event_stream import EventStream
from memgpt_agent.loop.held_turn import HeldTurn, LeaseLostError, StepRefusedError, TurnFailedError
from memgpt_agent.loop.lease_renewer import LeaseRenewer
from memgpt_agent.loop.observer import Observer
from memgpt_agent.loop.settings import LoopSettings
from memgpt_agent.loop.step_runner import StepRunner, refusal
from memgpt_agent.loop.tool_executor import ToolExecutor, cancelled_call, interrupted_call
from memgpt_agent.loop.turn_request import TurnRequest
from memgpt_agent.memory.port import Memory, QueuePosition, TurnEvent, TurnGrant
from memgpt_agent.models.base import BadAnswerError, ChatModel, ContextOverflowError, FilteredError
from memgpt_agent.remote_tools.port import Tools

_log = structlog.get_logger(__name__)

_NOTHING_TO_SUMMARIZE = "nothing to summarize yet; the last three messages always stay"

_BROKE = "internal error: the Agent failed on this turn; its log has the details"


@dataclass(frozen=True, slots=True)
class _Granted:
    """A grant; with a lease, more ``events`` follow it."""

    grant: TurnGrant
    events: AsyncGenerator[TurnEvent, None]

    @property
    def turn(self) -> Turn:
        """The turn."""
        return self.grant.turn


class TurnLoop:
    """Runs turns."""

    def __init__(
        self,
        memory: Memory,
        model: ChatModel,
        tools: Tools,
        settings: LoopSettings,
        count: CountTokens,
        now: Callable[[], datetime] = clock.now,
        calibration: TokenCalibration | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._memory = memory
        self._model = model
        self._settings = settings
        self._count = count
        self._now = now
        self._calibration = calibration or TokenCalibration()
        self._steps = StepRunner(
            model,
            ToolExecutor(memory, tools, now, observer or Observer()),
            self.view,
            settings.max_steps,
            now,
            recall_from=memory if settings.auto_recall else None,
        )

    def view(self, context: Context) -> ContextView:
        """Return a context in the form that fits its window, with tokens as its model's endpoint counts them."""
        window, model = self._settings.window(context.agent.context_window, self._count), context.agent.model
        # A reasoning model needs more room for its answers: at most half of the window.
        reserve = max(window.reserve, min(self._calibration.needed(model), window.tokens // 2))
        reasoning, scale = reserve - window.reserve, self._calibration.scale(model)
        return ContextView.of(replace(window, reserve=reserve, reasoning=reasoning, scale=scale), context)

    async def run(self, request: TurnRequest, stream: EventStream) -> None:
        """Run a turn, or follow it where another replica runs it, until it has ended.

        If the turn cannot continue for now, its lease is released, so that the same request continues it later.

        Raises:
            ServiceError: The turn cannot continue.
        """
        wait = False
        while True:
            granted = await self._acquire(request, stream, wait=wait)
            if granted is not None:
                stream.started(granted.turn.turn_id)
            if granted is None or granted.turn.state.ended:
                await self._replay(request, stream)
                return
            lease = granted.grant.lease
            try:
                if lease is None:
                    raise LeaseLostError
                stream.held()
                await self._hold(request.with_options(granted.grant.options), granted, lease, stream)
            except LeaseLostError:
                # Another replica runs the turn now, or will end it.
                wait = True
                continue
            if not stream.ended:
                await self._replay(request, stream)
            return

    async def summarize(self, agent_id: str, request_id: str) -> tuple[int, str]:
        """Evict and summarize the oldest messages now, in a turn of its own.

        Returns:
            The number of messages that left the window, and the summary that replaces them. For a request that another
            replica carried out: the number of those that left it during this call.

        Raises:
            FailedPrecondition: There is nothing to evict, or the model gave no summary.
        """
        context = await self._memory.load_context(agent_id)
        time_now = envelopes.format_time(self._now(), context.agent.time_zone)
        event = Message(Role.USER, envelopes.heartbeat(prompt.HEARTBEAT_SUMMARIZE, time_now))
        request = TurnRequest(agent_id, request_id, b"summarize", (event,))
        # Checked before a turn begins, since a failed turn would leave its event in the window.
        view = self.view(replace(context, messages=(*context.messages, event)))
        if not view.evictable and not await self._exists(agent_id, request_id):
            raise _nothing_to_summarize()
        stream = EventStream()
        granted = await self._granted(request, stream, nonblocking=False)
        lease = granted.grant.lease
        if lease is None:
            return await self._summarized(context, granted.turn)
        turn = self._held(request, granted, lease, stream)
        async with self._renewer(agent_id, lease, granted):
            try:
                return await self._summarize(turn)
            except BadAnswerError as error:
                await turn.fail(str(error))
                raise reasons.model_unusable(str(error), model=context.agent.model) from error
            except StepRefusedError as error:
                await turn.fail(str(error))
                raise error.refusal from error
            except TurnFailedError as error:
                await turn.fail(str(error))
                raise _nothing_to_summarize() from error
            except LeaseLostError as error:
                raise reasons.lease_lost(
                    "another replica took the turn; send the same request again", agent_id=agent_id, epoch=lease.epoch
                ) from error
            except errors.ServiceError:
                await turn.release()
                raise

    async def current_summary(self, agent_id: str) -> str:
        """Return the summary in an agent's window."""
        return (await self._memory.load_context(agent_id)).summary

    async def _summarize(self, turn: HeldTurn) -> tuple[int, str]:
        view = self.view(await turn.context())
        if (count := view.evictable) == 0:
            raise TurnFailedError(_NOTHING_TO_SUMMARIZE)  # a turn before this one took the messages
        try:
            eviction, _ = await summary.evict(view.context, count, self._model, view.window, always=False)
        except ContextOverflowError as error:
            raise BadAnswerError(refusal(view)) from error
        await turn.commit(NewStep(turn.next_step, eviction=eviction, outcome=Outcome(TurnState.COMPLETED)))
        return count, eviction.summary

    async def _exists(self, agent_id: str, request_id: str) -> bool:
        try:
            async for _ in self._memory.read_turn(agent_id, request_id, after_step=0, follow=False):
                pass
        except errors.NotFound:
            return False
        return True

    async def _summarized(self, before: Context, turn: Turn) -> tuple[int, str]:
        """Return the result of a summary that has ended elsewhere."""
        if turn.state is not TurnState.COMPLETED:
            raise reasons.wrong_state(
                f"the summary was not made: {turn.reason.rstrip('.')}; send another request with a new id",
                resource="turn",
                state=turn.state.value.upper(),
            )
        after = await self._memory.load_context(before.agent.agent_id)
        kept = {message.sequence for message in after.messages}
        return sum(message.sequence not in kept for message in before.messages), after.summary

    # Getting the turn.

    async def _acquire(self, request: TurnRequest, stream: EventStream, *, wait: bool) -> _Granted | None:
        """Return a grant; None if the turn ended at another replica while this one waited for it."""
        if not wait:
            return await self._granted(request, stream, nonblocking=True)
        follower = asyncio.create_task(self._replay(request, stream, follow=True))
        granted = asyncio.create_task(self._granted(request, stream, nonblocking=False))
        try:
            await asyncio.wait((follower, granted), return_when=asyncio.FIRST_COMPLETED)
            if follower.done() and follower.exception() is None:
                return None
            return await granted
        finally:
            await _cancel(follower, granted)

    async def _granted(self, request: TurnRequest, stream: EventStream, *, nonblocking: bool) -> _Granted:
        """Return the grant of the turn, after finishing earlier turns whose holders died."""
        timeout = self._settings.queue_timeout if request.queue_timeout is None else request.queue_timeout
        until = time.monotonic() + timeout
        broken: set[str] = set()
        while True:
            left = max(0.0, until - time.monotonic())
            granted = await self._next_grant(request, stream, nonblocking=nonblocking, queue_timeout=left)
            grant = granted.grant
            if grant.lease is None or grant.turn.request_id == request.request_id:
                return granted
            other = TurnRequest(request.agent_id, grant.turn.request_id).with_options(grant.options)
            _log.info("turn_taken_over", agent_id=request.agent_id, turn_id=grant.turn.turn_id)
            try:
                await self._hold(other, granted, grant.lease, EventStream())
            except LeaseLostError:
                _log.info("turn_lease_lost", agent_id=request.agent_id, turn_id=grant.turn.turn_id)
            except errors.ServiceError:
                raise
            except Exception:
                # A bug has failed that turn, which is none of this request's business, unless it is granted again.
                if grant.turn.turn_id in broken:
                    raise
                broken.add(grant.turn.turn_id)
                _log.exception("turn_crashed", agent_id=request.agent_id, turn_id=grant.turn.turn_id)

    async def _next_grant(
        self, request: TurnRequest, stream: EventStream, *, nonblocking: bool, queue_timeout: float
    ) -> _Granted:
        events = self._memory.begin_turn(
            request.agent_id,
            request.request_id,
            fingerprint=request.fingerprint,
            messages=request.messages,
            options=request.options(),
            nonblocking=nonblocking,
            queue_timeout=queue_timeout,
            retry=request.retry,
            time_placeholder=request.time_placeholder,
        )
        async for event in events:
            if isinstance(event, QueuePosition):
                stream.queued(event.ahead)
            elif isinstance(event, TurnGrant):
                if event.lease is None:
                    await events.aclose()
                return _Granted(event, events)
        raise reasons.service_unavailable("Memory closed the queue without a grant; retry", service="memory")

    async def _replay(self, request: TurnRequest, stream: EventStream, *, follow: bool = False) -> None:
        """Add the committed steps that the stream does not have yet, and the end if the turn has ended."""
        after = stream.mapper.next_step - 1
        items = self._memory.read_turn(request.agent_id, request.request_id, after_step=after, follow=follow)
        async for item in items:
            if isinstance(item, Step):
                stream.step(item)
            elif isinstance(item, Turn) and item.state.ended:
                stream.end(item)

    # Holding it.

    def _renewer(self, agent_id: str, lease: Lease, granted: _Granted) -> LeaseRenewer:
        return LeaseRenewer(self._memory, agent_id, lease, granted.events, self._settings.renew_seconds)

    def _held(self, request: TurnRequest, granted: _Granted, lease: Lease, stream: EventStream) -> HeldTurn:
        return HeldTurn.of(self._memory, request, lease, granted.grant, stream, self._settings.retry_seconds)

    async def _hold(self, request: TurnRequest, granted: _Granted, lease: Lease, stream: EventStream) -> None:
        """Run the turn's steps under its lease, and end it."""
        async with self._renewer(request.agent_id, lease, granted) as renewer:
            if granted.turn.committed_steps > 0:
                await self._replay(request, stream)
            if granted.grant.resumed:
                stream.restart("The turn continues after an interruption.")
            turn = self._held(request, granted, lease, stream)
            work = asyncio.create_task(self._steps.run(turn))
            try:
                await asyncio.wait((work, renewer.task), return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    await self._conclude(work, turn)
                else:
                    await _cancel(work)
                    await self._cancelled(renewer, turn)
            except LeaseLostError:
                raise
            except BaseException:
                await _cancel(work)
                await turn.release()
                raise

    async def _cancelled(self, renewer: LeaseRenewer, turn: HeldTurn) -> None:
        """End a cancelled turn; raise if its lease was lost or the renewer failed instead."""
        if renewer.lost:
            raise LeaseLostError
        renewer.task.result()  # raises the renewer's failure, which is not a request to cancel
        context = await turn.context()
        outcome = Outcome(TurnState.CANCELLED, "Cancelled on request.")
        await turn.end(outcome, cancelled_call(envelopes.format_time(self._now(), context.agent.time_zone)))

    async def _conclude(self, work: asyncio.Task[None], turn: HeldTurn) -> None:
        try:
            await work
        except (TurnFailedError, BadAnswerError) as error:
            _log.warning("turn_failed", agent_id=turn.agent_id, turn_id=turn.lease.turn_id, reason=str(error))
            context = await turn.context()
            words: tuple[Message, ...] = ()
            if isinstance(error, FilteredError):
                words = final_reply.rejection(context, self._now())
            elif final_reply.owes_reply(context) and context.open_call is None:
                words = final_reply.last_words(context, TurnState.FAILED, self._now())
            await turn.fail(str(error), words, self._interrupted(context))
        except (LeaseLostError, errors.ServiceError):
            raise
        except Exception:
            # Otherwise the agent's next turn would resume this one and fail in the same way.
            # The time is in UTC, since the bug may lie in what the context holds.
            await turn.fail(_BROKE, call_result=interrupted_call(envelopes.format_time(self._now(), "")))
            raise

    def _interrupted(self, context: Context) -> str:
        return interrupted_call(envelopes.format_time(self._now(), context.agent.time_zone))


def _nothing_to_summarize() -> errors.FailedPrecondition:
    return reasons.wrong_state(_NOTHING_TO_SUMMARIZE, resource="window", state="EMPTY")


async def _cancel(*tasks: asyncio.Task[object] | asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
