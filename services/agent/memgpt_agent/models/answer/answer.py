"""An answer as it came from an endpoint, before it is interpreted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from memgpt_agent.domain import NO_USAGE, Usage

LENGTH = "length"
FILTERED = "content_filter"
BROKEN_OFF = "error"

_FINISHES = {
    "length": LENGTH,
    "max_tokens": LENGTH,
    "max_output_tokens": LENGTH,
    "model_length": LENGTH,
    "model_context_window_exceeded": LENGTH,
    "incomplete": LENGTH,
    "content_filter": FILTERED,
    "content-filter": FILTERED,
    "content_filtered": FILTERED,
    "sensitive": FILTERED,
    "safety": FILTERED,
    "recitation": FILTERED,
    "prohibited_content": FILTERED,
    "blocklist": FILTERED,
    "spii": FILTERED,
    "refusal": FILTERED,
    "guardrail_intervened": FILTERED,
    "error": BROKEN_OFF,
    "abort": BROKEN_OFF,
    "aborted": BROKEN_OFF,
    "cancelled": BROKEN_OFF,
    "failed": BROKEN_OFF,
    "network_error": BROKEN_OFF,
    "insufficient_system_resource": BROKEN_OFF,
}


def finish_of(reason: object) -> str:
    """Convert an endpoint's ``finish_reason`` to OpenAI's term, for the reasons that we tell apart."""
    text = str(reason or "")
    return _FINISHES.get(text.lower().partition(":")[0], text)


@dataclass(frozen=True, slots=True)
class RawCall:
    """A call as it was written; ``extra`` is data that some endpoints expect back with it, such as a signature."""

    name: str
    arguments: str
    extra: object = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was streamed.

    Attributes:
        text: Its text, without reasoning.
        calls: Its calls, in order.
        finish: Why it ended, see `finish_of`; empty if it does not say.
        refusal: The model's refusal, which some endpoints send in a field of its own.
        usage: Empty if the endpoint does not report it.
        reasoning: Reasoning that came in a field of its own; some endpoints expect it back with a call.
        reasoning_tokens: As the endpoint counts them.
        runaway: Whether it was stopped because it repeated itself.
        blocks: Fields with blocks of reasoning, which some endpoints expect back with a call.
        cached_apart: Whether the endpoint certainly counts the cached tokens apart from the prompt's.
    """

    text: str = ""
    calls: tuple[RawCall, ...] = ()
    finish: str = ""
    refusal: str = ""
    usage: Usage = NO_USAGE
    reasoning: str = ""
    reasoning_tokens: int = 0
    runaway: bool = False
    cached_apart: bool = False
    blocks: Mapping[str, object] | None = None

    @property
    def cut_off(self) -> str:
        """Why the answer is incomplete; empty if it seems complete."""
        if self.runaway:
            return "it repeats itself without end; write less"
        match self.finish:
            case "length":
                return "it was cut off for its length; write less"
            case "content_filter":
                return "the endpoint's content filter stopped it; put it in other words"
            case _:
                return ""

    @property
    def filtered_at_once(self) -> bool:
        """Whether a content filter stopped the answer before its first word."""
        return self.finish == FILTERED and not (self.text.strip() or self.calls)

    @property
    def starved(self) -> bool:
        """Whether the answer has no text or only reasoning because of the limit of tokens."""
        return self.finish == LENGTH and not self.runaway and not (self.text.strip() or self.calls)


class MalformedError(Exception):
    """An answer without a call. The message tells the model what is wrong with it.

    Attributes:
        answer: The answer.
        at_fault: Whether the model did not keep to the form, rather than being cut off or filtered.
    """

    def __init__(self, problem: str, answer: Answer, *, at_fault: bool = True) -> None:
        super().__init__(problem)
        self.answer = answer
        self.at_fault = at_fault
