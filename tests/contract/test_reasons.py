"""Each error reason has a constructor with the metadata and the status that the contract promises."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import get_type_hints

import pytest
from memgpt_runtime import reasons
from memgpt_runtime.errors import Reason, ServiceError
from memgpt_runtime.status import CODES

ERRORS = (Path(__file__).parents[2] / "protos/memgpt/common/v1/errors.proto").read_text()
VALUE = re.compile(r"((?: *//.*\n)+) *ERROR_REASON_(\w+) = [1-9]")
SAMPLES = {
    name: (comment.split("//", 1)[1].split(":")[0].strip(), json.loads(re.search(r"\{.*\}", comment, re.DOTALL)[0]))  # type: ignore[index]
    for comment, name in ((re.sub(r"\n *// ?", "\n// ", block), name) for block, name in VALUE.findall(ERRORS))
    for comment in [comment.replace("\n//", "\n")]
}
VALUES = {"int": 7, "float": 7.0, "str": "x"}


def test_every_reason_has_a_sample() -> None:
    assert SAMPLES.keys() == set(Reason.__members__)


@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - {"INTERNAL"}))
def test_a_constructor_sets_the_promised_metadata(name: str) -> None:
    constructor = getattr(reasons, name.lower())
    hints = get_type_hints(constructor)
    required = [
        each.name
        for each in inspect.signature(constructor).parameters.values()
        if each.kind is each.KEYWORD_ONLY and each.default is each.empty
    ]
    error: ServiceError = constructor("message", **{each: VALUES[hints[each].__name__] for each in required})
    status, sample = SAMPLES[name]
    assert error.reason == sample["reason"] == name
    assert error.metadata.keys() == sample["metadata"].keys()
    assert CODES[type(error)].name == status
    assert "more" in constructor("message", more=1, **dict.fromkeys(required, "x")).metadata
