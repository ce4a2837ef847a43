"""Embedding models at OpenAI-compatible endpoints; only this module uses the client library."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import structlog
from cachetools import LRUCache
from memgpt.endpoints.address import parse_address
from memgpt.endpoints.refusals import Meaning, Refusal, error_in, understand
from memgpt_runtime import context, reasons, tracing
from memgpt_runtime.errors import ServiceError
from memgpt_runtime.retry import RetryPolicy

from memgpt_memory.embedding._models import Vectors, unit_vectors
from memgpt_memory.embedding._vectors import Numbers, UnusableResponseError, vectors_in

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_log = structlog.get_logger(__name__)

_CONNECT_SECONDS = 5.0
_SHORTEST = 64
"""Characters of a text that is not split further."""

_SPLITTABLE = (Meaning.TOO_LONG, Meaning.REFUSED, Meaning.OUTPUT_LIMIT)
_NUMBER = re.compile(r"\d{1,6}")
_INPUT_TYPES = (
    ("search_document", ("search_query", "search_document")),
    ("document", ("query", "document")),
    ("", ("query", "passage")),
)
"""Words of a refusal that demands an ``input_type``, and the types to send then for queries and for passages."""

_DEFAULT_RETRY_AFTER = 5.0
_RATE_LIMIT_SECONDS = 5.0
"""Most seconds for which a call waits for an endpoint that is rate limiting requests; the caller may wait longer."""

_FIRST_PAUSE = 0.1
_INTERRUPTED = 8
"""Most failed calls whose vectors so far are kept for a retry."""

_BLANK = "."
"""Sent in place of a blank text, which endpoints refuse."""


@dataclass(frozen=True, slots=True)
class EmbeddingEndpointSettings:
    """The endpoint of an embedding model, and the options of its requests.

    Attributes:
        model: Name sent to the endpoint.
        dimension: Dimensions of its vectors.
        base_url: The endpoint's address; empty for OpenAI's.
        api_key: Its key; empty for none.
        timeout: Seconds that one call may take.
        send_dimension: Whether to ask for ``dimension``.
        batch: Maximum number of texts of one request; fewer are sent where the endpoint refuses so many.
        headers: Further headers of every request; values may be secret.
        query: Further query parameters of every request.
        keys: Prefix of the settings that name the model, for error messages.
    """

    model: str
    dimension: int
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    timeout: float = 30.0
    send_dimension: bool = False
    batch: int = 128
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    keys: str = "memory.embedding"


class _RefusedError(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.meaning.value)
        self.refusal = refusal
        self.retry_after = refusal.retry_after


def _is_rate_limit(error: Exception) -> bool:
    return isinstance(error, _RefusedError) and error.refusal.meaning is Meaning.RATE_LIMITED


def _rate_limit_policy() -> RetryPolicy:
    """Return the policy for the rate limits of one call, which leaves half of the call's time."""
    remaining = context.remaining(_RATE_LIMIT_SECONDS * 2) or 0.0
    return RetryPolicy(seconds=min(_RATE_LIMIT_SECONDS, remaining / 2), retryable=_is_rate_limit, initial=_FIRST_PAUSE)


