"""The parts of an agent's function: its parameters, its handler, and the results that handlers return."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from memgpt_agent.domain import NO_EFFECTS, Context, Effects, MessagePage, PassagePage, Tool

REQUEST_HEARTBEAT = "request_heartbeat"
INNER_THOUGHTS = "inner_thoughts"
ABOUT_USER = "new_about_user"
"""Key of the facts about the user beside a call, in the mode ``json_schema``: a line for the block ``HUMAN``."""

HUMAN = "human"
"""Label of the block about the user."""


class FunctionError(Exception):
    """A call that cannot be made. The text goes to the model: what is wrong, and what to do instead."""


class MemorySearch(Protocol):
    """The searches that handlers make in Memory. ``skip`` counts the results before the page."""

    async def search_archival(self, agent_id: str, query: str, *, page_size: int, skip: int) -> PassagePage:
        """Return a page of the ranking of the agent's notes and attached documents."""
        ...

    async def search_recall(
        self, agent_id: str, query: str, *, before: int | None, page_size: int, skip: int
    ) -> MessagePage:
        """Return a page of the ranking of messages by words and similarity, with their neighbors.

        Only messages with a sequence below ``before`` are ranked; None for all.
        """
        ...

    async def list_recall(
        self, agent_id: str, *, start_date: str, end_date: str, page_size: int, skip: int
    ) -> MessagePage:
        """Return a page of the messages between two days, both included, the latest first."""
        ...


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a function. A parameter with a ``default`` is optional."""

    name: str
    type: Literal["string", "integer"]
    description: str
    default: str | int | None = None
    minimum: int | None = None
    maximum: int | None = None
    may_be_empty: bool = False

    @property
    def required(self) -> bool:
        """Whether the model must give it."""
        return self.default is None

    def schema(self) -> dict[str, object]:
        """Return its JSON schema."""
        schema: dict[str, object] = {"type": self.type}
        if self.description:
            schema["description"] = self.description
        if self.minimum is not None:
            schema["minimum"] = self.minimum
        if self.maximum is not None:
            schema["maximum"] = self.maximum
        return schema


@dataclass(frozen=True, slots=True)
class FunctionOutput:
    """A function's result for the model, and the changes to commit with it."""

    text: str
    effects: Effects = NO_EFFECTS


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function that the model may call. Compared by identity, so that it can key caches.

    Attributes:
        name: Name that the model calls.
        description: What it does, for the model.
        parameters: Its own arguments, without those that the loop adds.
        handler: Runs a checked call; None for a function that runs in another process.
        instruction: When to call it: its line of the agent's instructions. Empty for none.
        chains: Whether it takes ``request_heartbeat``.
        heartbeat_default: Value of a missing ``request_heartbeat``. True for searches, whose results must be read.
        searches: Whether its result is exempt from truncation.
        writes: Whether it changes the agent's memory.
        tool: The remote tool that runs it; its arguments are described by ``schema``, not by ``parameters``.
        schema: JSON schema of a tool's arguments.
        brief: Whether descriptions of arguments are left out, for small windows; see ``json_schema.in_short``.
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    handler: Handler | None = None
    instruction: str = ""
    chains: bool = True
    heartbeat_default: bool = False
    searches: bool = False
    writes: bool = False
    tool: Tool | None = None
    schema: Mapping[str, object] | None = None
    brief: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A call whose arguments are complete and of the right types."""

    function: Function
    values: Mapping[str, object]
    request_heartbeat: bool

    def text(self, name: str) -> str:
        """Return a string argument."""
        return str(self.values[name])

    def number(self, name: str) -> int:
        """Return an integer argument."""
        return int(str(self.values[name]))


Handler = Callable[[Call, Context, MemorySearch], Awaitable[FunctionOutput]]
"""Runs a checked call. Searches read Memory at once; changes are returned as effects, which the step commits, so that
a repeated step makes no change twice. Raises FunctionError if the call cannot be done; nothing has changed then."""
