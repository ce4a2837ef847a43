"""Addresses of endpoints as people write them."""

from __future__ import annotations

import pytest
from memgpt.endpoints.address import parse_address


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("", "https://api.openai.com/v1"),
        ("http://localhost:11434", "http://localhost:11434/v1"),
        ("http://localhost:11434/", "http://localhost:11434/v1"),
        (" http://localhost:11434/v1/ ", "http://localhost:11434/v1"),
        ("http://localhost:1234/v1/chat/completions", "http://localhost:1234/v1"),
        ("http://localhost:1234/chat/completions", "http://localhost:1234/v1"),
        ("https://api.deepseek.com/v1/embeddings/", "https://api.deepseek.com/v1"),
        ("https://host/openai/v1/models", "https://host/openai/v1"),
        (
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            "https://generativelanguage.googleapis.com/v1beta/openai",
        ),
        ("http://[::1]:8080", "http://[::1]:8080/v1"),
    ],
)
def test_the_base(given: str, base: str) -> None:
    assert parse_address(given).base_url == base


def test_azures_deployments() -> None:
    address = parse_address(
        "https://me.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
        {"X-A": "1"},
        {"b": "2"},
    )
    assert address.base_url == "https://me.openai.azure.com/openai/deployments/d"
    assert address.query == {"api-version": "2024-10-21", "b": "2"}
    assert address.headers == {"X-A": "1"}
    assert address.credential("key") == {"api-key": "key"}
    assert address.versioned


def test_a_bearer_token_elsewhere() -> None:
    assert parse_address("http://h/v1").credential("key") == {"Authorization": "Bearer key"}
    assert parse_address("http://h/v1").credential("") == {}


@pytest.mark.parametrize("bad", ["localhost:11434", "ftp://h", "http://", "http://h:99999/v1", "http://a b", "/v1"])
def test_no_address(bad: str) -> None:
    with pytest.raises(ValueError, match="http"):
        parse_address(bad)


def test_credentials_in_an_address_are_not_shown() -> None:
    address = parse_address("https://user:secret@host:8443/v1?key=secret", {"X-Key": "secret"})
    assert address.shown == "https://host:8443/v1"
    assert "X-Key" not in repr(address)
