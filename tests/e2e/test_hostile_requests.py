"""A sample of what `python -m tests.fuzz.tenants` does for hours."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.fuzz.tenants import Fuzzer
from tests.support.credentials import GuardedSuite

_REQUESTS = 6


async def test_no_request_crosses_a_tenant(tmp_path: Path) -> None:
    with GuardedSuite(tmp_path) as suite:
        fuzzer = Fuzzer(suite, Random(11))
        await fuzzer.run(_REQUESTS)
    assert fuzzer.found == []
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED"} <= set(fuzzer.outcomes)
