"""A turn whose lease this replica holds: its usage, its context, and its commits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import stamina
import structlog
from memgpt_runtime import errors
from memgpt_runtime.errors import Reason

from memgpt_agent.domain import Context, FunctionCall, Lease, Message, NewStep, Outcome, Step, Turn, TurnState, Usage
from memgpt_agent.loop.event_stream import EventStream
from memgpt_agent.loop.turn_request import TurnRequest
from memgpt_agent.memory.port import CommittedStep, Memory, TurnGrant

_log = structlog.get_logger(__name__)

_COMMIT_ATTEMPTS = 6
_MAX_REASON = 1000


class LeaseLostError(Exception):
    """Another replica holds the turn now."""


class TurnFailedError(Exception):
    """The turn must end, since a retry would not help. The message is for people."""


class StepRefusedError(TurnFailedError):
    """Memory refuses a step, and would refuse it again.

    Attributes:
        refusal: The error of Memory.
    """

    def __init__(self, refusal: errors.ServiceError) -> None:
        super().__init__(f"the step cannot be stored: {refusal.message}")
        self.refusal = refusal


@dataclass(slots=True)
class HeldTurn:
    """A turn under its lease.

    Attributes:
        memory: The service to which it is committed.
        request: The client's request.
        lease: The lease.
        stream: Gets its events.
        retry_seconds: Pause before the first retry of a commit.
        next_step: Index of the next step to commit.
        model_steps: Steps so far in which the model was asked.
        usage: Tokens so far.
        known_context: The content of the window now, if known: every commit returns it.
        further_calls: Calls of the model's last answer that are still to be made, each in a step of its own. Another
            replica that takes over asks the model again instead.
        reason: Why the agent continues after them; empty if none of the calls made gave a reason.
    """

    memory: Memory
    request: TurnRequest
    lease: Lease
    stream: EventStream
    retry_seconds: float
    next_step: int
    model_steps: int
    usage: Usage
    known_context: Context | None
    further_calls: deque[FunctionCall] = field(default_factory=deque)
    reason: str = ""

    @classmethod
    def of(
        cls,
        memory: Memory,
        request: TurnRequest,
        lease: Lease,
        grant: TurnGrant,
        stream: EventStream,
        retry_seconds: float,
    ) -> HeldTurn:
        """Return a granted turn, continuing after the steps that ``stream`` already has."""
        told = stream.mapper
        return cls(
            memory,
            request,
            lease,
            stream,
            retry_seconds,
            grant.turn.committed_steps + 1,
            told.model_steps,
            told.usage,
            grant.context,
        )

    @property
    def agent_id(self) -> str:
        """The agent."""
        return self.request.agent_id

    async def context(self) -> Context:
        """Return the content of the window now."""
        if self.known_context is None:
            self.known_context = await self.memory.load_context(self.agent_id)
        return self.known_context

    async def commit(self, step: NewStep) -> Step:
        """Commit a step, and add it to the stream, with the turn's end if it ends the turn.

        A commit without a response is repeated; Memory only returns a step that is committed already.

        Raises:
            LeaseLostError: Another replica holds the turn.
            StepRefusedError: Memory does not take the step.
            Aborted: Core memory changed since the step's context was read.
            NotFound: A block that the step edits no longer exists.
        """
        context = await self.context()
        try:
            committed = await self._committed(step, context)
        except errors.Aborted as error:
            if error.reason == Reason.ETAG_MISMATCH:
                raise
            raise LeaseLostError from error
        except (errors.InvalidArgument, errors.FailedPrecondition) as error:
            raise StepRefusedError(error) from error
        self.known_context = committed.context
        self.next_step += 1
        self.stream.step(committed.step)
        if step.outcome is not None:
            self.stream.end(self._ended(step.outcome, committed.step.index))
        return committed.step

    async def end(self, outcome: Outcome, call_result: str = "") -> None:
        """End the turn without a step. ``call_result`` becomes the result of a call that has none.

        Raises:
            LeaseLostError: Another replica holds the turn.
        """
        try:
            await self.memory.end_turn(self.agent_id, self.lease, outcome, call_result)
        except errors.Aborted as error:
            raise LeaseLostError from error

    async def fail(self, reason: str, words: Sequence[Message] = (), call_result: str = "") -> None:
        """End the turn as failed, with ``words`` as its last messages."""
        outcome = Outcome(TurnState.FAILED, reason[:_MAX_REASON])
        if words:
            with suppress(StepRefusedError):
                await self.commit(NewStep(self.next_step, tuple(words), outcome=outcome))
                return
        await self.end(outcome, call_result)

    async def release(self) -> None:
        """Release the lease if Memory can be reached; otherwise it expires."""
        try:
            await asyncio.shield(self.memory.release_lease(self.agent_id, self.lease))
        except errors.ServiceError as error:
            _log.info("lease_release_failed", agent_id=self.agent_id, turn_id=self.lease.turn_id, reason=error.reason)

    async def _committed(self, step: NewStep, context: Context) -> CommittedStep:
        async for attempt in stamina.retry_context(
            on=(errors.Unavailable, errors.DeadlineExceeded),
            attempts=_COMMIT_ATTEMPTS,
            timeout=None,
            wait_initial=self.retry_seconds,
            wait_max=self.retry_seconds * 2**_COMMIT_ATTEMPTS,
            wait_jitter=self.retry_seconds / 4,
        ):
            with attempt:
                return await self.memory.commit_step(self.agent_id, self.lease, step, context)
        raise AssertionError("unreachable")

    def _ended(self, outcome: Outcome, steps: int) -> Turn:
        return Turn(self.lease.turn_id, self.request.request_id, outcome.state, outcome.reason, steps)
