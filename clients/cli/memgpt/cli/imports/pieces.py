"""What a reader finds in a file of another system, before it is fitted to the contracts.

Texts and names are as the file has them, of any length and with any characters: `plan` bounds and maps them. Iterables
are read more than once, so a reader that streams a large file returns an object whose ``__iter__`` reads it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum


@dataclass(frozen=True, slots=True)
class Block:
    """A block of core memory.

    Attributes:
        limit: Maximum number of characters; 0 if it is unknown.
        identity: What the block is known by there, the same in each agent that has it; empty if no other agent can
            have it.
    """

    label: str
    value: str
    limit: int = 0
    description: str = ""
    read_only: bool = False
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; `arguments` is JSON text."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a call. `ok` counts only if the text does not tell its own status."""

    call_id: str
    text: str
    ok: bool = True


@dataclass(frozen=True, slots=True)
class User:
    """An event for the agent: a user's plain text, or a JSON envelope with a ``type``."""

    text: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Assistant:
    """What a model wrote.

    Attributes:
        thought: Its inner thought, which the user did not see.
        reply: What it told the user as plain text; it becomes a call of ``send_message``.
        calls: Its function calls, in order.
    """

    thought: str = ""
    reply: str = ""
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """Results of function calls. They are paired with their calls by id, also if they come later or out of order."""

    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A message of recall memory, in order of sequence.

    Attributes:
        content: The message.
        time: When it was written, with a time zone; None if the file does not say.
        in_window: Whether it is in the context window.
        where: Its place in the file, for the report, such as ``messages[3]``.
    """

    content: User | Assistant | Results
    time: datetime | None = None
    in_window: bool = True
    where: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A note of archival memory."""

    text: str
    tags: tuple[str, ...] = ()
    time: datetime | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent.

    Attributes:
        name: Its name there.
        system: Its instructions; empty for the preset.
        stock_system: Whether the instructions are known to be the other system's own and not the user's.
        blocks: Core memory, in order. Labels may repeat.
        messages: Recall memory, oldest first.
        summary: Summary of the messages before the window.
        passages: Archival memory, oldest first.
        source_names: Names of the sources that it searches, as `Source.name`.
        where: Its place in the file, for the report.
    """

    name: str
    system: str = ""
    stock_system: bool = False
    description: str = ""
    tags: tuple[str, ...] = ()
    model: str = ""
    context_window: int = 0
    time_zone: str = ""
    blocks: tuple[Block, ...] = ()
    messages: Iterable[Message] = ()
    summary: str = ""
    passages: Iterable[Passage] = ()
    source_names: tuple[str, ...] = ()
    where: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A document as text. The name is a label, and is never opened as a path."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """A data source. `documents` may be large: one document at a time is held in memory."""

    name: str
    description: str = ""
    documents: Iterable[Document] = ()
    tags: tuple[str, ...] = ()


class ProfileKind(Enum):
    """Kind of a profile."""

    PERSONA = "persona"
    HUMAN = "human"
    PRESET = "preset"


@dataclass(frozen=True, slots=True)
class Profile:
    """A named text to create agents from."""

    kind: ProfileKind
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of the other system. It is never run: its schema and code are only kept for the user."""

    name: str
    schema: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in a file.

    Attributes:
        notices: What the format itself lacks, or what the user must know; shown before everything else.
    """

    agents: tuple[Agent, ...] = ()
    sources: tuple[Source, ...] = ()
    profiles: tuple[Profile, ...] = ()
    tools: tuple[Tool, ...] = ()
    notices: tuple[str, ...] = field(default=())
