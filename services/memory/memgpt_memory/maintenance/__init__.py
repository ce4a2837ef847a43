"""Work on a whole store: identity, migrations, backup and restore, erasure, re-embedding, export and import.

Import the modules directly: this package imports none of them, since restoring does not need Milvus, whose import
takes seconds.
"""
