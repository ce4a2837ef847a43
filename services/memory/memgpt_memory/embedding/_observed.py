"""Times and spans of an embedding model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from memgpt_runtime import tracing

from memgpt_memory.embedding._models import WORDLLAMA, Embedder, Vectors

ObserveEmbedding = Callable[[str, float], None]
"""Called with the kind of the texts, ``query`` or ``passage``, and the duration in seconds of every call."""


class ObservedEmbedder:
    """An embedding model whose calls are timed and recorded."""

    def __init__(self, embedder: Embedder, observe: ObserveEmbedding) -> None:
        """Wrap a model."""
        self.model, self.dimension = embedder.model, embedder.dimension
        self._embedder = embedder
        self._observe = observe
        self._attributes: tracing.Attributes = {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": "memgpt" if self.model == WORDLLAMA else "openai",
            "gen_ai.request.model": self.model,
            "gen_ai.embeddings.dimension.count": self.dimension,
        }

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """See `Embedder.embed`."""
        began = time.perf_counter()
        with tracing.span(f"embeddings {self.model}", self._attributes, "client") as span:
            span.set({"memgpt.embeddings.texts": len(texts)})
            vectors = await self._embedder.embed(texts, query=query)
        self._observe("query" if query else "passage", time.perf_counter() - began)
        return vectors

    async def close(self) -> None:
        """See `Embedder.close`."""
        await self._embedder.close()
