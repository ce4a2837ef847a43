"""Where the vectors are in the responses of embedding endpoints, which have several shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FIELDS = (
    "result", "output", "response", "body", "data", "embeddings", "embedding", "results", "predictions",
    "embeddingsByType", "float", "vectors", "vector", "values", "dense_vecs",
)  # fmt: skip
"""Envelopes of gateways, then names of the vectors: OpenAI's, and what other servers send in its place."""

_OF_AN_ITEM = ("embedding", "embeddings", "vector", "values")
_MAX_DEPTH = 6


def items_in(response: object, depth: int = 0) -> list[Any] | None:
    """Return what a response has for each text, such as a vector or an object with one; None without any."""
    if isinstance(response, list):
        alone = response and isinstance(response[0], int | float)
        return [response] if alone else response
    if not isinstance(response, Mapping) or depth > _MAX_DEPTH:
        return None
    if depth and isinstance(response.get("embedding"), str):  # in base64
        return [response]
    for key in _FIELDS:
        if (found := items_in(response.get(key), depth + 1)) is not None:
            return found
    return next((value for value in response.values() if isinstance(value, list)), None) if depth else None


def embedding_in(item: object) -> object:
    """Return the vector of an item: numbers, perhaps in lists of lists, or text in base64."""
    if isinstance(item, Mapping):
        item = next((item[key] for key in _OF_AN_ITEM if key in item), None)
    if isinstance(item, Mapping):
        item = next(iter(item.values()), None)
    return item
