"""The adapter for Milvus Lite, which runs in this process.

- `store`: the adapter.
- `opening`: opening a Lite file, and why it fails. `engine`: one open file, and `scan`: reading many of its rows.
- `private`: every use of what Lite does not publish.
- `index`: the index that searches use; `indexes` keeps it in step with the rows, and `matches` converts its hits.
- `checksums`: the detection of damage in its files; `repair` drops what is damaged.
- `disk`: the lock of the file and the room on its disk; `files`: its size and its snapshots.
"""
