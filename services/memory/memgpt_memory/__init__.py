"""Memory: the only service with state, and the only one that knows Milvus.

From the outside in:

- `rpc`: the servicers; they translate protobuf to the domain and back.
- `core`: the parts of Memory, put together. `service`: the process around them; `config`: its settings; `metrics`.
- `access`: tenants and API keys.
- `maintenance`: work on a whole store: backup, restore, erasure, migrations, re-embedding, export and import.
- `turns`: one turn at a time for each agent, under a lease; undo, retry and edits.
- `archival` and `recall`: search and listing of passages and of messages.
- `agents`: the agent as an aggregate, and the commands that change it.
- `sources`: documents, their files and versions, and the records of loads.
- `blocks`: the rules of edits of core memory, and the blocks that several agents share.
- `ranking`: the ranking of search results, and their pages.
- `passages` and `messages`: the rows that are searched and read.
- `quotas`: what each tenant may store and use, and the checks before work is done.
- `embedding` and `fulltext`: texts to vectors, and to words.
- `records`: small rows by key, unique names, idempotency, the journal of unfinished work.
- `store`: the port to Milvus, and its adapters.
- `clock`: the order of commits. `restrictions`: what a restricted key sees. `tasks`, `object_cache`, `shared_reads`,
  `list_pages`: small parts that several packages use.

A module whose name begins with an underscore is private to its package. import-linter checks the order of the layers.
"""

import os

# numpy reads this at import. Searches run in threads of their own, and OpenBLAS's threads would wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
