"""Each error reason has a constructor with the metadata and the status that the contract promises."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path
from typing import get_type_hints

import pytest
from memgpt_runtime import errors, reasons
from memgpt_runtime.errors import Reason, ServiceError
from memgpt_runtime.status import CODES

ROOT = Path(__file__).parents[2]
ERRORS = (ROOT / "protos/memgpt/common/v1/errors.proto").read_text()
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
    assert (
        "more" in constructor("message", more=1, **{each: VALUES[hints[each].__name__] for each in required}).metadata
    )


CLASSES = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, ServiceError)}
BUILDERS = {ROOT / "services/runtime/memgpt_runtime" / name for name in ("errors.py", "reasons.py")}


@pytest.mark.parametrize("service", ["agent", "loader", "memory", "runtime"])
def test_errors_are_built_by_the_constructors_only(service: str) -> None:
    built = [
        f"{path.relative_to(ROOT)}:{call.lineno}: use memgpt_runtime.reasons instead of {name}(...)"
        for path in sorted((ROOT / "services" / service).rglob("*.py"))
        if path not in BUILDERS
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        if (name := getattr(call.func, "id", getattr(call.func, "attr", ""))) in CLASSES
    ]
    assert not built, "\n".join(built)
