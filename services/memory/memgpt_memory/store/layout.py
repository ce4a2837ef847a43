"""The fixed collections, described without pymilvus.

Three collections hold everything, and a fourth, which is made when it is first needed, what can be derived. Milvus
wants a vector in each, so the two that are only documents carry one of two dimensions that is always zero.

- ``memgpt_records``: agents, sources, files, profiles, turns, requests, and every text that is replaced by versions.
- ``memgpt_messages``: recall memory, one row a message, more for a long one.
- ``memgpt_passages_<model>``: archival memory, in named partitions by a hash of the owner, so that a search reads only
  the partitions of the owners it is for. One collection for each embedding model, at the model's own dimension.
- ``memgpt_recall_<model>``: vectors and words of messages, for search by likeness. Apart from the passages, so that
  neither their statistics of words nor the cost of their searches depend on how much is talked.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import Enum

SCHEMA_VERSION = 2
"""Raised by one with every change of the layout that an older version could not read."""

PARTITIONS = 16
"""Named partitions of the passages. Also the number of slots that owners are spread over."""

MAX_VARCHAR_BYTES = 65_535
"""Longest VARCHAR of a Milvus server, in bytes of UTF-8 (Milvus Lite counts characters)."""

MAX_ID = 64
"""Longest primary key. Keys are ASCII from ``[A-Za-z0-9_-]``: Milvus does not escape them in gets and deletes."""


class FieldType(Enum):
    """Type of a column; WORDS is a TEXT that Milvus indexes for BM25, SPARSE what it makes of it."""

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
        size: Bytes of a TEXT, dimensions of a VECTOR; unused for INTEGER.
    """

    name: str
    type: FieldType
    size: int = 0


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection: its first field is the primary key.

    Attributes:
        name: Its name in Milvus.
        fields: Its columns.
        partitioned: Whether it has the named partitions.
    """

    name: str
    fields: tuple[Field, ...]
    partitioned: bool = False

    @property
    def key(self) -> str:
        """Name of the primary key."""
        return self.fields[0].name

    @property
    def vector(self) -> str:
        """Name of the vector's column."""
        return next(field.name for field in self.fields if field.type is FieldType.VECTOR)

    @property
    def full_text(self) -> bool:
        """Whether it can rank by words."""
        return any(field.type is FieldType.SPARSE for field in self.fields)


WORDS, SPARSE = "words", "sparse"
"""Columns of passages for full text, where the backend has it."""

BM25 = {"bm25_k1": 0.6, "bm25_b": 0.2}
"""Saturation and normalisation by length of the ranking by words. Both are lower than is usual (1.2 and 0.75): passages
are of one length or short notes, and a word that comes again in one says little more."""

_NO_VECTOR = Field("none", FieldType.VECTOR, 2)
NO_VECTOR = [0.0, 0.0]
"""What the column of a collection without embeddings holds."""

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
        full_text: Whether the backend can rank by words.
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
    )


def message_index(model: str, dimension: int, *, full_text: bool) -> Collection:
    """The collection in which an embedding model's vectors of messages are; arguments as of `passages`."""
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
    )


def _slug(model: str, dimension: int) -> str:
    readable = re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_")[:32]
    digest = hashlib.sha256(f"{model}\0{dimension}".encode()).hexdigest()[:8]
    return f"{readable}_{digest}"


def _searched(dimension: int, *, full_text: bool) -> tuple[Field, ...]:
    words = (Field(WORDS, FieldType.WORDS, MAX_VARCHAR_BYTES), Field(SPARSE, FieldType.SPARSE)) if full_text else ()
    return (Field("embedding", FieldType.VECTOR, dimension), *words)


def partition_of(tenant: str, owner: str) -> str:
    """Name of the partition that holds an owner's passages."""
    digest = hashlib.sha256(f"{tenant}\0{owner}".encode()).digest()
    return partition_name(int.from_bytes(digest[:4], "big") % PARTITIONS)


def partition_name(slot: int) -> str:
    """Name of a partition by its number."""
    return f"p{slot:02d}"
