"""The collections on a server: schemas, indexes and partitions."""

from __future__ import annotations

import pymilvus
from pymilvus import MilvusClient

from memgpt_memory.store.layout import BM25, PARTITIONS, SPARSE, WORDS, Collection, FieldType, partition_name


def prepare(client: MilvusClient, collection: Collection, timeout: float) -> None:
    """Create what is missing of a collection, and load it. A crash may have come between any two calls."""
    name = collection.name
    if not client.has_collection(name, timeout=timeout):
        schema = _schema(client, collection)
        client.create_collection(name, schema=schema, timeout=max(timeout, 30.0), num_shards=1)
    # FLAT is exact and keeps ties in order; approximate indexes cause duplicates and gaps between pages.
    _prepare_index(client, name, collection.vector, timeout, index_type="FLAT", metric_type="IP")
    if collection.full_text:
        # The other algorithms bound the score of a word as if texts were short, and lose matches among long ones.
        parameters = {**BM25, "inverted_index_algo": "TAAT_NAIVE"}
        kind = {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "BM25", "params": parameters}
        _prepare_index(client, name, SPARSE, timeout, **kind)
    if collection.partitioned:
        existing = set(client.list_partitions(name, timeout=timeout))
        for partition in map(partition_name, range(PARTITIONS)):
            if partition not in existing:
                client.create_partition(name, partition, timeout=timeout)
    client.load_collection(name, timeout=max(timeout, 120.0))


def _prepare_index(client: MilvusClient, name: str, column: str, timeout: float, **kind: object) -> None:
    if not client.list_indexes(name, field_name=column, timeout=timeout):
        index = client.prepare_index_params()
        index.add_index(column, **kind)
        client.create_index(name, index, timeout=max(timeout, 30.0))


def _schema(client: MilvusClient, collection: Collection) -> pymilvus.CollectionSchema:
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    types = pymilvus.DataType
    for field in collection.fields:
        match field.type:
            case FieldType.TEXT:
                key = field.name == collection.key
                schema.add_field(field.name, types.VARCHAR, is_primary=key, max_length=field.size)
            case FieldType.WORDS:
                # The words are separated by spaces already (see `fulltext`): the simplest analyzer suffices.
                analyzer = {"tokenizer": "standard"}
                schema.add_field(
                    field.name, types.VARCHAR, max_length=field.size, enable_analyzer=True, analyzer_params=analyzer
                )
            case FieldType.SPARSE:
                schema.add_field(field.name, types.SPARSE_FLOAT_VECTOR)
            case FieldType.INTEGER:
                schema.add_field(field.name, types.INT64)
            case FieldType.VECTOR:
                schema.add_field(field.name, types.FLOAT_VECTOR, dim=field.size)
    if collection.full_text:
        bm25 = pymilvus.FunctionType.BM25
        schema.add_function(pymilvus.Function("bm25", bm25, input_field_names=[WORDS], output_field_names=[SPARSE]))
    return schema
