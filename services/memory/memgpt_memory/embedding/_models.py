"""Embedding models: their interface, the bundled model, and the choice of a model by the configuration."""

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
            query: Whether the texts are queries and not passages; some models embed the two differently.

        Returns:
            Unit vectors, ``(len(texts), dimension)``.

        Raises:
            Unavailable: The model cannot be reached.
            ResourceExhausted: The model's endpoint is rate limiting requests.
            FailedPrecondition: The vectors have another dimension, or the endpoint refuses the key or the model.
        """
        ...

    async def close(self) -> None:
        """Release the model's resources."""
        ...


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """An embedding model as the configuration names it.

    Attributes:
        model: Its name.
        dimension: Dimensions of its vectors.
        make: Creates the model; blocks until it is loaded.
    """

    model: str
    dimension: int
    make: Callable[[], Embedder]

    @property
    def name(self) -> tuple[str, int]:
        """The model's name and dimension, as a store records them."""
        return self.model, self.dimension


class Models:
    """The embedding models that the configuration names; each is created when it is needed.

    Attributes:
        configured: The one to use.
        target: Returns the model to move to, if any, as the configuration currently names it.
    """

    def __init__(
        self,
        configured: ModelChoice,
        target: Callable[[], ModelChoice | None],
        wrap: Callable[[Embedder], Embedder] = lambda embedder: embedder,
    ) -> None:
        """Keep the choices; `make` creates models, each wrapped by `wrap`."""
        self._wrap = wrap
        self.configured = configured
        self.target = target
        self._made: dict[ModelChoice, Embedder] = {}

    async def make(self, choice: ModelChoice) -> Embedder:
        """Create a model, which is open until `close`."""
        if choice not in self._made:
            self._made[choice] = self._wrap(await asyncio.to_thread(choice.make))
        return self._made[choice]

    async def close(self) -> None:
        """Close all models that were created."""
        while self._made:
            await self._made.popitem()[1].close()


class WordLlama:
    """The bundled model: static word vectors, averaged; no network, about a millisecond a text."""

    model = WORDLLAMA
    dimension = 256

    def __init__(self) -> None:
        """Load the model from its wheel."""
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
"""Steps of a vector's components between 0 and 1: an error of 0.0002 in a cosine.

With numbers that are multiples of 2^-11, products are multiples of 2^-22, and no sum of them in the inner product of
two unit vectors needs more than the 24 bits of single precision. So the inner product is exact, in whatever order it
is summed. Without that, its last bit changes with the neighboring rows (seen on Milvus Lite), and with it
the order of equal passages between two pages of one search.
"""


def unit_vectors(vectors: npt.NDArray[np.floating[Any]]) -> Vectors:
    """Scale vectors to length one, and round their components to steps in which inner products are exact.

    NaN and infinity become zero, since Milvus Lite would store them as they are.
    """
    exact = np.nan_to_num(vectors.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    norms = np.linalg.norm(exact, axis=1, keepdims=True)
    scaled = np.divide(exact, norms, out=np.zeros_like(exact), where=(norms > 0) & np.isfinite(norms))
    rounded: Vectors = (np.round(scaled * _STEPS) / _STEPS).astype(np.float32)
    return rounded
