"""The adapter for a Milvus server.

- `store`: the adapter. `collections`: schemas and indexes. `reads`: the options of a read.
- `consistency`: the writes that a read waits for.
"""
