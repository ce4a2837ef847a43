"""Parts of a request that several modules use."""

from __future__ import annotations

from dataclasses import dataclass

Wire = dict[str, object]
"""A part of a request's body."""

OPENING = "(The conversation begins.)"
"""A user message before an answer that begins the conversation: most endpoints require the user to begin."""

FILLER = "."
"""A placeholder where an endpoint requires a text and there is none."""


@dataclass(slots=True)
class Quirks:
    """Demands of one model on a history, beyond OpenAI's protocol. Each is set when a request without it is refused.

    Attributes:
        answer_after_result: An answer between a function's result and the user's next message.
        no_system: No system message: its text is put before the user's first one.
        no_empty_content: A text with every call.
        reasoning: The reasoning that came with each call, in ``reasoning_content``.
        signatures: The signature that came with each call, in ``extra_content``.
        named_results: The function's name with its result.
        thinking: The blocks of reasoning, with signatures, that came beside the calls of an answer.
        described: A description for every parameter of a function.
    """

    answer_after_result: bool = False
    no_system: bool = False
    no_empty_content: bool = False
    reasoning: bool = False
    signatures: bool = False
    named_results: bool = False
    thinking: bool = False
    described: bool = False
