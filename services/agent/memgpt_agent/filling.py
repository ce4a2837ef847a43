"""What fills a context window, by kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from memgpt_agent import prompt
from memgpt_agent.domain import Context, Message
from memgpt_agent.functions import Function
from memgpt_agent.window import Window


@dataclass(frozen=True, slots=True)
class Filling:
    """Tokens by kind.

    Attributes:
        instructions: The system message without the blocks.
        blocks: Core memory.
        functions: The declarations.
        summary: The summary of what left the window.
        messages: The messages.
    """

    instructions: int
    blocks: int
    functions: int
    summary: int
    messages: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(astuple(self))


def filling(
    context: Context, window: Window, functions: Sequence[Function]
) -> tuple[Filling, list[tuple[Message, int]]]:
    """What the model is shown of ``context``: tokens by kind, and message by message."""
    sizes = [(message, window.size(message)) for message in prompt.compose(context)]
    head = len(sizes) - len(context.messages)
    system, *summary = (size for _, size in sizes[:head])
    blocks = window.text_size(prompt.blocks_text(context.blocks))
    return Filling(
        # What is left of the system message, so that the parts add up: tokens may reach over the seam.
        instructions=system - blocks,
        blocks=blocks,
        functions=window.function_tokens(functions),
        summary=sum(summary),
        messages=sum(size for _, size in sizes[head:]),
    ), sizes
