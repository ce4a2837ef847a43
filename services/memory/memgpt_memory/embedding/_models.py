"""Texts to vectors, by the bundled model or an OpenAI-compatible endpoint; only this module knows their libraries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

WORDLLAMA = "wordllama-l2-256"
"""Name of the bundled model: wordllama's l2_supercat at 256 dimensions, which is in its wheel."""


class Embedder(Protocol):
    """An embedding model.

    Attributes:
        model: Its name, stored with the vectors.
        dimension: Dimensions of its vectors.
    """

    model: str
    dimension: int

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """Embed texts.

        Args:
            texts: The texts.
            query: Whether they are searched with, as against searched; some models embed the two differently.

        Returns:
            Unit vectors, ``(len(texts), dimension)``.

        Raises:
            Unavailable: The model cannot be reached.
            ResourceExhausted: The model's endpoint is rate limiting requests.
            FailedPrecondition: It answers vectors of another dimension, or refuses the key or the model's name.
        """
        ...

    async def close(self) -> None:
        """Frees what it holds."""
        ...


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """An embedding model as the configuration names it.

    Attributes:
        model: Its name.
        dimension: Dimensions of its vectors.
        make: Makes it; blocks for as long as loading takes.
    """

    model: str
    dimension: int
    make: Callable[[], Embedder]

    @property
    def name(self) -> tuple[str, int]:
        """What a store remembers of it."""
        return self.model, self.dimension


class Models:
    """The embedding models that the configuration names; each is made when it is needed.

    Attributes:
        configured: The one to use.
        target: Answers the one to move to, if any, as the configuration names it now.
    """

    def __init__(self, configured: ModelChoice, target: Callable[[], ModelChoice | None]) -> None:
        """Makes nothing yet."""
        self.configured = configured
        self.target = target
        self._made: dict[ModelChoice, Embedder] = {}

    async def make(self, choice: ModelChoice) -> Embedder:
        """Makes a model; it lives until `close`."""
        if choice not in self._made:
            self._made[choice] = await asyncio.to_thread(choice.make)
        return self._made[choice]

    async def close(self) -> None:
        """Closes what was made."""
        while self._made:
            await self._made.popitem()[1].close()


class WordLlama:
    """The bundled model: static word vectors, averaged; no network, about a millisecond a text."""

    model = WORDLLAMA
    dimension = 256

    def __init__(self) -> None:
        """Loads the model from its wheel."""
        from memgpt_memory.embedding._static_vectors import StaticVectors

        self._vectors = StaticVectors()

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """See `Embedder.embed`."""
        if len(texts) == 1:  # quicker than a thread
            return self._embed(texts)
        return await asyncio.to_thread(self._embed, texts)

    async def close(self) -> None:
        """See `Embedder.close`."""

    def _embed(self, texts: Sequence[str]) -> Vectors:
        return unit_vectors(self._vectors.embed(texts))


_STEPS = 2_048
"""Steps of a vector's numbers between 0 and 1: an error of 0.0002 in a cosine.

With numbers that are multiples of 2^-11, products are multiples of 2^-22, and no sum of them in the inner product of
two unit vectors needs more than the 24 bits of single precision. So the inner product is exact, in whatever order it
is summed. Without that, its last bit changes with the rows that lie beside a row (seen on Milvus Lite), and with it
the order of equal passages between two pages of one search.
"""


def unit_vectors(vectors: npt.NDArray[np.floating[Any]]) -> Vectors:
    """Scales vectors to length one, and rounds their numbers to steps in which inner products are exact.

    What is not a number becomes zero: Milvus Lite would take it as it is.
    """
    exact = np.nan_to_num(vectors.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    norms = np.linalg.norm(exact, axis=1, keepdims=True)
    scaled = np.divide(exact, norms, out=np.zeros_like(exact), where=(norms > 0) & np.isfinite(norms))
    rounded: Vectors = (np.round(scaled * _STEPS) / _STEPS).astype(np.float32)
    return rounded
