# ruff: noqa: E501 - a refusal a line
"""Refusals of an option, or of a history, in the words of one vendor: the change that each leads to."""

from __future__ import annotations

import pytest
from memgpt.endpoints.address import parse_address
from memgpt.endpoints.refusals import understand
from memgpt_agent.models.endpoint import CallMode
from memgpt_agent.models.request.dialect import Dialect

from tests.unit.agent.models.asking import question

CHANGES: dict[str, tuple[str, int, object]] = {
    "a strict server": (
        "max_tokens",
        422,
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted"}]},
    ),
    "parallel calling": ("parallel_tool_calls", 400, "Parallel tool calling is not supported for this model"),
    "Bedrock's choice": ("tool_choice", 400, "toolConfig.toolChoice.any is not supported by this model"),
    "Bedrock's streams": ("stream", 400, "This model doesn't support tool use in streaming mode."),
    "streams with tools": ("stream", 400, "stream is not supported when tools are used"),
    "Bedrock's system": ("no_system", 400, "This model doesn't support system messages. Try again without system messages or use a model that supports system messages."),
    "two roles": ("no_system", 400, "messages[0].role: must be one of: user, assistant"),
    "o1-mini": ("no_system", 400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
    "Perplexity's order": ("answer_after_result", 400, "After the (optional) system message(s), user or tool message(s) should alternate with assistant message(s)."),
    "Anthropic's texts": ("no_empty_content", 400, "messages: text content blocks must contain non-whitespace text"),
    "a minimum length": (
        "no_empty_content",
        422,
        {"detail": [{"loc": ["body", "messages", 2, "content"], "msg": "String should have at least 1 character"}]},
    ),
    "a missing text": ("no_empty_content", 400, "Field required: messages.2.content"),
    "names of results": ("named_results", 400, "messages.3.name: tool message must have a name"),
    "a list of keywords": ("maximum", 400, "tools.0.custom: For 'integer' type, properties maximum, minimum are not supported"),
}  # fmt: skip


@pytest.mark.parametrize("vendor", CHANGES)
def test_the_change_after_a_vendors_own_words(vendor: str) -> None:
    change, status, words = CHANGES[vendor]
    dialect = Dialect(parse_address("http://localhost:1/v1"), 0.3)
    body = dialect.body(question(), "m", CallMode.TOOLS, 1000)
    refusal = understand(status, {"error": {"message": words}} if isinstance(words, str) else words)
    assert dialect.adapt(body, refusal, 0) == change


def test_a_list_of_roles_with_system_is_not_about_the_system_message() -> None:
    dialect = Dialect(parse_address("http://localhost:1/v1"), None)
    body = dialect.body(question(), "m", CallMode.TOOLS, 1000)
    words = "messages[2].role: must be one of: user, assistant, system"
    assert dialect.adapt(body, understand(400, {"error": {"message": words}}), 0) == ""
