"""Files of Milvus Lite 2.4, which later versions cannot open: SQLite databases whose rows are serialized messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError
from memgpt.cli.errors import CliError
from memgpt.cli.imports.bounded import parse_json
from memgpt.cli.imports.sqlite_database import Database, Row

_SCHEMA = """
name: "memgpt/imports/milvus_lite.proto" package: "lite" syntax: "proto3"
message_type {
  name: "Strings"
  field { name: "data" number: 1 type: TYPE_STRING label: LABEL_REPEATED }
}
message_type {
  name: "Bytes"
  field { name: "data" number: 1 type: TYPE_BYTES label: LABEL_REPEATED }
}
message_type {
  name: "Scalars"
  field { name: "string_data" number: 6 type: TYPE_MESSAGE type_name: ".lite.Strings" label: LABEL_OPTIONAL }
  field { name: "json_data" number: 9 type: TYPE_MESSAGE type_name: ".lite.Bytes" label: LABEL_OPTIONAL }
}
message_type {
  name: "Field"
  field { name: "name" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "scalars" number: 3 type: TYPE_MESSAGE type_name: ".lite.Scalars" label: LABEL_OPTIONAL }
}
message_type {
  name: "Row"
  field { name: "fields" number: 1 type: TYPE_MESSAGE type_name: ".lite.Field" label: LABEL_REPEATED }
}
"""
"""What is read of Milvus's ``schema.proto``. Vectors are not."""


def _row_type() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("lite.Row"))


StoredRow = _row_type()
"""Class of a stored row."""


def lite_rows(database: Database, collection: str) -> Iterator[Row]:
    """Yield the rows of a collection in the order of insertion, with their text and dynamic fields.

    Raises:
        CliError: A row is damaged.
    """
    for number, stored in enumerate(database.rows(collection, ("data",), order=("rowid",), as_bytes=True), 1):
        place = f"{database.name}, {collection}, row {number}"
        try:
            fields = StoredRow.FromString(stored["data"]).fields
        except (DecodeError, TypeError) as error:
            raise CliError(f"{place} is damaged") from error
        row: Row = {}
        for field in fields:
            if field.name == "$meta":
                extra = parse_json(b"".join(field.scalars.json_data.data[:1]), place)
                row |= extra if isinstance(extra, dict) else {}
            elif field.scalars.HasField("string_data"):
                row[field.name] = "".join(field.scalars.string_data.data[:1])
        yield row
