"""Clients keep their turns while two Agents behind Envoy are replaced in turn.

`python -m clients.conformance.rolling` does the same for minutes, with more clients and in Java as well.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.conformance.__main__ import Language
from clients.conformance.rolling import CLIENTS, Rolling
from tests.support import toolchains


@pytest.mark.parametrize(
    "runner", [each for each in CLIENTS if each.language != "java"], ids=lambda each: each.language
)
def test_no_turn_is_lost_or_run_twice(tmp_path: Path, runner: Language) -> None:
    toolchains.require(*runner.tools)
    with Rolling(tmp_path, turns=4) as rolling:
        with rolling.agents.restarting(interval=2):
            assert rolling.run_clients([runner] * 2) == []
        assert rolling.agents.restarts > 0
