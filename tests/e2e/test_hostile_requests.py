"""Hostile requests for every RPC; `--requests=10000` for many, as `python -m tests.fuzz.tenants` sends them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.tenants import Fuzzer, target

_REQUESTS = 6


async def test_no_request_crosses_a_tenant(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with target(tmp_path) as (suite, issuer):
        fuzzer = Fuzzer(suite, issuer, Random(11))
        await fuzzer.run(request.config.getoption("--requests") or _REQUESTS)
    assert fuzzer.found == {}
    statuses = sum(fuzzer.outcomes.values(), Counter[str]())
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED"} <= set(statuses)
