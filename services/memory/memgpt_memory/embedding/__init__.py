"""Embedding models: texts to unit vectors, by the bundled model or an OpenAI-compatible endpoint."""

from __future__ import annotations

from memgpt_memory.embedding._endpoint import EmbeddingEndpointSettings, OpenAIEmbedder
from memgpt_memory.embedding._models import (
    WORDLLAMA,
    Embedder,
    ModelChoice,
    Models,
    Vectors,
    WordLlama,
    unit_vectors,
)
from memgpt_memory.embedding._observed import ObservedEmbedder

__all__ = [
    "WORDLLAMA",
    "Embedder",
    "EmbeddingEndpointSettings",
    "ModelChoice",
    "Models",
    "ObservedEmbedder",
    "OpenAIEmbedder",
    "Vectors",
    "WordLlama",
    "unit_vectors",
]
