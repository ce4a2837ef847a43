"""A sample of what `python -m tests.fuzz.imports` does for minutes."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from random import Random

import pytest

from tests.fuzz import imports

_FILES = 150


@pytest.mark.parametrize("reader", imports.READERS)
def test_damaged_files_are_refused_or_give_valid_pieces(reader: str) -> None:
    tried = list(islice(imports.fuzz(Random(7), lambda: False, reader), _FILES))
    assert [(wrong, data[:300]) for _, wrong, data in tried if wrong] == []
    assert set(Counter(ended for ended, _, _ in tried)) == {"read", "refused"}
