"""The adapter for Milvus Lite, which runs in this process.

- `store`: the adapter.
- `engine`: one open Lite file; `private` has every use of what Lite does not publish.
- `index`: the index that searches use.
- `checksums`: the detection of damage in its files.
- `disk`: the lock of the file and the room on its disk; `files`: its size and its snapshots.
"""