class OpenAIEmbedder:
    """Any endpoint that speaks OpenAI's embeddings protocol."""

    def __init__(self, settings: EmbeddingEndpointSettings) -> None:
        """Prepare a client, which connects with its first request."""
        self.model = settings.model
        self.dimension = settings.dimension
        self.batch = settings.batch
        self._settings = settings
        self._address = parse_address(settings.base_url, settings.headers, settings.query)
        self._paths = ["/embeddings"] + ([] if self._address.versioned else ["/v1/embeddings"])
        self._options: dict[str, object] = {"encoding_format": "float"}
        if settings.send_dimension:
            self._options["dimensions"] = settings.dimension
        self._input_types: tuple[str, str] | None = None
        self._client: AsyncOpenAI | None = None
        self._fitting = 0
        self._interrupted: LRUCache[bytes, list[Numbers]] = LRUCache(_INTERRUPTED)

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """See `Embedder.embed`.

        A call that is repeated after an error continues where that one ended.
        """
        key = _digest(texts, query)
        vectors: list[Numbers] = self._interrupted.pop(key, [])
        policy = _rate_limit_policy()
        try:
            while len(vectors) < len(texts):
                vectors += await self._next(texts[len(vectors) : len(vectors) + self.batch], query, policy)
        except ServiceError:
            if vectors:
                self._interrupted[key] = vectors
            raise
        return unit_vectors(np.stack(vectors)) if vectors else np.zeros((0, self.dimension), dtype=np.float32)

    async def close(self) -> None:
        """See `Embedder.close`."""
        if self._client is not None:
            await self._client.close()

    async def _next(self, texts: Sequence[str], query: bool, policy: RetryPolicy) -> list[Numbers]:
        """Return the vectors of a batch; none if later batches are to be smaller."""
        batch = [text if text.strip() else _BLANK for text in texts]
        try:
            return await self._adapted(batch, query, policy)
        except _RefusedError as error:
            if error.refusal.meaning not in _SPLITTABLE:
                raise self._error(error.refusal) from error
            if len(batch) == 1:
                self.batch, self._fitting = max(self.batch, self._fitting), 0
                return [await self._in_parts(batch[0], query, error.refusal, policy)]
            if error.refusal.meaning is not Meaning.TOO_LONG:
                self._fitting = 0
            elif not self._fitting:
                self._fitting = self.batch  # perhaps for one long text only
            self.batch = _fewer(len(batch), error.refusal.text)
            _log.info("embedding_batch_reduced", batch=self.batch, quote=error.refusal.quote)
            return []

    async def _in_parts(self, text: str, query: bool, refusal: Refusal, policy: RetryPolicy) -> Numbers:
        """Return the vector of a text that is too long: the mean of the vectors of its halves."""
        if len(text) <= _SHORTEST or refusal.meaning is not Meaning.TOO_LONG:
            raise self._error(refusal)
        _log.info("embedding_input_split", characters=len(text), quote=refusal.quote)
        middle = len(text) // 2
        parts: list[Numbers] = []
        for part in (text[:middle], text[middle:]):
            try:
                parts += await self._adapted([part if part.strip() else _BLANK], query, policy)
            except _RefusedError as error:
                parts.append(await self._in_parts(part, query, error.refusal, policy))
        mean: Numbers = np.mean(unit_vectors(np.stack(parts)).astype(np.float64), axis=0)
        return mean

    async def _adapted(self, texts: Sequence[str], query: bool, policy: RetryPolicy) -> list[Numbers]:
        """Return the vectors of one request, retried after a rate limit and without the options that are refused."""
        while True:
            form = self._form
            try:
                return await self._request(texts, query)
            except _RefusedError as error:
                if form != self._form:
                    continue  # another call has adapted the form of requests
                if pause := policy(error):
                    await asyncio.sleep(pause)
                    continue
                if not self._adapt(error.refusal):
                    raise
                _log.info("embedding_request_adapted", quote=error.refusal.quote)

    @property
    def _form(self) -> tuple[str, frozenset[str], tuple[str, str] | None]:
        """What `_adapt` changes: the path, the options, and the types of inputs."""
        return self._paths[0], frozenset(self._options), self._input_types

    def _adapt(self, refusal: Refusal) -> bool:
        """Change the option that a refusal names; return False if it names none that can be changed."""
        text = refusal.text
        if refusal.status == 404 and len(self._paths) > 1 and "model" not in text.lower():
            self._paths.pop(0)
            return True
        if self._input_types is None and "input_type" in text:
            self._input_types = next(types for word, types in _INPUT_TYPES if word in text)
            return True
        named = next((option for option in self._options if option in text), "")
        if named and "dimensions" not in named:
            del self._options[named]
            return True
        return False

    async def _request(self, texts: Sequence[str], query: bool) -> list[Numbers]:
        import openai

        if self._client is None:
            self._client = openai.AsyncOpenAI(
                base_url=self._address.base_url,
                api_key=self._settings.api_key or "none",
                timeout=openai.Timeout(self._settings.timeout, connect=min(_CONNECT_SECONDS, self._settings.timeout)),
                max_retries=0,
                default_headers=dict(self._address.headers),
                default_query=dict(self._address.query),
            )
        body: dict[str, object] = {"model": self.model, "input": list(texts), **self._options}
        if self._input_types is not None:
            body["input_type"] = self._input_types[0 if query else 1]
        headers: dict[str, str | openai.Omit] = {**tracing.outgoing_metadata(internal=False)}
        if self._settings.api_key and self._address.key_header != "Authorization":
            headers |= {**self._address.credential(self._settings.api_key), "Authorization": openai.Omit()}
        try:
            response = await self._client.post(
                self._paths[0], body=body, cast_to=object, options={"headers": headers, "follow_redirects": False}
            )
        except openai.APITimeoutError as error:
            raise reasons.deadline_exceeded(
                f"{self._where} did not respond in {self._settings.timeout:g} s; check that it runs, and"
                f" {self._settings.keys}_base_url",
                limit_seconds=self._settings.timeout,
            ) from error
        except openai.APIStatusError as error:
            names = {name.lower(): value for name, value in error.response.headers.items()}
            raise _RefusedError(self._understood(error.status_code, error.body or error.response.text, names)) from None
        except openai.APIError as error:
            raise _RefusedError(Refusal(Meaning.UNAVAILABLE)) from error
        except ValueError:
            raise _RefusedError(Refusal(Meaning.NOT_AN_ENDPOINT, 200)) from None
        return self._read(response, len(texts))

    def _read(self, response: object, count: int) -> list[Numbers]:
        if (problem := error_in(response)) is not None:
            raise _RefusedError(self._understood(200, problem, {}))
        if isinstance(response, str | bytes):
            meaning = Refusal(Meaning.NOT_AN_ENDPOINT, 200, "", self._understood(200, response, {}).quote)
            raise _RefusedError(meaning)
        try:
            vectors = vectors_in(response, count)
        except UnusableResponseError as error:
            _log.warning("embedding_response_unusable", endpoint=self._address.shown, problem=str(error))
            raise reasons.embedding_unavailable(
                f"{self._where} {error}; check {self._settings.keys}_base_url", model=self.model
            ) from error
        given = next((len(vector) for vector in vectors if len(vector) != self.dimension), None)
        if given is not None:
            raise reasons.embedding_mismatch(
                f"{self._where} returned vectors of {given} dimensions, but {self._settings.keys}_dimension is"
                f" {self.dimension}; set it to that number for a new store, or choose the model that the"
                " store was made with",
                stored_model=self.model,
                stored_dimension=self.dimension,
                model=self.model,
                dimension=given,
            )
        return vectors

    @property
    def _where(self) -> str:
        return f"the embedding endpoint {self._address.shown}"

    def _understood(self, status: int, body: object, headers: Mapping[str, str]) -> Refusal:
        secrets = [self._settings.api_key, *self._address.headers.values(), *self._address.query.values()]
        return understand(status, body, headers, secrets=secrets)

    def _error(self, refusal: Refusal) -> ServiceError:
        _log.warning(
            "embedding_call_failed", endpoint=self._address.shown, meaning=refusal.meaning.value, quote=refusal.quote
        )
        said = f": {refusal.quote}" if refusal.quote else ""
        keys = self._settings.keys
        match refusal.meaning:
            case Meaning.RATE_LIMITED:
                return reasons.model_rate_limited(
                    f"{self._where} is rate limiting requests; retry later{said}",
                    model=self.model,
                    retry_after=_DEFAULT_RETRY_AFTER if refusal.retry_after is None else refusal.retry_after,
                )
            case Meaning.OUT_OF_BALANCE:
                return reasons.model_rate_limited(
                    f"the account at {self._where} has no balance or quota left; top it up{said}",
                    model=self.model,
                    account="spent",
                )
            case Meaning.LOADING | Meaning.UNAVAILABLE | Meaning.CRASHED:
                state = "is out of order or still starting" if refusal.status else "cannot be reached"
                return reasons.embedding_unavailable(
                    f"{self._where} {state}; retry later, and check {keys}_base_url{said}", model=self.model
                )
            case Meaning.NOT_AN_ENDPOINT:  # perhaps the page of a gateway in front of it
                return reasons.embedding_unavailable(
                    f"{self._where} is not an embedding endpoint; check {keys}_base_url{said}", model=self.model
                )
        return reasons.model_unusable(
            f"{self._where} {_remedy(refusal.meaning, keys, self.model)}{said}", model=self.model
        )


