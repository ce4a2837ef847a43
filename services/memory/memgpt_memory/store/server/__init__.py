"""The adapter for a Milvus server.

- `store`: the adapter. `collections`: schemas and indexes. `reads`: what a read asks for.
- `consistency`: what a read waits for.
"""
