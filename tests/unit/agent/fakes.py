"""An in-process Memory for tests of the loop, and a scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from memgpt_agent import envelopes
from memgpt_agent.domain import (
    Agent,
    Block,
    Context,
    FunctionCall,
    Lease,
    Message,
    MessageHit,
    MessagePage,
    NewStep,
    Outcome,
    PassageHit,
    PassagePage,
    PlanEdit,
    Role,
    Step,
    StoredPlan,
    Turn,
    TurnState,
    Usage,
    new_call_id,
)
from memgpt_agent.heartbeat_plan import HeartbeatPlan
from memgpt_agent.loop import boot
from memgpt_agent.loop.event_stream import EventStream
from memgpt_agent.loop.settings import LoopSettings
from memgpt_agent.loop.turn_loop import TurnLoop
from memgpt_agent.loop.turn_request import TurnRequest
from memgpt_agent.memory.port import CancelRequested, CommittedStep, QueuePosition, TurnEvent, TurnGrant
from memgpt_agent.models.base import ChatModel, Completion, DeltaKind, ModelRequest, Sink
from memgpt_agent.remote_tools.port import ToolCall, ToolResult
from memgpt_runtime import errors
from memgpt_runtime.errors import Reason
from memgpt_runtime.tokens import count_tokens

NOW = datetime(2024, 5, 1, 13, 7, 9, tzinfo=UTC)
TIME = "2024-05-01 01:07:09 PM UTC+0000"


@dataclass
class FakeTurn:
    """A turn as the store keeps it."""

    turn_id: str
    request_id: str
    fingerprint: bytes
    options: bytes
    state: TurnState = TurnState.RUNNING
    reason: str = ""
    steps: list[Step] = field(default_factory=list)
    epoch: int = 0
    held: bool = False

    def view(self) -> Turn:
        return Turn(self.turn_id, self.request_id, self.state, self.reason, len(self.steps) - 1)


class FakeMemory:
    """One agent's state. Faults are armed by setting `before_commit`, which may raise."""

    def __init__(self, context: Context | None = None) -> None:
        start = context or Context(Agent("agent_1", system="Be yourself."), blocks())
        self.context = replace(start, messages=(), recall_count=0)
        self.notes: list[str] = []
        self.passages: list[PassageHit] = []
        self.history: list[Message] = []
        self.turns: dict[str, FakeTurn] = {}
        self.cancel = False
        self.changed = asyncio.Event()
        self.before_commit: Callable[[NewStep], None] = lambda step: None
        self.commits = 0
        self.waits: list[float] = []
        self.searches: list[tuple[str, int]] = []
        self._store(start.messages)

    def _store(self, messages: Iterable[Message]) -> tuple[Message, ...]:
        stored = []
        for message in messages:
            created = NOW + timedelta(seconds=len(self.history))
            stored.append(replace(message, sequence=len(self.history), created_at=created))
            self.history.append(stored[-1])
        self.context = replace(self.context, messages=(*self.context.messages, *stored), recall_count=len(self.history))
        return tuple(stored)

    def _notify(self) -> None:
        event, self.changed = self.changed, asyncio.Event()
        event.set()

    async def begin_turn(
        self,
        agent_id: str,
        request_id: str,
        *,
        fingerprint: bytes,
        messages: Sequence[Message],
        options: bytes,
        nonblocking: bool,
        queue_timeout: float,
        retry: bool = False,
        time_placeholder: str = "",
    ) -> AsyncGenerator[TurnEvent, None]:
        told = False
        self.waits.append(queue_timeout)
        while True:
            turn = self.turns.get(request_id)
            if turn is not None and turn.state.ended:
                yield TurnGrant(turn.view(), None)
                return
            running = next((t for t in self.turns.values() if not t.state.ended), None)
            if running is None:
                turn = FakeTurn(f"turn_{len(self.turns)}", request_id, fingerprint, options)
                self.turns[request_id] = running = turn
                turn.steps.append(Step(0, self._store(messages)))
                resumed = False
            elif not running.held:
                resumed = True
            elif nonblocking and running is turn:
                yield TurnGrant(running.view(), None)
                return
            else:
                if not told:
                    yield QueuePosition(1)
                    told = True
                await self.changed.wait()
                continue
            running.held = True
            running.epoch += 1
            lease = Lease(running.turn_id, running.epoch)
            yield TurnGrant(running.view(), lease, resumed, running.options, await self.load_context(agent_id))
            while not (self.cancel or running.state.ended):
                await self.changed.wait()
            if self.cancel:
                yield CancelRequested()
            return

    def _held(self, lease: Lease) -> FakeTurn:
        turn = next(t for t in self.turns.values() if t.turn_id == lease.turn_id)
        if turn.epoch != lease.epoch:
            raise errors.Aborted(Reason.LEASE_LOST, "the lease has passed to another")
        return turn

    async def renew_lease(self, agent_id: str, lease: Lease) -> bool:
        self._held(lease)
        return self.cancel

    async def commit_step(self, agent_id: str, lease: Lease, step: NewStep, context: Context) -> CommittedStep:
        self.commits += 1
        turn = self._held(lease)
        if step.index < len(turn.steps):
            return CommittedStep(turn.steps[step.index], await self.load_context(agent_id))
        self.before_commit(step)
        assert step.index == len(turn.steps)
        for edit in step.blocks:
            current = next(block for block in self.context.blocks if block.label == edit.label)
            if edit.etag != current.etag:
                raise errors.Aborted(Reason.ETAG_MISMATCH, "the block has changed")
        for edit in step.blocks:
            self.set_block(edit.label, edit.value)
        self.notes += step.notes
        if step.plan is not None:
            self._write_plan(step.plan)
        committed = Step(step.index, self._store(step.messages))
        if step.eviction is not None:
            kept = tuple(m for m in self.context.messages if m.sequence >= step.eviction.before_sequence)
            self.context = replace(self.context, messages=kept, summary=step.eviction.summary)
        turn.steps.append(committed)
        if step.outcome is not None:
            turn.state, turn.reason, turn.held = step.outcome.state, step.outcome.reason, False
        self._notify()
        return CommittedStep(committed, None if step.outcome else await self.load_context(agent_id))

    def _write_plan(self, edit: PlanEdit) -> None:
        if edit.etag != self.context.plan_etag:
            raise errors.Aborted(Reason.ETAG_MISMATCH, "the plan has changed")
        plan = HeartbeatPlan.parse(edit.text)
        self.context = replace(self.context, plan=plan, plan_etag=f"{self.context.plan_etag}+")

    def _stored_plan(self) -> StoredPlan:
        agent = self.context.agent
        return StoredPlan(agent.agent_id, agent.time_zone, self.context.plan, self.context.plan_etag)

    async def list_plans(self) -> AsyncIterator[StoredPlan]:
        yield self._stored_plan()

    async def get_plan(self, agent_id: str) -> StoredPlan:
        return self._stored_plan()

    async def put_plan(self, agent_id: str, edit: PlanEdit) -> None:
        self._write_plan(edit)

    async def turns_since(self, agent_id: str, time: float) -> AsyncIterator[Turn]:
        for turn in reversed(self.turns.values()):
            yield turn.view()

    async def turn_tokens(self, agent_id: str, request_id: str) -> int:
        steps = self.turns[request_id].steps
        return sum(m.usage.total for step in steps for m in step.messages if m.usage is not None)

    def set_block(self, label: str, value: str) -> None:
        """Writes a block, as an edit or as somebody else would."""
        self.context = replace(
            self.context,
            blocks=tuple(
                replace(b, value=value, etag=f"{b.etag}+") if b.label == label else b for b in self.context.blocks
            ),
        )

    def share_block(self, label: str) -> None:
        """Makes a block one that other agents have too."""
        blocks = tuple(replace(b, shared=True) if b.label == label else b for b in self.context.blocks)
        self.context = replace(self.context, blocks=blocks)

    async def end_turn(self, agent_id: str, lease: Lease, outcome: Outcome, call_result: str = "") -> None:
        turn = self._held(lease)
        if self.context.open_call is not None and call_result:
            answer = Message(Role.TOOL, call_result, call_id=self.context.open_call.call_id)
            turn.steps.append(Step(len(turn.steps), self._store([answer])))
        turn.state, turn.reason, turn.held = outcome.state, outcome.reason, False
        self._notify()

    async def release_lease(self, agent_id: str, lease: Lease) -> None:
        self._held(lease).held = False
        self._notify()

    async def read_turn(
        self, agent_id: str, request_id: str, *, after_step: int, follow: bool
    ) -> AsyncIterator[Step | Turn]:
        while True:
            turn = self.turns.get(request_id)
            if turn is None:
                raise errors.NotFound(Reason.TURN_NOT_FOUND, "no such turn")
            for step in turn.steps[after_step + 1 :]:
                yield step
                after_step = step.index
            if turn.state.ended or not follow:
                yield turn.view()
                return
            await self.changed.wait()

    async def load_context(self, agent_id: str) -> Context:
        return replace(self.context, archival_count=len(self.passages) + len(self.notes))

    async def search_archival(self, agent_id: str, query: str, *, page_size: int, skip: int) -> PassagePage:
        self.searches.append((query, skip))
        return PassagePage(tuple(self.passages[skip : skip + page_size]), len(self.passages))

    async def search_recall(
        self, agent_id: str, query: str, *, before: int | None, page_size: int, skip: int
    ) -> MessagePage:
        words = query.lower().split()
        found = [
            MessageHit(m)
            for m in reversed(self.history[:before])
            if m.role in (Role.USER, Role.ASSISTANT) and all(word in m.text.lower() for word in words)
        ]
        return MessagePage(tuple(found[skip : skip + page_size]), len(found))

    async def list_recall(
        self, agent_id: str, *, start_date: str, end_date: str, page_size: int, skip: int
    ) -> MessagePage:
        self.searches.append((f"{start_date}..{end_date}", skip))
        found = [MessageHit(m) for m in reversed(self.history) if m.role in (Role.USER, Role.ASSISTANT)]
        return MessagePage(tuple(found[skip : skip + page_size]), len(found))