def _remedy(meaning: Meaning, keys: str, model: str) -> str:
    match meaning:
        case Meaning.BAD_KEY | Meaning.FORBIDDEN:
            return f"refuses the key; set {keys}_api_key"
        case Meaning.COUNTRY:
            return f"does not serve this country; set another {keys}_base_url"
        case Meaning.UNKNOWN_MODEL:
            return f'does not serve the model "{model}"; check {keys}_model and {keys}_base_url'
        case Meaning.REDIRECTED:
            return f"redirects elsewhere; check {keys}_base_url"
        case Meaning.TOO_LONG:
            return "takes no text of this length; load documents in shorter passages, or choose another model"
        case _:
            return f"refuses the request; check {keys}_model ({model}) and {keys}_base_url"


def _digest(texts: Sequence[str], query: bool) -> bytes:
    digest = hashlib.blake2b(b"query" if query else b"", digest_size=16)
    for text in texts:
        digest.update(f"{len(text)}:".encode() + text.encode("utf-8", "surrogatepass"))
    return digest.digest()


def _fewer(sent: int, text: str) -> int:
    """Return how many texts to send after `sent` were refused: the number in the refusal, else half."""
    said = [int(number) for number in _NUMBER.findall(text)]
    fitting = [number for number in said if sent // 32 < number < sent]
    return max(fitting) if fitting else max(sent // 2, 1)
