"""Vectors are of length one, and their inner products exact."""

from __future__ import annotations

import numpy as np
import pytest
from memgpt_memory.embedding import unit_vectors


@pytest.mark.parametrize("dimension", [2, 256, 1536, 3072])
def test_an_inner_product_is_the_same_in_whatever_order_it_is_summed(dimension: int) -> None:
    random = np.random.default_rng(dimension)
    query, *passages = unit_vectors(random.normal(size=(200, dimension)))
    for passage in [*passages, query]:  # the greatest sum is with itself
        products = query * passage
        sums = {float(products[random.permutation(dimension)].cumsum(dtype=np.float32)[-1]) for _ in range(5)}
        sums |= {float(query @ passage), float(np.float32(query.astype(np.float64) @ passage.astype(np.float64)))}
        assert len(sums) == 1


@pytest.mark.parametrize("dimension", [256, 1536, 3072])
def test_rounding_hardly_changes_a_cosine(dimension: int) -> None:
    random = np.random.default_rng(dimension)
    vectors = random.normal(size=(100, dimension))
    exact = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rounded = unit_vectors(vectors)
    assert np.abs(rounded @ rounded.T - exact @ exact.T).max() < 3e-3 * dimension**0.5 / 256**0.5
    assert np.abs(np.linalg.norm(rounded, axis=1) - 1).max() < 0.01
