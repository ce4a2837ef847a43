from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memgpt_runtime.graphemes import ends


# The clusters of UAX #29, set apart by bars.
@pytest.mark.parametrize(
    "text",
    [
        "a|b|c",
        "e\u0301|a",
        "👨\u200d👩\u200d👧\u200d👦|👍🏽|❤\ufe0f|1\ufe0f\u20e3",
        "🏴\U000e0067\U000e0062\U000e007f|🏳️\u200d🌈",
        "🇩🇪|🇫🇷|🇩",
        "क्षि|ति",
        "กำ|ที่|เ|ก",
        "\u1112\u1161\u11ab|\u1112\u1161|각|가\u11a8",
        "か\u3099|ｶ\uff9e",
        "\u0600١|٢",
        "日|本",
        "Z\u0335\u0321\u0335",
    ],
)
def test_clusters(text: str) -> None:
    whole = text.replace("|", "")
    found = [0, *ends(whole)]
    assert "|".join(whole[start:end] for start, end in itertools.pairwise(found)) == text


@given(st.text())
def test_they_are_the_text(text: str) -> None:
    found = list(ends(text))
    assert found == sorted(set(found))
    assert found[-1:] == ([len(text)] if text else [])
