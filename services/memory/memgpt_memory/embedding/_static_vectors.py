"""The bundled model's vectors: one for each token, averaged over a text.

The weights and the tokenizer are wordllama's, read from its installed package. Its code is not imported: that needs
compiled modules, which are not built for every machine, and computes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from tokenizers import Tokenizer

_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"


class StaticVectors:
    """Token vectors in half precision, and the tokenizer that they belong to."""

    def __init__(self) -> None:
        """Read both from the installed package; takes a tenth of a second.

        Raises:
            ModuleNotFoundError: wordllama is not installed.
        """
        spec = find_spec("wordllama")
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError("not installed: wordllama; run `pip install memgpt-milvus-memory`")
        folder = Path(spec.submodule_search_locations[0])
        self._tokens: npt.NDArray[np.float16] = load_file(folder / _WEIGHTS)["embedding.weight"]
        self._tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return a vector of length one for each text; NaN for a text without tokens."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        means = np.stack([self._mean(each.ids) for each in encoded])
        with np.errstate(divide="ignore", invalid="ignore"):
            unit: npt.NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit

    def _mean(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        rows = np.clip(np.asarray(ids, dtype=np.int32), 0, len(self._tokens) - 1)
        total = self._tokens[rows].astype(np.float32).sum(axis=0, dtype=np.float32)
        mean: npt.NDArray[np.float32] = total / np.float32(max(len(rows), 1))
        return mean
