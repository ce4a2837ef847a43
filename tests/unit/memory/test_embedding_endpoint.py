# ruff: noqa: E501 - a refusal a line
"""Embedding endpoints, each with its limits and its wording, over real HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from memgpt_memory.embedding import EmbeddingEndpointSettings, OpenAIEmbedder, _endpoint, unit_vectors
from memgpt_runtime import errors

from tests.support.scripted_llm import Hang, Raw, Reply, Request, ScriptedLLM, Status, embed

Start = Callable[..., ScriptedLLM]
TEXTS = [f"text number {number}" for number in range(130)]
KEY = "sk-secret-of-the-test"


@asynccontextmanager
async def embedder(llm: ScriptedLLM, base_url: str = "", **more: Any) -> AsyncIterator[OpenAIEmbedder]:
    made = OpenAIEmbedder(EmbeddingEndpointSettings("e", 256, base_url or llm.base_url, KEY, **more))
    try:
        yield made
    finally:
        await made.close()


def expected(texts: list[str]) -> np.ndarray:
    return unit_vectors(np.array([embed(text, 256) for text in texts]))


def at_most(count: int, refusal: Reply) -> Callable[[Request], Reply | None]:
    return lambda request: refusal if len(request.json["input"]) > count else None


VENDORS: dict[str, tuple[int, Reply]] = {
    "DashScope": (10, Status(400, "<400> InternalError.Algo.InvalidParameter: Value error, batch size is invalid, it should not be larger than 10.: input.contents")),
    "TEI": (32, Raw('{"error": "batch size 128 > maximum allowed batch size 32", "error_type": "Validation"}', code=422)),
    "SiliconFlow": (64, Raw('{"code": 20042, "message": "input batch size 128 > maximum allowed batch size 64"}', code=413)),
    "Zhipu": (64, Status(400, "input 数组最大不得超过64条")),
    "Gemini": (100, Status(400, "at most 100 requests can be in one batch")),
    "llama.cpp": (1, Status(500, "input is too large to process. increase the physical batch size")),
    "a server that says nothing": (7, Status(400, "Bad Request")),
}  # fmt: skip


@pytest.mark.parametrize("vendor", VENDORS)
async def test_batches_become_smaller_and_stay_so(scripted_llm: Start, vendor: str) -> None:
    most, refusal = VENDORS[vendor]
    llm = scripted_llm()
    llm.rule_embeddings(at_most(most, refusal))
    async with embedder(llm) as model:
        assert np.array_equal(await model.embed(TEXTS), expected(TEXTS))
        before = len(llm.embedding_requests)
        await model.embed(TEXTS)
        again = llm.embedding_requests[before:]
    assert all(len(request.json["input"]) <= most for request in again)
    assert model.batch > most // 2


async def test_an_option_that_is_refused(scripted_llm: Start) -> None:
    def voyage(request: Request) -> Reply | None:
        given = request.json.get("encoding_format")
        return Status(400, "Value 'float' for 'encoding_format' is not valid") if given else None

    llm = scripted_llm()
    llm.rule_embeddings(voyage)
    async with embedder(llm) as model:
        assert np.array_equal(await model.embed(["a", "b"]), expected(["a", "b"]))
        await model.embed(["c"])
    assert [request.json.get("encoding_format") for request in llm.embedding_requests] == ["float", None, None]


async def test_an_option_that_is_refused_to_several_calls_at_once(scripted_llm: Start) -> None:
    both = threading.Barrier(2, timeout=60)

    def voyage(request: Request) -> Reply | None:
        if not request.json.get("encoding_format"):
            return None
        both.wait()
        return Status(400, "Value 'float' for 'encoding_format' is not valid")

    llm = scripted_llm()
    llm.rule_embeddings(voyage)
    async with embedder(llm) as model:
        first, second = await asyncio.gather(model.embed(["a"]), model.embed(["b"]))
    assert np.array_equal(np.concatenate([first, second]), expected(["a", "b"]))
    assert len(llm.embedding_requests) == 4


async def test_queries_and_passages_where_they_differ(scripted_llm: Start) -> None:
    def nim(request: Request) -> Reply | None:
        given = request.json.get("input_type")
        wrong = "'input_type' parameter is required for asymmetric models"
        return None if given in ("query", "passage") else Status(400, wrong)

    llm = scripted_llm()
    llm.rule_embeddings(nim)
    async with embedder(llm) as model:
        await model.embed(["a passage"])
        await model.embed(["a question"], query=True)
    assert [request.json.get("input_type") for request in llm.embedding_requests] == [None, "passage", "query"]


async def test_a_text_that_is_too_long_is_split(scripted_llm: Start) -> None:
    def short(request: Request) -> Reply | None:
        longest = max(map(len, request.json["input"]))
        return Status(413, "`inputs` must have less than 512 tokens. Given: 900") if longest > 500 else None

    llm = scripted_llm()
    llm.rule_embeddings(short)
    long = "one two three " * 100
    async with embedder(llm) as model:
        first, second = await model.embed(["short", long])
    assert np.array_equal(first, expected(["short"])[0])
    assert second @ expected([long])[0] > 0.95


async def test_one_long_text_does_not_make_all_batches_small(scripted_llm: Start) -> None:
    """Ollama does not name the text that is too long."""

    def ollama(request: Request) -> Reply | None:
        longest = max(map(len, request.json["input"]))
        return Status(400, "the input length exceeds the context length") if longest > 500 else None

    llm = scripted_llm()
    llm.rule_embeddings(ollama)
    async with embedder(llm) as model:
        await model.embed([*TEXTS[:5], "one two three " * 100, *TEXTS])
        before = len(llm.embedding_requests)
        assert np.array_equal(await model.embed(TEXTS), expected(TEXTS))
    assert len(llm.embedding_requests) - before <= 2


def response(vectors: list[Any], **more: Any) -> str:
    return json.dumps({"data": [{"embedding": vector, **more} for vector in vectors]})


ONE, TWO = embed("a", 256), embed("b", 256)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"data": [{"index": 1, "embedding": TWO}, {"index": 0, "embedding": ONE}]}),
        response([ONE, TWO]),
        response([ONE, TWO], index=0),
        response([[ONE], [TWO]]),
        json.dumps({"embeddings": [ONE, TWO]}),
        json.dumps({"embeddings": {"float": [ONE, TWO]}}),
        json.dumps([ONE, TWO]),
        json.dumps({"output": [{"embedding": ONE}, {"embedding": TWO}]}),
        json.dumps({"vectors": [ONE, TWO], "total_tokens": 2, "base_resp": {"status_code": 0}}),
        json.dumps({"code": 0, "data": {"embedding": [ONE, TWO]}}),
        json.dumps({"dense_vecs": [ONE, TWO], "lexical_weights": []}),
        json.dumps([{"index": 0, "embedding": [ONE]}, {"index": 1, "embedding": [TWO]}]),
        # Counted from 1, in floats or texts, or without the zero, as of Go.
        json.dumps({"data": [{"index": 2, "embedding": TWO}, {"index": 1, "embedding": ONE}]}),
        json.dumps({"data": [{"index": 1.0, "embedding": TWO}, {"index": "0", "embedding": ONE}]}),
        json.dumps({"data": [{"index": 1, "embedding": TWO}, {"embedding": ONE}]}),
        response([json.dumps(ONE), json.dumps(TWO)]),
        json.dumps({"data": [{"vector": ONE}, {"vector": TWO}]}),
        json.dumps({"result": {"shape": [2, 256], "data": [ONE, TWO]}, "success": True}),
        json.dumps({"predictions": [{"embeddings": {"values": ONE}}, {"embeddings": {"values": TWO}}]}),
        json.dumps(
            {"output": {"embeddings": [{"text_index": 1, "embedding": TWO}, {"text_index": 0, "embedding": ONE}]}}
        ),
    ],
)
async def test_shapes_of_responses(scripted_llm: Start, body: str) -> None:
    llm = scripted_llm()
    llm.fail_embeddings(Raw(body))
    async with embedder(llm) as model:
        assert np.array_equal(await model.embed(["a", "b"]), expected(["a", "b"]))


@pytest.mark.parametrize(
    "body",
    [ONE, [ONE], {"embedding": ONE}, {"embedding": {"values": ONE}}, {"data": {"index": 0, "embedding": ONE}}],
    ids=["numbers", "a list", "Ollama", "Gemini", "an object"],
)
async def test_shapes_of_responses_for_one_text(scripted_llm: Start, body: object) -> None:
    llm = scripted_llm()
    llm.fail_embeddings(Raw(json.dumps(body)))
    async with embedder(llm) as model:
        assert np.array_equal(await model.embed(["a"]), expected(["a"]))


@pytest.mark.parametrize(
    "encode", [base64.b64encode, base64.encodebytes, lambda data: base64.b64encode(data).rstrip(b"=")]
)
async def test_base64_although_float_was_asked_for(scripted_llm: Start, encode: Callable[[bytes], bytes]) -> None:
    """Also with line breaks, and without padding."""
    packed = [np.array(vector, dtype="<f4").tobytes() for vector in (ONE, TWO)]
    llm = scripted_llm()
    llm.fail_embeddings(Raw(response([encode(one).decode() for one in packed])))
    async with embedder(llm) as model:
        assert np.allclose(await model.embed(["a", "b"]), expected(["a", "b"]), atol=1e-3)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (response([ONE]), "1 vectors for 2 texts"),
        (response([ONE, [*TWO[:-1], float("nan")]]), "NaN"),
        (response([ONE, [*TWO[:-1], None]]), "NaN"),
        (response([ONE, [*TWO[:-1], "x"]]), "other than numbers"),
        (response([ONE, [*TWO[:-1], 10**400]]), "other than numbers"),
        (response([ONE, "&&&"]), "base64"),
        (response([[ONE, ONE], [TWO, TWO]]), "mean pooling"),
        (json.dumps({"data": [{"index": 0, "embedding": ONE}, {"index": 2, "embedding": TWO}]}), "indices"),
        ("{}", "no vectors"),
        ("[]", "0 vectors"),
        ('{"data": null}', "no vectors"),
    ],
)
async def test_responses_that_cannot_be_used(scripted_llm: Start, body: str, words: str) -> None:
    llm = scripted_llm()
    llm.fail_embeddings(Raw(body))
    async with embedder(llm) as model:
        with pytest.raises(errors.Unavailable, match=words):
            await model.embed(["a", "b"])


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (Status(401, f"Incorrect API key provided: {KEY}"), errors.FailedPrecondition, "embedding_api_key"),
        (Status(404, "The model `e` does not exist", "model_not_found"), errors.FailedPrecondition, "embedding_model"),
        (Status(429, "Rate limit reached", retry_after=7), errors.ResourceExhausted, "rate limiting"),
        (Status(402, "Insufficient Balance"), errors.ResourceExhausted, "no balance"),
        (Status(503, "Loading model"), errors.Unavailable, "still starting"),
        (
            Status(400, "this model does not support embeddings"),
            errors.FailedPrecondition,
            "does not support embeddings",
        ),
        (Raw("<html><title>Welcome</title></html>", "text/html"), errors.Unavailable, "Welcome"),
        (Raw('{"error": "embeddings are switched off"}'), errors.Unavailable, "switched off"),
        (Raw("", code=302, headers={"Location": "https://other.example"}), errors.FailedPrecondition, "base_url"),
        (Raw(response([[1.0, 2.0]])), errors.FailedPrecondition, "2 dimensions"),
    ],
)
async def test_words_that_fit_the_cause(scripted_llm: Start, reply: Reply, error: type[Exception], words: str) -> None:
    llm = scripted_llm()
    llm.fail_embeddings(reply)
    async with embedder(llm) as model:
        with pytest.raises(error, match=words) as caught:
            await model.embed(["a"])
    assert KEY not in str(caught.value)


async def test_an_endpoint_out_of_reach_is_reported_at_once(scripted_llm: Start) -> None:
    llm = scripted_llm()
    llm.close()
    async with embedder(llm, timeout=600) as model, asyncio.timeout(60):
        with pytest.raises(errors.Unavailable, match="cannot be reached"):
            await model.embed(["a"])


async def test_an_endpoint_that_hangs(scripted_llm: Start) -> None:
    llm = scripted_llm()
    llm.fail_embeddings(Hang())
    async with embedder(llm, timeout=0.2) as model:
        with pytest.raises(errors.DeadlineExceeded, match=r"0\.2 s"):
            await model.embed(["a"])


async def test_blank_texts_and_none(scripted_llm: Start) -> None:
    llm = scripted_llm()
    async with embedder(llm) as model:
        assert (await model.embed([])).shape == (0, 256)
        assert (await model.embed(["", "  ", "a"])).shape == (3, 256)
    assert all(text.strip() for text in llm.embedding_requests[0].json["input"])


async def test_addresses_and_headers(scripted_llm: Start) -> None:
    llm = scripted_llm()
    url = llm.base_url.replace("/v1", "/openai/deployments/d/embeddings?api-version=2024-10-21")
    async with embedder(llm, url, headers={"X-Team": "t"}, query={"more": "1"}) as model:
        await model.embed(["a"])
    request = llm.embedding_requests[0]
    assert request.path == "/openai/deployments/d/embeddings?api-version=2024-10-21&more=1"
    assert (request.headers["api-key"], request.headers["x-team"]) == (KEY, "t")
    async with embedder(llm, llm.base_url.removesuffix("/v1")) as model:
        await model.embed(["a"])
    assert llm.embedding_requests[1].path == "/v1/embeddings"


@pytest.mark.parametrize(
    "words",
    [
        "Request to model 'e' failed. The max allowed tokens per submitted batch is 120000. Your batch has 147910 tokens after truncation. Please lower the number of tokens in the batch.",
        "Invalid 'input': maximum request size is 300000 tokens per request.",
        "Requested 310000 tokens, max 300000 tokens per request",
        "Too many tokens overall, split into more batches.",
        "Too many inputs in request: total tokens 20000 exceed the limit of 16384 for a batch",
    ],
)
@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_batch_with_too_many_tokens_is_halved_and_no_text_is_cut(
    scripted_llm: Start, words: str, status: int
) -> None:
    """The sum of a batch is limited; every text is within the limit of a text."""
    llm = scripted_llm()
    llm.rule_embeddings(lambda request: Status(status, words) if sum(map(len, request.json["input"])) > 900 else None)
    async with embedder(llm) as model:
        assert np.array_equal(await model.embed(TEXTS), expected(TEXTS))
    sent = {text for request in llm.embedding_requests for text in request.json["input"]}
    assert sent == set(TEXTS)


class Limited:
    """Takes this many requests of ten texts, and then limits the rate."""

    def __init__(self, accepted: int, refusal: Reply) -> None:
        self.accepted, self.refusal = accepted, refusal
        self.embedded: list[str] = []

    def __call__(self, request: Request) -> Reply | None:
        texts = request.json["input"]
        if len(texts) > 10:
            return Status(400, "batch size is invalid, it should not be larger than 10")
        if self.accepted <= 0:
            self.accepted = 4
            return self.refusal
        self.accepted -= 1
        self.embedded += texts
        return None


LIMITS = [
    Status(429, "已超过每分钟请求额度", retry_after=0.01),
    Status(429, "Rate limit reached for requests per minute"),
    Status(503, "Rate limit exceeded: too many requests", retry_after=0),
]


@pytest.mark.parametrize("refusal", LIMITS)
async def test_a_rate_limit_in_the_middle_passes(scripted_llm: Start, refusal: Status) -> None:
    llm, limited = scripted_llm(), Limited(2, refusal)
    llm.rule_embeddings(limited)
    async with embedder(llm) as model:
        assert np.array_equal(await model.embed(TEXTS), expected(TEXTS))
        assert np.array_equal(await model.embed(["text"], query=True), expected(["text"]))
    assert limited.embedded == [*TEXTS, "text"], "each once"


async def test_after_a_longer_rate_limit_a_call_goes_on_where_it_was(scripted_llm: Start) -> None:
    llm, limited = scripted_llm(), Limited(2, Status(429, "Too many requests", retry_after=60))
    llm.rule_embeddings(limited)
    async with embedder(llm) as model:
        for _ in range(2):
            with pytest.raises(errors.ResourceExhausted, match="rate limiting") as caught:
                async with asyncio.timeout(30):  # it does not wait for the endpoint
                    await model.embed(TEXTS)
            assert caught.value.retry_after == 60
            await model.embed(["another text"], query=True)
        limited.accepted = 99
        assert np.array_equal(await model.embed(TEXTS), expected(TEXTS))
        await model.embed(TEXTS[:10])
    once = [text for text in limited.embedded if text != "another text"]
    assert once == [*TEXTS, *TEXTS[:10]], "each once, and nothing is kept of a call that has ended"


async def test_the_wait_for_a_rate_limit_is_bounded(scripted_llm: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_endpoint, "_RATE_LIMIT_SECONDS", 0.5)
    llm = scripted_llm()
    llm.rule_embeddings(lambda _: Status(429, "Too many requests", retry_after=0))
    async with embedder(llm) as model:
        with pytest.raises(errors.ResourceExhausted, match="rate limiting"):
            await model.embed(["a"])
    assert 2 <= len(llm.embedding_requests) <= 4


async def test_one_text_of_a_batch_is_too_long(scripted_llm: Start) -> None:
    """OpenAI names the text by its place; the others are embedded as they are."""

    def openai(request: Request) -> Reply | None:
        long = [place for place, text in enumerate(request.json["input"]) if len(text) > 3000]
        return Status(400, f"Invalid 'input[{long[0]}]': maximum input length is 8192 tokens.") if long else None

    llm = scripted_llm()
    llm.rule_embeddings(openai)
    texts = [*TEXTS[:20], "one two three " * 400, *TEXTS[20:40]]
    async with embedder(llm) as model:
        made = await model.embed(texts)
    assert np.array_equal(np.delete(made, 20, axis=0), expected([*TEXTS[:20], *TEXTS[20:40]]))
    assert made[20] @ expected([texts[20]])[0] > 0.95


async def test_a_dimension_that_cannot_be_chosen(scripted_llm: Start) -> None:
    def fixed(request: Request) -> Reply | None:
        words = 'Model "e" does not support matryoshka representation, changing output dimensions will lead to poor results.'
        return Status(400, words) if "dimensions" in request.json else None

    llm = scripted_llm()
    llm.rule_embeddings(fixed)
    async with embedder(llm) as model:
        assert np.array_equal(await model.embed(["a"]), expected(["a"]))
