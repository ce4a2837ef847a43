"""The turns that this process runs. Any number of callers can follow one, and each may disconnect."""

from __future__ import annotations

import asyncio

import structlog
from memgpt_runtime import context, reasons, tracing
from memgpt_runtime.errors import ServiceError

from memgpt_agent.loop.event_stream import EventStream
from memgpt_agent.loop.observer import Observer
from memgpt_agent.loop.turn_loop import TurnLoop
from memgpt_agent.loop.turn_request import TurnRequest

_log = structlog.get_logger(__name__)

_REMEMBERED_SUMMARIES = 256
"""Calls of Summarize whose counts are kept for repeated calls, the latest ones."""


class TurnRegistry:
    """Runs each turn in a task of its own, which continues when its callers disconnect."""

    def __init__(self, loop: TurnLoop, observer: Observer | None = None) -> None:
        self._loop = loop
        self._observer = observer or Observer()
        self._running: dict[tuple[str, str, str], tuple[TurnRequest, EventStream, asyncio.Task[None]]] = {}
        self._summaries: dict[tuple[str, str, str], asyncio.Task[tuple[int, str]]] = {}
        self._evicted: dict[tuple[str, str, str], int] = {}
        self._closing = False

    def __len__(self) -> int:
        """Return the number of turns that run here."""
        return len(self._running)

    def open(self, request: TurnRequest) -> EventStream:
        """Return the stream of a turn; begin or continue the turn unless it runs here already.

        Raises:
            InvalidArgument: A turn with this id runs with another input.
            Unavailable: The service is stopping.
        """
        self._refuse_if_closing()
        key = (context.tenant(), request.agent_id, request.request_id)
        if key in self._running:
            running, stream, _ = self._running[key]
            if request.fingerprint and running.fingerprint and request.fingerprint != running.fingerprint:
                raise reasons.request_id_reused(
                    f'request_id "{request.request_id}" was used for another request; use a new request_id'
                )
            return stream
        stream = EventStream()
        task = asyncio.create_task(self._run(request, stream), name=f"turn:{request.request_id}")
        self._running[key] = (request, stream, task)
        task.add_done_callback(lambda _: self._running.pop(key, None))
        return stream

    async def run(self, request: TurnRequest) -> None:
        """Run a turn, or follow it, until it has ended.

        Raises:
            ServiceError: The turn cannot continue now.
        """
        async for _ in self.open(request).events(deltas=False):
            pass

    async def summarize(self, agent_id: str, request_id: str) -> tuple[int, str]:
        """Summarize as ``TurnLoop.summarize`` does, in a task that continues when its caller disconnects.

        A model may take longer than a proxy waits: the same request again joins the task, or gets its result. The text
        of a summary is not kept here: it may be replaced, or be deleted with its agent.

        Raises:
            NotFound: The agent was deleted since.
            Unavailable: The service is stopping.
        """
        self._refuse_if_closing()
        key = (context.tenant(), agent_id, request_id)
        if key in self._evicted:
            return self._evicted[key], await self._loop.current_summary(agent_id)
        task = self._summaries.get(key)
        if task is None:
            task = asyncio.create_task(self._summarize(agent_id, request_id), name=f"summarize:{request_id}")
            self._summaries[key] = task
            task.add_done_callback(lambda done: self._summary_ended(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Stop every turn and release its lease; another replica, or the next request, continues it."""
        self._closing = True
        tasks: list[asyncio.Task[None] | asyncio.Task[tuple[int, str]]] = [
            task for _, _, task in self._running.values()
        ]
        tasks += self._summaries.values()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _refuse_if_closing(self) -> None:
        if self._closing:
            raise reasons.shutting_down("the Agent is shutting down; send the same request again")

    async def _summarize(self, agent_id: str, request_id: str) -> tuple[int, str]:
        with context.background("summarize"):
            try:
                return await self._loop.summarize(agent_id, request_id)
            except asyncio.CancelledError:
                raise reasons.shutting_down("the Agent is shutting down; send the same request again") from None

    def _summary_ended(self, key: tuple[str, str, str], task: asyncio.Task[tuple[int, str]]) -> None:
        del self._summaries[key]
        if not task.cancelled() and task.exception() is None:
            self._evicted[key], _ = task.result()
            if len(self._evicted) > _REMEMBERED_SUMMARIES:
                del self._evicted[next(iter(self._evicted))]

    async def _run(self, request: TurnRequest, stream: EventStream) -> None:
        attributes: tracing.Attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "memgpt",
            "gen_ai.agent.id": request.agent_id,
            "gen_ai.conversation.id": request.agent_id,
            "memgpt.turn.request_id": request.request_id,
        }
        with context.background("turn"), tracing.span("invoke_agent", attributes) as span:
            try:
                await self._loop.run(request, stream)
                if not stream.ended:
                    raise reasons.service_unavailable(
                        "the turn has not ended; send the same request again", service="agent"
                    )
            except ServiceError as error:
                span.fail(str(error.reason))
                _log.info("turn_suspended", agent_id=request.agent_id, reason=error.reason, message=error.message)
                stream.fail(error)
            except asyncio.CancelledError:
                stream.fail(reasons.shutting_down("the Agent is shutting down; send the same request again"))
                raise
            except Exception as error:  # noqa: BLE001 - a bug: the readers' calls raise it, and the server maps it
                span.fail(type(error).__name__)
                _log.exception("turn_crashed", agent_id=request.agent_id)
                stream.fail(error)
            finally:
                self._report(stream, span)

    def _report(self, stream: EventStream, span: tracing.Span) -> None:
        times, usage = stream.times("suspended"), stream.mapper.usage
        if times is None:  # another replica ran the turn
            return
        self._observer.turn_left(times)
        span.set(
            {
                "memgpt.turn.id": stream.turn_id,
                "memgpt.turn.state": times.state,
                "memgpt.turn.steps": stream.mapper.model_steps,
                "gen_ai.usage.input_tokens": usage.prompt_tokens,
                "gen_ai.usage.output_tokens": usage.completion_tokens,
            }
        )
