"""The tokens of the context window by kind of content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.note import note_message
from memgpt_agent.context_window.window import ContextWindow
from memgpt_agent.domain import Context, Message
from memgpt_agent.functions import Function


@dataclass(frozen=True, slots=True)
class ContextUsage:
    """Tokens by kind.

    Attributes:
        instructions: The system message without the blocks.
        blocks: Core memory.
        functions: The functions' schemas, and the note at the end of the prompt.
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
        """Tokens of the whole prompt."""
        return sum(astuple(self))


def measure(
    context: Context, window: ContextWindow, functions: Sequence[Function]
) -> tuple[ContextUsage, list[tuple[Message, int]]]:
    """Return the tokens of the prompt for ``context``, by kind and by message."""
    sizes = [(message, window.size(message)) for message in prompt.compose(context)]
    head = len(sizes) - len(context.messages)
    system, *summary = (size for _, size in sizes[:head])
    changed = window.text_size(prompt.changed_text(context))
    blocks = window.text_size(prompt.blocks_text(context))
    return ContextUsage(
        # The rest of the system message, so that the parts add up: a token may span two parts.
        instructions=system + changed - blocks,
        blocks=blocks,
        functions=window.function_tokens(functions) + window.size(note_message(context)) - changed,
        summary=sum(summary),
        messages=sum(size for _, size in sizes[head:]),
    ), sizes
