"""Work on a whole store: identity, migrations, backup and restore, erasure, re-embedding, export and import.

Restoring needs no Milvus, whose import takes seconds: import the modules, this package imports none of them.
"""