Reply = Completion | Exception | Callable[[ModelRequest], Completion]


def short_summary(request: ModelRequest) -> Completion:
    """The same summary of everything."""
    return Completion("I keep it short.", usage=Usage(5, 5))


class ScriptedModel:
    """Returns the given answers in order; repeats the last one if `repeat`. `summarize` writes the summaries."""

    def __init__(
        self,
        *replies: Reply,
        repeat: bool = False,
        summarize: Callable[[ModelRequest], Completion] = short_summary,
    ) -> None:
        self.summarize = summarize
        self.replies = list(replies)
        self.requests: list[ModelRequest] = []
        self._repeat = repeat

    async def complete(self, request: ModelRequest, sink: Sink) -> Completion:
        self.requests.append(request)
        if not request.functions:
            return self.summarize(request)
        reply = self.replies[0] if self._repeat and len(self.replies) == 1 else self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        completion = reply(request) if callable(reply) else reply
        sink.delta(DeltaKind.THOUGHT, completion.text)
        return completion


def call(name: str, /, *, thought: str = "", raw: str | None = None, **arguments: object) -> Completion:
    """Return an answer that calls a function."""
    text = envelopes.dumps(arguments) if raw is None else raw
    return Completion(thought, FunctionCall(new_call_id(), name, text), Usage(100, 10))


