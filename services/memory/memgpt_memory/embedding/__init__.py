"""Embedding models: texts to unit vectors, by the bundled model, a local transformer or an endpoint."""

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
from memgpt_memory.embedding._transformer import load_transformer
from memgpt_memory.embedding._transformer_folder import UnusableFolderError

__all__ = [
    "WORDLLAMA",
    "Embedder",
    "EmbeddingEndpointSettings",
    "ModelChoice",
    "Models",
    "ObservedEmbedder",
    "OpenAIEmbedder",
    "UnusableFolderError",
    "Vectors",
    "WordLlama",
    "load_transformer",
    "unit_vectors",
]
