"""The rows of each collection, and the parts of a row that a read can return.

A class of rows names the columns that it is made of: an adapter reads or writes just those. `Key` and the classes with
few fields are for reads that need no more. A class with an embedding is for writes only; nothing reads a vector back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
"""One vector, or a matrix with one in each row."""


class Row(Protocol):
    """The common part of all rows."""

    @property
    def id(self) -> str:
        """The primary key."""
        ...


@dataclass(frozen=True, slots=True)
class Key:
    """A row of any collection, by its key alone."""

    id: str


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A row of the records.

    Attributes:
        id: Its key.
        kind: The kind of record.
        tenant: The tenant that owns it.
        parent: Id of what it belongs to and is deleted with.
        created: When it was first written, in microseconds since 1970.
        body: JSON, or a piece of a text.
    """

    id: str
    kind: str
    tenant: str
    parent: str
    created: int
    body: str


@dataclass(frozen=True, slots=True)
class RecordKind:
    """The key and the kind of a record."""

    id: str
    kind: str


@dataclass(frozen=True, slots=True)
class RecordOwner:
    """The key and the tenant of a record."""

    id: str
    tenant: str


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message of recall memory, or a further piece of a long one.

    Attributes:
        id: Its key.
        agent: The agent that owns it.
        sequence: Its number among the agent's messages.
        part: The number of the piece.
        created: When it was stored, in microseconds since 1970.
        head: The message without its text, as JSON; empty for a further piece.
        text: The text, or a piece of it.
    """

    id: str
    agent: str
    sequence: int
    part: int
    created: int
    head: str
    text: str


@dataclass(frozen=True, slots=True)
class PassageRow:
    """A passage of archival memory.

    Attributes:
        id: Its key.
        owner: The agent or the source.
        version: The version of the file that it comes from; empty for a note.
        sequence: Its number among the owner's notes, or within the file.
        stamp: The revision of the store that it was written at.
        created: When it was stored, in microseconds since 1970.
        head: Tags or citation as JSON; empty if it has neither.
        text: The text.
    """

    id: str
    owner: str
    version: str
    sequence: int
    stamp: int
    created: int
    head: str
    text: str


@dataclass(frozen=True, slots=True)
class IndexedPassageRow(PassageRow):
    """A passage with its vector and the words that it is found by, separated by spaces."""

    embedding: Vector
    words: str


@dataclass(frozen=True, slots=True)
class EmbeddedRow:
    """The key and the vector of a row."""

    id: str
    embedding: Vector


@dataclass(frozen=True, slots=True)
class PassageRevision:
    """The key and the revision of a passage: together they tell one content from another."""

    id: str
    stamp: int


@dataclass(frozen=True, slots=True)
class RowOwner:
    """The key and the owner of a row that a search found."""

    id: str
    owner: str


@dataclass(frozen=True, slots=True)
class OwnedRevision:
    """The key, the owner and the revision of a passage that a search found."""

    id: str
    owner: str
    stamp: int


@dataclass(frozen=True, slots=True)
class RowNumber:
    """The key and the number of a row."""

    id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class RowTime:
    """The key, the number and the time of a message, of a note, or of what is derived from a message."""

    id: str
    sequence: int
    created: int


@dataclass(frozen=True, slots=True)
class AgentRowTime:
    """The key, the agent, the number and the time of a message."""

    id: str
    agent: str
    sequence: int
    created: int


@dataclass(frozen=True, slots=True)
class MessageIndexRow:
    """What the index of messages knows of a message, apart from its content.

    Attributes:
        id: Its key.
        owner: The agent.
        sequence: The message's number.
        created: When the message was stored, in microseconds since 1970.
        role: The sender; empty in the mark that ends an agent's rows.
    """

    id: str
    owner: str
    sequence: int
    created: int
    role: str


@dataclass(frozen=True, slots=True)
class IndexedMessageRow(MessageIndexRow):
    """A message as it is searched: with its vector and the words that it is found by, separated by spaces."""

    embedding: Vector
    words: str