def say(message: str) -> Completion:
    """Return an answer that speaks to the user."""
    return call("send_message", thought="I speak.", message=message)


def blocks(limit: int = 2000) -> tuple[Block, ...]:
    """A persona and a human."""
    return Block("persona", "I am Sam.", limit, "p1"), Block("human", "Nobody yet.", limit, "h1")


def booted(**agent: object) -> Context:
    """A new agent after its boot sequence."""
    return Context(
        Agent("agent_1", system="Be yourself.", **agent),  # type: ignore[arg-type]
        blocks(),
        messages=tuple(boot.boot_sequence(NOW, "UTC")),
    )


def answered(**agent: object) -> Context:
    """An agent that has greeted already, so that its answers are not checked."""
    context = booted(**agent)
    greeting = FunctionCall("call_greeting", "send_message", '{"message": "Hi."}')
    return replace(
        context,
        messages=(
            *context.messages,
            Message(Role.ASSISTANT, "Greet.", function_call=greeting),
            Message(Role.TOOL, envelopes.function_result(True, "Sent.", TIME), call_id="call_greeting"),
        ),
    )


def user(text: str) -> Message:
    """A user's message."""
    return Message(Role.USER, envelopes.user_message(text, TIME))


def request(text: str = "Hello?", request_id: str = "r1", **more: object) -> TurnRequest:
    """A client's request."""
    return TurnRequest("agent_1", request_id, text.encode(), (user(text),), **more)  # type: ignore[arg-type]


class FakeTools:
    """Tools that return the given answers in order."""

    def __init__(self, *results: ToolResult) -> None:
        self.results = list(results)
        self.calls: list[ToolCall] = []
        self.called = asyncio.Event()
        self.block: asyncio.Event | None = None

    async def call(self, call: ToolCall) -> ToolResult:
        self.calls.append(call)
        self.called.set()
        if self.block is not None:
            await self.block.wait()
        return self.results.pop(0)


def make_loop(memory: FakeMemory, model: ChatModel, tools: FakeTools | None = None, **settings: object) -> TurnLoop:
    """The loop with quick retries."""
    quick = {"renew_seconds": 0.01, "retry_seconds": 0.001, "context_window": 100_000, **settings}
    loop_settings = LoopSettings(**quick)  # type: ignore[arg-type]
    return TurnLoop(memory, model, tools or FakeTools(), loop_settings, count_tokens, lambda: NOW)


class RecordingStream(EventStream):
    """Keeps what was written to it of what is provisional, which no reader gets once the step is committed."""

    def __init__(self) -> None:
        super().__init__()
        self.deltas: list[tuple[int, str]] = []
        self.restarts: list[str] = []

    def delta(self, kind: DeltaKind, text: str) -> None:
        self.deltas.append((len(self.restarts) + 1, text))
        super().delta(kind, text)

    def restart(self, reason: str) -> None:
        self.restarts.append(reason)
        super().restart(reason)


async def run(loop: TurnLoop, asked: TurnRequest) -> RecordingStream:
    """Run a turn to its end."""
    feed = RecordingStream()
    await loop.run(asked, feed)
    return feed
