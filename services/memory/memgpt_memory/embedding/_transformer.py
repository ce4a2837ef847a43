"""Local transformers in ONNX files; only this module uses the runtime, which the extra ``onnx`` installs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from memgpt_memory.embedding._models import Vectors, unit_vectors
from memgpt_memory.embedding._transformer_folder import TransformerFolder, UnusableFolderError, open_folder

_TURN = 4
"""Texts that are embedded before another caller's turn: a query does not wait for a whole batch of passages."""

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_SENTENCE_OUTPUT = "sentence_embedding"

Numbers = npt.NDArray[np.float64]


class Transformer:
    """A transformer on this machine's processor.

    Texts are computed one at a time: int8 models scale their numbers by what is computed together, so a text's vector
    would depend on the others of its batch.
    """

    def __init__(self, folder: TransformerFolder, *, threads: int) -> None:
        """Load the model.

        Args:
            folder: The model's files.
            threads: Maximum number of processor threads that it uses.

        Raises:
            UnusableFolderError: The runtime is not installed, or cannot load the model.
        """
        self._folder = folder
        self._session = _open_session(folder.model, threads)
        self._tokenizer = _open_tokenizer(folder)
        self._inputs = [each.name for each in self._session.get_inputs()]
        if unknown := set(self._inputs) - set(_INPUTS):
            raise UnusableFolderError(f"{folder.model} is not a text encoder: it needs {', '.join(sorted(unknown))}")
        outputs = self._session.get_outputs()
        self._output = next((each.name for each in outputs if each.name == _SENTENCE_OUTPUT), outputs[0].name)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="embedding")
        try:
            self.dimension = len(self._embed_one("."))
            self.model = folder.identity()
        except UnusableFolderError:
            raise
        except Exception as error:
            raise UnusableFolderError(f"{folder.model} is not a usable text encoder") from error

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """See `Embedder.embed`."""
        form = self._folder.input_format
        prefix = form.query_prefix if query else form.passage_prefix
        loop = asyncio.get_running_loop()
        vectors: list[Numbers] = []
        for start in range(0, len(texts), _TURN):
            some = [prefix + text for text in texts[start : start + _TURN]]
            vectors += await loop.run_in_executor(self._pool, self._embed_all, some)
        return unit_vectors(np.stack(vectors)) if vectors else np.zeros((0, self.dimension), dtype=np.float32)

    async def close(self) -> None:
        """See `Embedder.close`."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _embed_all(self, texts: Sequence[str]) -> list[Numbers]:
        return [self._embed_one(text) for text in texts]

    def _embed_one(self, text: str) -> Numbers:
        """Return a text's vector; that of a long text is the mean over its parts, weighted by their tokens."""
        whole = self._tokenizer.encode(text)
        if not whole:  # such as control characters, if the model adds no tokens of its own
            return np.zeros(self.dimension)
        parts = [whole, *whole.overflowing]
        vectors = [self._run(part) for part in parts]
        mean: Numbers = np.average(vectors, axis=0, weights=[len(part) for part in parts])
        return mean

    def _run(self, tokens: Encoding) -> Numbers:
        given = {"input_ids": tokens.ids, "attention_mask": tokens.attention_mask, "token_type_ids": tokens.type_ids}
        feed = {name: np.asarray([given[name]], dtype=np.int64) for name in self._inputs}
        output = np.asarray(self._session.run([self._output], feed)[0], dtype=np.float64)
        if output.ndim == 2:
            vector = output[0]
        elif output.ndim == 3:
            vector = output[0, 0] if self._folder.input_format.pooling == "cls" else output[0].mean(axis=0)
        else:
            raise UnusableFolderError(f"{self._folder.model} does not return vectors of tokens or of texts")
        norm = np.linalg.norm(vector)
        scaled: Numbers = vector / norm if norm > 0 else vector
        return scaled


def load_transformer(
    folder: Path, *, threads: int, query_prefix: str | None = None, passage_prefix: str | None = None
) -> Transformer:
    """Load the model in a folder; for the arguments and errors see `open_folder` and `Transformer`."""
    found = open_folder(folder, query_prefix=query_prefix, passage_prefix=passage_prefix)
    return Transformer(found, threads=threads)


def _open_session(model: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UnusableFolderError("not installed: onnxruntime; run `pip install 'memgpt-milvus[onnx]'`") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads must not spin: other processes need the processor while no text is embedded.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UnusableFolderError(f"{model} is not a usable ONNX model") from error


def _open_tokenizer(folder: TransformerFolder) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(folder.tokenizer))
    except Exception as error:
        raise UnusableFolderError(f"{folder.tokenizer} is not a usable tokenizer") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(folder.max_tokens)
    return tokenizer
