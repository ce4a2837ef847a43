"""Texts to vectors, by the bundled model or an OpenAI-compatible endpoint; only this module knows their libraries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import structlog
from memgpt_runtime.errors import DeadlineExceeded, FailedPrecondition, Reason, ResourceExhausted, Unavailable

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Vectors = npt.NDArray[np.float32]
_log = structlog.get_logger(__name__)

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

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Embeds texts.

        Returns:
            Unit vectors, ``(len(texts), dimension)``.

        Raises:
            Unavailable: The model cannot be reached.
            ResourceExhausted: The model's endpoint wants fewer calls.
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
        import wordllama

        self._model = wordllama.WordLlama.load(
            cache_dir=Path(wordllama.__file__).parent, disable_download=True, dim=self.dimension
        )

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`."""
        if len(texts) == 1:  # quicker than a thread
            return self._embed(texts)
        return await asyncio.to_thread(self._embed, texts)

    async def close(self) -> None:
        """See `Embedder.close`."""

    def _embed(self, texts: Sequence[str]) -> Vectors:
        return unit_vectors(np.asarray(self._model.embed(list(texts), norm=True), dtype=np.float32))


class OpenAIEmbedder:
    """Any endpoint that speaks OpenAI's embeddings protocol."""

    batch = 128

    def __init__(
        self,
        model: str,
        dimension: int,
        *,
        base_url: str | None,
        api_key: str,
        timeout: float,
        send_dimension: bool = False,
        keys: str = "memory.embedding",
    ) -> None:
        """Prepares a client; nothing is sent yet.

        Args:
            model: The name sent to the endpoint.
            dimension: Dimensions of its vectors.
            base_url: Where; None for OpenAI's own.
            api_key: Sent as a bearer token.
            timeout: Seconds that one call may take.
            send_dimension: Ask the endpoint for this dimension; not every endpoint knows the field.
            keys: How the settings begin that name it, for messages.
        """
        self.model = model
        self.dimension = dimension
        self._send_dimension = send_dimension
        self._keys = keys
        self._base_url = base_url
        self._api_key = api_key
        self._timeout = timeout
        self._client: AsyncOpenAI | None = None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See `Embedder.embed`."""
        batches = [texts[start : start + self.batch] for start in range(0, len(texts), self.batch)]
        return np.concatenate([await self._embed(batch) for batch in batches])

    async def close(self) -> None:
        """See `Embedder.close`."""
        if self._client is not None:
            await self._client.close()

    async def _embed(self, texts: Sequence[str]) -> Vectors:
        import openai

        if self._client is None:
            self._client = openai.AsyncOpenAI(
                base_url=self._base_url, api_key=self._api_key or "none", timeout=self._timeout, max_retries=0
            )
        where = f"The embedding endpoint ({self._base_url or 'OpenAI'})"
        try:
            if self._send_dimension:
                answer = await self._client.embeddings.create(
                    model=self.model, input=list(texts), encoding_format="float", dimensions=self.dimension
                )
            else:
                answer = await self._client.embeddings.create(
                    model=self.model, input=list(texts), encoding_format="float"
                )
        except openai.APITimeoutError as error:
            raise DeadlineExceeded(
                Reason.DEADLINE_EXCEEDED, f"{where} did not answer in {self._timeout:g} s."
            ) from error
        except openai.RateLimitError as error:
            raise ResourceExhausted(
                Reason.MODEL_RATE_LIMITED,
                f"{where} wants fewer calls; try again later.",
                retry_after=_retry_after(error.response.headers.get("retry-after", "")),
            ) from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise FailedPrecondition(
                Reason.MODEL_UNUSABLE, f"{where} refuses the key: set {self._keys}_api_key."
            ) from error
        except (openai.NotFoundError, openai.BadRequestError, openai.UnprocessableEntityError) as error:
            _log.warning("embedding_refused", error=str(error)[:500])
            raise FailedPrecondition(
                Reason.MODEL_UNUSABLE,
                f"{where} refuses the request: check {self._keys}_model ({self.model}) and {self._keys}_base_url.",
            ) from error
        except openai.APIError as error:
            raise Unavailable(Reason.EMBEDDING_UNAVAILABLE, f"{where} cannot be reached; try again.") from error
        except (ValueError, TypeError, AttributeError) as error:  # it is no JSON, or none of an answer's shape
            raise self._nonsense(where, error) from error
        try:
            items = sorted(answer.data or [], key=lambda item: item.index)
            vectors = [np.asarray(item.embedding, dtype=np.float64) for item in items]
        except (ValueError, TypeError, AttributeError) as error:
            raise self._nonsense(where, error) from error
        if len(vectors) != len(texts) or any(vector.ndim != 1 for vector in vectors):
            raise self._nonsense(where, f"{len(vectors)} vectors for {len(texts)} texts")
        wrong = {len(vector) for vector in vectors} - {self.dimension}
        if wrong:
            raise FailedPrecondition(
                Reason.EMBEDDING_MISMATCH,
                f"{where} answers vectors of {wrong.pop()} dimensions, but {self._keys}_dimension is "
                f"{self.dimension}: "
                "set it to what the model gives, for a new store, or choose the model that the store was made with.",
                metadata={"model": self.model, "dimension": self.dimension},
            )
        return unit_vectors(np.stack(vectors))

    def _nonsense(self, where: str, what: object) -> Unavailable:
        _log.warning("embedding_answer_unusable", problem=str(what)[:500])
        return Unavailable(
            Reason.EMBEDDING_UNAVAILABLE,
            f"{where} answers something else than one vector for each text; check {self._keys}_base_url.",
        )


def _retry_after(header: str) -> float:
    """Seconds to wait; the endpoint's own wish where it is a number."""
    return min(float(header), 600.0) if header.replace(".", "", 1).isdecimal() and header.isascii() else 5.0


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
