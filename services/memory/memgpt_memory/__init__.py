"""Memory: owns every Milvus collection, and with them all the state of the suite.

From the outside in:

- `servicers`: the RPC surface; protobuf to domain and back, no more.
- `agents`, `commits`, `turns`, `sources`, `archive`, `recall`, `ranking`, `profiles`: the domain. It knows neither
  gRPC nor Milvus.
- `records`: versioned documents and small rows by key, on which the domain keeps its state.
- `store`: typed rows in fixed collections; only its adapters know Milvus.
- `embedding`: texts to vectors; the bundled model or an OpenAI-compatible endpoint.
"""

import os

# Read when numpy is imported. Searches run in threads of their own, and OpenBLAS's would wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
