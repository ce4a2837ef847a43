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


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://me.openai.azure.com", "https://me.openai.azure.com/openai/v1"),
        ("https://me.openai.azure.com/", "https://me.openai.azure.com/openai/v1"),
        ("https://me.openai.azure.com/openai", "https://me.openai.azure.com/openai/v1"),
        ("https://me.openai.azure.com/openai/v1/", "https://me.openai.azure.com/openai/v1"),
        ("https://me.cognitiveservices.azure.com", "https://me.cognitiveservices.azure.com/openai/v1"),
        ("https://me.services.ai.azure.com", "https://me.services.ai.azure.com/openai/v1"),
        ("https://me.openai.azure.us/v1", "https://me.openai.azure.us/openai/v1"),
        ("https://me.openai.azure.com/openai/v1/?api-version=preview", "https://me.openai.azure.com/openai/v1"),
        ("https://gateway.azure-api.net/team/openai", "https://gateway.azure-api.net/team/openai"),
    ],
)
def test_a_host_of_azure(given: str, base: str) -> None:
    address = parse_address(given)
    assert address.base_url == base
    assert address.key_header == "api-key"


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://generativelanguage.googleapis.com", "https://generativelanguage.googleapis.com/v1beta/openai"),
        ("https://generativelanguage.googleapis.com/v1beta", "https://generativelanguage.googleapis.com/v1beta/openai"),
        ("https://openrouter.ai", "https://openrouter.ai/api/v1"),
        ("https://openrouter.ai/api", "https://openrouter.ai/api/v1"),
        ("https://api.groq.com", "https://api.groq.com/openai/v1"),
        ("https://coding.dashscope.aliyuncs.com/v1", "https://coding.dashscope.aliyuncs.com/v1"),
        ("https://coding-intl.dashscope.aliyuncs.com", "https://coding-intl.dashscope.aliyuncs.com/v1"),
        ("https://dashscope.aliyuncs.com", "https://dashscope.aliyuncs.com/compatible-mode/v1"),
        ("https://open.bigmodel.cn", "https://open.bigmodel.cn/api/paas/v4"),
        ("https://api.z.ai", "https://api.z.ai/api/paas/v4"),
        ("https://api.fireworks.ai", "https://api.fireworks.ai/inference/v1"),
        ("https://ark.cn-beijing.volces.com", "https://ark.cn-beijing.volces.com/api/v3"),
        ("https://api.cohere.com", "https://api.cohere.com/compatibility/v1"),
        ("https://api.deepinfra.com", "https://api.deepinfra.com/v1/openai"),
        ("https://router.huggingface.co", "https://router.huggingface.co/v1"),
        ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("https://api.mistral.ai", "https://api.mistral.ai/v1"),
    ],
)
def test_a_bare_host_whose_path_is_not_v1(given: str, base: str) -> None:
    assert parse_address(given).base_url == base


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://h:1/v1/messages", "http://h:1/v1"),
        ("http://h:1/v1/audio/speech", "http://h:1/v1"),
        ("http://h:1/v1/rerank", "http://h:1/v1"),
        ("http://h:1/v1/chat", "http://h:1/v1"),
        ("http://h:1//v1//", "http://h:1/v1"),
        ("http://h:1/v1#models", "http://h:1/v1"),
        ('"http://h:1/v1"', "http://h:1/v1"),
        ("'http://h:1/v1'", "http://h:1/v1"),
        ("<http://h:1/v1>", "http://h:1/v1"),
        ("HTTP://H:1/V1", "http://H:1/V1"),
        ("http://h:1/v1/chat/completions/", "http://h:1/v1"),
        ("http://h:1/v1/chat/completions?", "http://h:1/v1"),
    ],
)
def test_an_address_as_it_was_copied(given: str, base: str) -> None:
    assert parse_address(given).base_url == base
