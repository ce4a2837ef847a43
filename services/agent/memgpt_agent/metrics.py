"""Prometheus metrics of the Agent besides ``grpc_server_*``, counted by wrappers that the loop is not aware of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import grpc
from memgpt_runtime import errors, tracing
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from memgpt_agent.domain import Context, Lease, NewStep, Outcome, TurnState
from memgpt_agent.functions import BUILT_IN_BY_NAME
from memgpt_agent.loop.observer import Observer, TurnTimes
from memgpt_agent.memory.client import MemoryClient
from memgpt_agent.memory.port import CommittedStep
from memgpt_agent.models.base import BadAnswerError, ChatModel, Completion, ContextOverflowError, ModelRequest, Sink

_BUCKETS = (0.01, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
"""Seconds: from the built-in model to a large one on a slow machine."""

_QUICK_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Seconds: from a function that only writes core memory, or a turn that need not wait."""

_SUSPENDED = "suspended"
_REMOTE = "remote"
_OUTCOMES: dict[type[BaseException], str] = {
    ContextOverflowError: "overflow",
    BadAnswerError: "unusable",
    errors.ResourceExhausted: "rate_limited",
    errors.Unavailable: "unavailable",
    errors.DeadlineExceeded: "unavailable",
    errors.FailedPrecondition: "refused",
    asyncio.CancelledError: "cancelled",
}
"""Outcomes of model calls by what they raise; anything else is a bug, and counts as ``broken``."""


class AgentMetrics(Observer):
    """Metrics of turns and model calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        states = [state.value for state in TurnState if state.ended]
        turns = Counter(
            "memgpt_agent_turns",
            "Turns that ended here, by state; a suspended one is resumed later, by any replica.",
            ("state",),
            registry=registry,
        )
        self.turns = {state: turns.labels(state) for state in (*states, _SUSPENDED)}
        self.steps = Counter("memgpt_agent_steps", "Steps committed.", registry=registry)
        self.evictions = Counter("memgpt_agent_evictions", "Summaries that took messages' place.", registry=registry)
        tokens = Counter("memgpt_agent_tokens", "Tokens of models, by kind.", ("kind",), registry=registry)
        self.prompt_tokens, self.completion_tokens = tokens.labels("prompt"), tokens.labels("completion")
        self.cached_tokens = tokens.labels("cached")
        seconds = Histogram(
            "memgpt_agent_model_seconds",
            "Time of calls of models, their repetitions included, by outcome.",
            ("outcome",),
            buckets=_BUCKETS,
            registry=registry,
        )
        outcomes = dict.fromkeys(("answered", *_OUTCOMES.values(), "broken"))
        self.model_seconds = {outcome: seconds.labels(outcome) for outcome in outcomes}
        turn_seconds = Histogram(
            "memgpt_agent_turn_seconds",
            "Time of turns that ran here, from the request on, by how they ended.",
            ("state",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._turn_seconds = {state: turn_seconds.labels(state) for state in self.turns}
        self._first_text_seconds = Histogram(
            "memgpt_agent_first_text_seconds",
            "Time from the request of a turn to the first text for the user.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._queue_seconds = Histogram(
            "memgpt_agent_queue_seconds",
            "Time that turns waited for the agent's other turns.",
            buckets=_QUICK_BUCKETS,
            registry=registry,
        )
        self._function_seconds = Histogram(
            "memgpt_agent_function_seconds",
            "Time of functions that models called; those of tool servers are remote.",
            ("function", "outcome"),
            buckets=_QUICK_BUCKETS,
            registry=registry,
        )
        for function in (*BUILT_IN_BY_NAME, _REMOTE):
            for outcome in ("succeeded", "failed"):
                self._function_seconds.labels(function, outcome)
        self._running = Gauge("memgpt_agent_turns_running", "Turns that are asked for or run here.", registry=registry)

    def turn_left(self, times: TurnTimes) -> None:
        """Record the times of a turn."""
        self._turn_seconds[times.state].observe(times.total, tracing.exemplar())
        self._queue_seconds.observe(times.queued)
        if times.first_text is not None:
            self._first_text_seconds.observe(times.first_text)

    def function_called(self, name: str, seconds: float, *, ok: bool, remote: bool) -> None:
        """Record the time of a function; names of tool servers, of which there may be many, are not told apart."""
        outcome = "succeeded" if ok else "failed"
        self._function_seconds.labels(_REMOTE if remote else name, outcome).observe(seconds, tracing.exemplar())

    def watch_running(self, read: Callable[[], int]) -> None:
        """Read the number of running turns from ``read``."""
        self._running.set_function(lambda: float(read()))


class MeteredModel:
    """A chat model with its calls counted and timed."""

    def __init__(self, model: ChatModel, metrics: AgentMetrics) -> None:
        self._model = model
        self._metrics = metrics

    async def complete(self, request: ModelRequest, sink: Sink) -> Completion:
        """Answer a request, and record time, outcome and tokens."""
        begin = time.perf_counter()
        outcome = "answered"
        try:
            completion = await self._model.complete(request, sink)
        except BaseException as error:
            outcome = next((name for kind, name in _OUTCOMES.items() if isinstance(error, kind)), "broken")
            raise
        finally:
            self._metrics.model_seconds[outcome].observe(time.perf_counter() - begin, tracing.exemplar())
        self._metrics.prompt_tokens.inc(completion.usage.prompt_tokens)
        self._metrics.cached_tokens.inc(completion.usage.cached_tokens)
        self._metrics.completion_tokens.inc(completion.usage.completion_tokens)
        return completion


class MeteredMemory(MemoryClient):
    """Memory with committed steps and ended turns counted."""

    def __init__(self, channel: grpc.aio.Channel, metrics: AgentMetrics) -> None:
        super().__init__(channel)
        self._metrics = metrics

    async def commit_step(self, agent_id: str, lease: Lease, step: NewStep, context: Context) -> CommittedStep:
        """Commit a step, and count it."""
        committed = await super().commit_step(agent_id, lease, step, context)
        self._metrics.steps.inc()
        if step.eviction is not None:
            self._metrics.evictions.inc()
        if step.outcome is not None:
            self._metrics.turns[step.outcome.state].inc()
        return committed

    async def end_turn(self, agent_id: str, lease: Lease, outcome: Outcome, call_result: str = "") -> None:
        """End a turn, and count it."""
        await super().end_turn(agent_id, lease, outcome, call_result)
        self._metrics.turns[outcome.state].inc()

    async def release_lease(self, agent_id: str, lease: Lease) -> None:
        """Release a lease, and count the turn as suspended."""
        self._metrics.turns[_SUSPENDED].inc()
        await super().release_lease(agent_id, lease)
