"""The fixed collections.

Three collections hold everything. A fourth, created when it is first needed, holds what can be derived from them.
Milvus requires a vector in each, so the two without embeddings have one of two dimensions that is always zero.

- ``memgpt_records``: agents, sources, files, profiles, turns, requests, and every text that is replaced by versions.
- ``memgpt_messages``: recall memory, one row per message, more for a long one.
- ``memgpt_passages_<model>``: archival memory, in named partitions by a hash of the owner, so that a search reads only
  the partitions of its owners. One collection for each embedding model, at the model's own dimension.
- ``memgpt_recall_<model>``: vectors and words of messages, for semantic search. Separate from the passages, so that
  neither their word statistics nor the cost of their searches depend on the number of messages.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import Enum

SCHEMA_VERSION = 3
"""Increased by one with every change of the layout that an older version could not read."""

PARTITIONS = 16
"""Number of named partitions that owners are spread over."""

MAX_VARCHAR_BYTES = 65_535
"""Maximum length of a VARCHAR on a Milvus server, in bytes of UTF-8 (Milvus Lite counts characters)."""

MAX_ID = 64
"""Maximum length of a primary key. Keys are ASCII from ``[A-Za-z0-9_-]``: gets and deletes do not escape them."""


class FieldType(Enum):
    """Type of a column; WORDS is a text that Milvus indexes for BM25, SPARSE the vector that it derives from it."""

    TEXT = "text"
    INTEGER = "integer"
    VECTOR = "vector"
    WORDS = "words"
    SPARSE = "sparse"


@dataclass(frozen=True, slots=True)
class Field:
    """A column.

    Attributes:
        name: Its name.
        type: Its type.
        size: Bytes of a TEXT, dimensions of a VECTOR; unused otherwise.
    """

    name: str
    type: FieldType
    size: int = 0


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection; its first field is the primary key.

    Attributes:
        name: Its name in Milvus.
        fields: Its columns.
        partitioned: Whether it has the named partitions.
        ordered_by: A whole number that tells its rows apart well, for a search that must be done in pieces.
    """

    name: str
    fields: tuple[Field, ...]
    partitioned: bool = False
    ordered_by: str = "created"

    @property
    def key(self) -> str:
        """Name of the primary key."""
        return self.fields[0].name

    @property
    def vector(self) -> str:
        """Name of the vector column."""
        return next(field.name for field in self.fields if field.type is FieldType.VECTOR)

    @property
    def full_text(self) -> bool:
        """Whether it is ranked by words too."""
        return any(field.type is FieldType.SPARSE for field in self.fields)

    @property
    def searched(self) -> bool:
        """Whether its vectors mean anything."""
        return self.vector != _NO_VECTOR.name


WORDS, SPARSE = "words", "sparse"
"""Columns for full text, where the backend has it."""

BM25 = {"bm25_k1": 0.6, "bm25_b": 0.2}
"""Term saturation and length normalization. Both are lower than usual (1.2 and 0.75): passages have one length or are
short notes, and a repeated word in one adds little."""

_NO_VECTOR = Field("none", FieldType.VECTOR, 2)
NO_VECTOR = [0.0, 0.0]
"""Content of the vector column of a collection without embeddings."""

RECORDS = Collection(
    "memgpt_records",
    (
        Field("id", FieldType.TEXT, MAX_ID),
        Field("kind", FieldType.TEXT, 16),
        Field("tenant", FieldType.TEXT, 64),
        Field("parent", FieldType.TEXT, MAX_ID),
        Field("created", FieldType.INTEGER),
        Field("body", FieldType.TEXT, MAX_VARCHAR_BYTES),
        _NO_VECTOR,
    ),
)

MESSAGES = Collection(
    "memgpt_messages",
    (
        Field("id", FieldType.TEXT, MAX_ID),
        Field("agent", FieldType.TEXT, MAX_ID),
        Field("sequence", FieldType.INTEGER),
        Field("part", FieldType.INTEGER),
        Field("created", FieldType.INTEGER),
        Field("head", FieldType.TEXT, MAX_VARCHAR_BYTES),
        Field("text", FieldType.TEXT, MAX_VARCHAR_BYTES),
        _NO_VECTOR,
    ),
)


def passages(model: str, dimension: int, *, full_text: bool) -> Collection:
    """The collection of an embedding model's passages.

    Args:
        model: Name of the model.
        dimension: Dimensions of its vectors.
        full_text: Whether the backend ranks by words.
    """
    return Collection(
        f"memgpt_passages_{_slug(model, dimension)}",
        (
            Field("id", FieldType.TEXT, MAX_ID),
            Field("owner", FieldType.TEXT, MAX_ID),
            Field("version", FieldType.TEXT, MAX_ID),
            Field("sequence", FieldType.INTEGER),
            Field("stamp", FieldType.INTEGER),
            Field("created", FieldType.INTEGER),
            Field("head", FieldType.TEXT, MAX_VARCHAR_BYTES),
            Field("text", FieldType.TEXT, MAX_VARCHAR_BYTES),
            *_searched(dimension, full_text=full_text),
        ),
        partitioned=True,
        ordered_by="stamp",
    )


def message_index(model: str, dimension: int, *, full_text: bool) -> Collection:
    """The collection of an embedding model's message vectors; for the arguments see `passages`."""
    return Collection(
        f"memgpt_recall_{_slug(model, dimension)}",
        (
            Field("id", FieldType.TEXT, MAX_ID),
            Field("owner", FieldType.TEXT, MAX_ID),
            Field("sequence", FieldType.INTEGER),
            Field("created", FieldType.INTEGER),
            Field("role", FieldType.TEXT, 16),
            *_searched(dimension, full_text=full_text),
        ),
        partitioned=True,
        ordered_by="sequence",
    )


def _slug(model: str, dimension: int) -> str:
    readable = re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_")[:32]
    digest = hashlib.sha256(f"{model}\0{dimension}".encode()).hexdigest()[:8]
    return f"{readable}_{digest}"


def _searched(dimension: int, *, full_text: bool) -> tuple[Field, ...]:
    words = (Field(WORDS, FieldType.WORDS, MAX_VARCHAR_BYTES), Field(SPARSE, FieldType.SPARSE)) if full_text else ()
    return (Field("embedding", FieldType.VECTOR, dimension), *words)


def partition_of(tenant: str, owner: str) -> str:
    """Name of the partition that holds an owner's rows."""
    digest = hashlib.sha256(f"{tenant}\0{owner}".encode()).digest()
    return partition_name(int.from_bytes(digest[:4], "big") % PARTITIONS)


def partition_name(slot: int) -> str:
    """Name of the partition with a number."""
    return f"p{slot:02d}"
