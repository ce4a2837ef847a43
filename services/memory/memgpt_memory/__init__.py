"""Memory: owns every Milvus collection, and with them all the state of the suite.

From the outside in:

- `servicers`: the RPC surface; protobuf to domain and back, no more.
- `agents`, `commits`, `turns`, `sources`, `archive`, `recall`, `ranking`, `profiles`: the domain. It knows neither
  gRPC nor Milvus.
- `records`: versioned documents and small rows by key, on which the domain keeps its state.
- `store`: collections, filters, batching and locks; `store.milvus` is the only module that imports pymilvus.
- `embedding`: texts to vectors; the bundled model or an OpenAI-compatible endpoint.
"""
