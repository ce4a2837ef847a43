"""The clients of all languages repeat the same calls."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from memgpt.client.channel import service_config

CLIENTS = Path(__file__).parents[3] / "clients"


@pytest.mark.parametrize(
    "source", ["go/retry.go", "typescript/src/retry.ts", "java/src/main/java/io/memgptmilvus/client/Retries.java"]
)
def test_the_clients_repeat_the_same_calls(source: str) -> None:
    names = json.loads(service_config())["methodConfig"][0]["name"]
    quoted = re.findall(r'"(memgpt\.[\w.]+|[A-Z]\w+)"', (CLIENTS / source).read_text())
    service, found = "", set()
    for name in quoted:
        if name.startswith("memgpt."):
            service = name
        elif service:
            found.add((service, name))
    assert {(each["service"], each["method"]) for each in names} <= found
    assert {method for _, method in found} - {each["method"] for each in names} <= {
        "UNAVAILABLE",
        "CancelTurn",
        "ResumeTurn",
    }
