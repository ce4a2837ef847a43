# ruff: noqa: E501 - a shape a line
"""Streams of bytes cut anywhere, in any of the forms of servers: every event arrives, whole and once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memgpt_agent.models.transport import EndpointError, _EventReader

EVENTS = st.lists(
    st.fixed_dictionaries({"choices": st.just([]), "text": st.text(st.characters(exclude_categories=["Cs"]), max_size=9)}),
    min_size=1,
    max_size=5,
)  # fmt: skip
NOISE = ["", "", ": keep-alive", "event: message", "id: 7", "retry: 10", "data:", "data: "]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], list[Any], bool]:
    """A stream in pieces, the events in it, and whether it says where it ends."""
    events = draw(EVENTS)
    ascii_only, newline = draw(st.booleans()), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    as_lines = draw(st.booleans())
    lines: list[str] = []
    for event in events:
        data = json.dumps(event, ensure_ascii=ascii_only)
        if as_lines:
            lines.append(data)
            continue
        lines += [draw(st.sampled_from(NOISE)), f"data:{draw(st.sampled_from(['', ' ']))}{data}"]
        lines += [""] * draw(st.integers(0, 2))  # the blank line after an event is missing sometimes
    done = not as_lines and draw(st.booleans())
    if done:
        lines += ["", "data: [DONE]", "", "data: {}"]
    text = draw(st.sampled_from(["", "\ufeff"])) + newline.join(lines) + draw(st.sampled_from(["", newline]))
    body = text.encode()
    places = sorted(draw(st.lists(st.integers(0, len(body)), max_size=8)))
    return [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)], events, done


@pytest.mark.parametrize("line", [b"data: [\n", b"data: " + b"x" * 100_000 + b"\n", b"x" * 100_000])
async def test_an_event_without_end_is_an_error(line: bytes) -> None:
    async def sent() -> AsyncIterator[bytes]:
        for _ in range(2_000):
            yield line

    with pytest.raises(EndpointError):
        [data async for data in _EventReader().read(sent())]


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(streams())
async def test_every_event_arrives_once(stream: tuple[list[bytes], list[Any], bool]) -> None:
    pieces, events, done = stream

    async def sent() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    reader = _EventReader()
    assert [json.loads(data) async for data in reader.read(sent())] == events
    assert reader.done is done
