"""An answer as it came from an endpoint, before it is understood."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_agent.domain import NO_USAGE, Usage

LENGTH = "length"
FILTERED = "content_filter"

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
}


def finish_of(reason: object) -> str:
    """An endpoint's ``finish_reason`` in OpenAI's words, as far as we tell reasons apart."""
    text = str(reason or "")
    return _FINISHES.get(text.lower(), text)


@dataclass(frozen=True, slots=True)
class RawCall:
    """A call as it was written; ``extra`` is what some endpoints want back with it, such as a signature."""

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
        usage: Empty where the endpoint does not report it.
        reasoning: Reasoning that came in a field of its own; some endpoints want it back beside a call.
        reasoning_tokens: As the endpoint counts them.
        runaway: Whether it was broken off since it repeated itself.
    """

    text: str = ""
    calls: tuple[RawCall, ...] = ()
    finish: str = ""
    refusal: str = ""
    usage: Usage = NO_USAGE
    reasoning: str = ""
    reasoning_tokens: int = 0
    runaway: bool = False

    @property
    def cut_off(self) -> str:
        """Why it is not whole; empty when it is, as far as one can tell."""
        if self.runaway:
            return "it repeats itself without end: write less"
        match self.finish:
            case "length":
                return "it was cut off for its length: write less"
            case "content_filter":
                return "the endpoint's content filter stopped it: put it in other words"
            case _:
                return ""

    @property
    def starved(self) -> bool:
        """Whether the limit of tokens left nothing, or only reasoning, of the answer."""
        return self.finish == LENGTH and not self.runaway and not (self.text.strip() or self.calls)


class MalformedError(Exception):
    """An answer without a call. The text tells the model what is wrong with it.

    Attributes:
        answer: The answer.
        at_fault: Whether the model does not keep to the form, as against having been cut off or filtered.
    """

    def __init__(self, problem: str, answer: Answer, *, at_fault: bool = True) -> None:
        super().__init__(problem)
        self.answer = answer
        self.at_fault = at_fault
