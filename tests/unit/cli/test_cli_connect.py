"""The client of a command: what it takes from the settings."""

from __future__ import annotations

from typing import Any

import pytest
from memgpt.cli.services.children import Addresses
from memgpt.cli.services.connect import open_client
from memgpt.cli.settings import ClientSettings


def test_calls_are_repeated_for_as_long_as_the_setting_says(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: dict[str, Any] = {}
    monkeypatch.setattr("memgpt.client.MemGPT", lambda *_, **options: passed.update(options))
    open_client(
        ClientSettings.model_validate({"retry_seconds": 2.5}), Addresses("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")
    )
    assert passed["retry_seconds"] == 2.5
