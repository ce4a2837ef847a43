"""Parsing of the vectors in the responses of embedding endpoints."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from memgpt.endpoints.embeddings import embedding_in, items_in

Numbers = npt.NDArray[np.float64]


class UnusableResponseError(Exception):
    """A response without one usable vector for each text. The message says what is wrong with it."""


def vectors_in(response: object, count: int) -> list[Numbers]:
    """Return the vectors of ``count`` texts, in the order of the texts.

    Raises:
        UnusableResponseError: There is not one finite vector for each text.
    """
    items = items_in(response)
    if items is None:
        raise UnusableResponseError("returned no vectors")
    if len(items) != count:
        raise UnusableResponseError(f"returned {len(items)} vectors for {count} texts")
    return [_vector(embedding_in(item)) for item in _in_order(items)]


def _in_order(items: Sequence[Any]) -> Sequence[Any]:
    """Return the items in order of index, or as they came if they have no distinct indexes."""
    indices = [_index(item) for item in items]
    if len(set(indices)) == 1:
        return items
    if indices.count(None) == 1:  # some servers leave out what is zero
        indices[indices.index(None)] = 0
    known = [index for index in indices if index is not None]
    if sorted(known) not in (list(range(len(items))), list(range(1, len(items) + 1))):
        raise UnusableResponseError("returned vectors whose indices are missing or repeated")
    return [item for _, item in sorted(zip(known, items, strict=True), key=lambda pair: pair[0])]


def _index(item: object) -> int | None:
    if not isinstance(item, Mapping):
        return None
    index = item.get("index", item.get("text_index"))
    try:
        return int(index) if index is not None and float(index).is_integer() else None
    except (TypeError, ValueError, OverflowError):
        return None


def _vector(value: object) -> Numbers:
    if isinstance(value, str):
        value = _from_base64(value)
    try:
        vector: Numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UnusableResponseError("returned something other than numbers") from None
    if vector.ndim == 2 and len(vector) == 1:
        vector = vector[0]
    if vector.ndim == 2:
        raise UnusableResponseError("returned a vector for each token; start the server with mean pooling")
    if vector.ndim != 1 or not len(vector):
        raise UnusableResponseError("returned something other than a vector for each text")
    if not np.isfinite(vector).all():
        raise UnusableResponseError("returned a vector with NaN or infinite numbers")
    return vector


def _from_base64(text: str) -> object:
    """Return the numbers in base64, which may have line breaks and no padding, or in JSON."""
    plain = "".join(text.split())
    try:
        if plain.startswith("["):
            return json.loads(plain)
        return np.frombuffer(base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True), dtype="<f4")
    except (binascii.Error, ValueError, RecursionError):
        raise UnusableResponseError("returned a vector that is not base64") from None
