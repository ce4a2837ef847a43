"""The bar of a context window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from memgpt.agent.v1.agent_service_pb2 import ContextMessage, GetContextResponse
from memgpt.cli.chat.context_bar import cached_line, cells
from memgpt.memory.v1.message_pb2 import Message, Usage


@given(st.lists(st.integers(0, 10_000_000), min_size=1, max_size=6), st.integers(6, 100))
def test_characters_are_shared_out(sizes: list[int], width: int) -> None:
    shares = cells(sizes, width)
    assert sum(shares) == (width if any(sizes) else 0)
    for size, share in zip(sizes, shares, strict=True):
        assert (share > 0) == (size > 0), "what is there is seen"
    for smaller, larger in zip(
        sorted(zip(sizes, shares, strict=True)), sorted(zip(sizes, shares, strict=True))[1:], strict=False
    ):
        assert smaller[1] <= larger[1] or smaller[0] == larger[0]


def test_large_parts_are_as_large_as_they_are() -> None:
    assert cells([50, 25, 25, 0], 60) == [30, 15, 15, 0]
    assert cells([1, 999_999], 60) == [1, 59]


def test_what_the_endpoint_had_cached_is_shown() -> None:
    def context(*usages: Usage) -> GetContextResponse:
        return GetContextResponse(messages=[ContextMessage(message=Message(usage=usage)) for usage in usages])

    reported = Usage(prompt_tokens=12_000, completion_tokens=5, cached_tokens=9_000)
    assert cached_line(context(Usage(prompt_tokens=8), reported)) == (
        "cached by the endpoint: 9,000 of 12,000 tokens read last (75%)"
    )
    assert cached_line(context(reported, Usage(prompt_tokens=8))) == ""
    assert cached_line(context()) == ""
