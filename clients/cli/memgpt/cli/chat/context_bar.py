"""The usage of a context window, drawn as a bar."""

from __future__ import annotations

from collections.abc import Sequence

from memgpt.agent.v1.agent_service_pb2 import GetContextResponse
from memgpt.cli.terminal.ui import Ui

WIDTH = 60
"""Width of the bar in characters, on a terminal that is wide enough."""

# Field of ContextTokens, label, character, and style on a color terminal.
_PARTS = (
    ("instructions", "instructions", "█", "blue"),
    ("blocks", "core memory", "▓", "magenta"),
    ("functions", "functions", "▒", "cyan"),
    ("summary", "summary", "▚", "yellow"),
    ("messages", "messages", "░", "green"),
)
_FREE = ("free", "·", "dim")


def show_context(ui: Ui, context: GetContextResponse) -> None:
    """Draw the bar, and below it the size of each part."""
    parts = [(name, mark, style, getattr(context.tokens, field)) for field, name, mark, style in _PARTS]
    free = max(context.context_window - context.total_tokens, 0)
    parts.append((*_FREE, free))
    shares = cells([tokens for *_, tokens in parts], min(WIDTH, ui.width or WIDTH))
    for (_, mark, style, _), share in zip(parts, shares, strict=True):
        if share:
            ui.piece(mark * share, style)
    ui.line()
    ui.line(f"{context.total_tokens:,} of {context.context_window:,} tokens", "bold")
    for name, mark, style, tokens in parts:
        ui.piece(f"  {mark}", style)
        ui.line(f" {name:<14} {tokens:>9,}  {tokens / max(context.context_window, 1):>6.1%}")
    if cached := cached_line(context):
        ui.line(cached, "dim")


def cached_line(context: GetContextResponse) -> str:
    """Return how much of the last prompt the endpoint had in its cache; empty if it reported nothing of the kind."""
    usages = [shown.message.usage for shown in context.messages if shown.message.HasField("usage")]
    last = usages[-1] if usages else None
    if last is None or not last.cached_tokens:
        return ""
    share = last.cached_tokens / max(last.prompt_tokens, last.cached_tokens)
    return f"cached by the endpoint: {last.cached_tokens:,} of {last.prompt_tokens:,} tokens read last ({share:.0%})"


def cells(sizes: Sequence[int], width: int) -> list[int]:
    """Distribute `width` characters in proportion to sizes; a part that is not empty gets at least one.

    Args:
        sizes: Sizes of the parts: not negative, and at most `width` of them.
        width: Number of characters.
    """
    total = sum(sizes)
    if not total:
        return [0] * len(sizes)
    exact = [size * width / total for size in sizes]
    shares = [max(int(share), 1) if share else 0 for share in exact]
    while sum(shares) != width:  # Takes few steps, since each part is off by less than one.
        step = 1 if sum(shares) < width else -1
        places = [place for place, share in enumerate(shares) if share > (0 if step > 0 else 1)]
        place = max(places, key=lambda place: (exact[place] - shares[place]) * step)
        shares[place] += step
    return shares
