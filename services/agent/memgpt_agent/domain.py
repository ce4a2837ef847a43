"""The domain of the Agent: messages, blocks, passages, turns. Plain values, without transport or storage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from memgpt_runtime.ids import random_bytes
from memgpt_runtime.principal import DEFAULT_TENANT

from memgpt_agent.heartbeat_plan import NO_PLAN, HeartbeatPlan

DEFAULT_BLOCK_LIMIT = 2000
"""Default limit of a block of core memory, in characters."""

EPOCH = datetime.fromtimestamp(0, UTC)


class Role(StrEnum):
    """The sender of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function call as the model made it.

    Attributes:
        call_id: Pairs it with its result.
        name: The function's name.
        arguments: JSON text that may not parse.
        endpoint_data: Data that the endpoint expects back with the call, such as a signature: a JSON object or empty.
    """

    call_id: str
    name: str
    arguments: str
    endpoint_data: str = ""


def new_call_id() -> str:
    """Return a new id for a function call: 29 characters, 96 random bits."""
    return f"call_{random_bytes('call', 12).hex()}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of calls of the model; ``cached_tokens`` are those of the prompt that the endpoint had cached."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the window. ``sequence`` is its place in recall memory, -1 while it is not stored."""

    role: Role
    text: str
    function_call: FunctionCall | None = None
    call_id: str = ""
    usage: Usage | None = None
    sequence: int = -1
    created_at: datetime = EPOCH


@dataclass(frozen=True, slots=True)
class Block:
    """A block of core memory: always in the window, edited by function calls unless ``read_only``.

    ``limit`` counts characters; ``description`` says what the block is for. Other agents have a ``shared`` block too,
    and may change it at any time.
    """

    label: str
    value: str
    limit: int = DEFAULT_BLOCK_LIMIT
    etag: str = ""
    updated_at: datetime = EPOCH
    read_only: bool = False
    description: str = ""
    shared: bool = False


@dataclass(frozen=True, slots=True)
class BlockEdit:
    """The whole new value of a block, to replace the one that was read with ``etag``."""

    label: str
    value: str
    etag: str = ""
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Attachment:
    """A source that the agent can search."""

    source_name: str
    passage_count: int = 0


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent's settings. An empty ``model`` and a ``context_window`` of 0 stand for the service's own settings."""

    agent_id: str
    name: str = ""
    system: str = ""
    model: str = ""
    context_window: int = 0
    time_zone: str = "UTC"
    attachments: tuple[Attachment, ...] = ()
    updated_at: datetime = EPOCH


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that runs elsewhere; ``parameters`` is the JSON schema of its arguments, without references."""

    name: str
    description: str
    parameters: str
    address: str


@dataclass(frozen=True, slots=True)
class Context:
    """The content of an agent's context window, as of one instant.

    Attributes:
        agent: The agent.
        blocks: Its core memory.
        summary: The summary of the messages that left the window.
        messages: The messages of the window.
        recall_count: Messages in recall memory, without those taken back.
        archival_count: Notes, and passages of attached sources.
        tools: Functions that run elsewhere.
        brief: Whether instructions and functions are abbreviated, because the window is small.
        plan: Its timed heartbeats.
        plan_etag: Changes with every write of the heartbeats.
        now: The time of the step.
        recalled: What automatic recall found for the user's last message, as JSON values.
    """

    agent: Agent
    blocks: tuple[Block, ...] = ()
    summary: str = ""
    messages: tuple[Message, ...] = ()
    recall_count: int = 0
    archival_count: int = 0
    tools: tuple[Tool, ...] = ()
    brief: bool = False
    plan: HeartbeatPlan = NO_PLAN
    plan_etag: str = ""
    now: datetime = EPOCH
    recalled: tuple[object, ...] = ()

    @property
    def open_call(self) -> FunctionCall | None:
        """The committed call without a result; it must be made before anything else."""
        return self.messages[-1].function_call if self.messages else None


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a passage of a document comes from; pages count from 1."""

    source_name: str
    file_name: str
    page: int = 0


@dataclass(frozen=True, slots=True)
class PassageHit:
    """A passage that a search found."""

    text: str
    created_at: datetime
    citation: Citation | None = None


@dataclass(frozen=True, slots=True)
class PassagePage:
    """A page of a ranking of ``total`` passages."""

    hits: tuple[PassageHit, ...]
    total: int


@dataclass(frozen=True, slots=True)
class MessageHit:
    """A message found in recall memory, with what was said just before and after it; None if nothing was."""

    message: Message
    before: Message | None = None
    after: Message | None = None


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A page of ``total`` messages found in recall memory."""

    hits: tuple[MessageHit, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Eviction:
    """Messages before ``before_sequence`` leave the window; ``summary`` replaces all that ever left."""

    before_sequence: int
    summary: str


@dataclass(frozen=True, slots=True)
class Step:
    """A committed step of a turn. Step 0 is the turn's input; a later step without messages trimmed the window."""

    index: int
    messages: tuple[Message, ...] = ()


class TurnState(StrEnum):
    """The state of a turn."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether the turn has ended."""
        return self not in (TurnState.QUEUED, TurnState.RUNNING)


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn as Memory knows it; ``committed_steps`` is the index of its last step, 0 while there is only the input."""

    turn_id: str
    request_id: str
    state: TurnState
    reason: str = ""
    committed_steps: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ends."""

    state: TurnState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to an agent during one turn."""

    turn_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class PlanEdit:
    """The whole new text of the timed heartbeats, to replace the one that was read with ``etag``."""

    text: str
    etag: str = ""


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """The plan of an agent of ``tenant``; ``etag`` changes with every write."""

    agent_id: str
    time_zone: str
    plan: HeartbeatPlan
    etag: str
    tenant: str = DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class NewStep:
    """A step to be committed whole or not at all."""

    index: int
    messages: tuple[Message, ...] = ()
    blocks: tuple[BlockEdit, ...] = ()
    notes: tuple[str, ...] = ()
    eviction: Eviction | None = None
    plan: PlanEdit | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Effects:
    """A function's changes, to be committed with its step. ``plan`` is the new text of the heartbeats."""

    blocks: tuple[BlockEdit, ...] = ()
    notes: tuple[str, ...] = ()
    plan: str | None = None


NO_EFFECTS = Effects()
