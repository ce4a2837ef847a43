"""Archival memory of MemGPT 0.2 and 0.3 in the stores that it could be kept in.

Embeddings are not read: notes are embedded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter

from memgpt.cli.errors import CliError
from memgpt.cli.imports.sqlite_database import Database, Row

COLUMNS = ("id", "text", "agent_id", "data_source", "doc_id", "created_at")
"""What is read of a row; all stores have some of it."""

_EMBEDDING = frozenset({"embedding", "embedding_dim", "embedding_model"})
_DOCUMENT = "chroma:document"
_VALUES = ("string_value", "int_value", "float_value", "bool_value")

_MILVUS_SECONDS = 30.0
_MILVUS_ROWS = 500


def sql_rows(database: Database, table: str) -> Iterator[Row]:
    """Yield the rows of a SQL table, oldest first."""
    yield from database.rows(table, COLUMNS, order=("created_at", "rowid"))


def chroma_rows(database: Database, collection: str) -> Iterator[Row]:
    """Yield the rows of a collection in ``chroma.sqlite3``, in the order of insertion."""
    for found in database.rows("collections", ("id",), where={"name": collection}):
        for segment in database.rows("segments", ("id",), where={"collection": found["id"], "scope": "METADATA"}):
            embeddings = database.rows("embeddings", ("id", "embedding_id"), where={"segment_id": segment["id"]})
            ids = {each["id"]: each["embedding_id"] for each in embeddings}
            fields = database.rows("embedding_metadata", ("id", "key", *_VALUES), order=("id",))
            for number, group in groupby(fields, key=itemgetter("id")):
                if number in ids:
                    yield {"id": ids[number], **_merged(group)}


def _merged(fields: Iterable[Row]) -> Row:
    row: Row = {}
    for field in fields:
        value = next((field[column] for column in _VALUES if field[column] is not None), None)
        row["text" if field["key"] == _DOCUMENT else field["key"]] = value
    return row


def milvus_rows(uri: str, token: str, collection: str) -> Iterator[Row]:
    """Yield the rows of a collection in Milvus.

    Args:
        uri: The server, as the user gave it: never an address from a file.
        token: Credentials; empty for none.
        collection: Name of the collection.

    Raises:
        CliError: pymilvus is not installed, or the server cannot be read.
    """
    try:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException
    except ImportError as error:
        raise CliError("to read from Milvus, pymilvus is needed; install memgpt-milvus-memory") from error
    try:
        client = MilvusClient(uri=uri, token=token, timeout=_MILVUS_SECONDS)
        try:
            if not client.has_collection(collection):
                return
            client.load_collection(collection)
            # Lite sorts by key only for iterators, and a server of 2.3 shows these nothing of the last seconds.
            options = {} if "://" in uri else {"iterator": "True"}
            last = ""
            while batch := client.query(
                collection,
                filter=f'id > "{_escaped(last)}"',
                output_fields=["id", "text", "$meta"],
                limit=_MILVUS_ROWS,
                consistency_level="Strong",
                **options,
            ):
                yield from (_without_embedding(row) for row in batch)
                last = max(row["id"] for row in batch)
        finally:
            client.close()
    except MilvusException as error:
        raise CliError(f"{uri}: collection {collection} cannot be read: {error.message}") from error


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _without_embedding(row: Row) -> Row:
    extra = row.get("$meta")
    merged = {**row, **extra} if isinstance(extra, dict) else dict(row)
    return {key: value for key, value in merged.items() if key not in _EMBEDDING and key != "$meta"}
