"""Decides whether an agent's context needs an alert, an eviction, or shorter messages to fit its model's window.

The loop uses the window only through this module. The size rules are in ``window``; ``loop.summary`` evicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from memgpt_agent.context_window import guidance, prompt
from memgpt_agent.context_window.note import note_text
from memgpt_agent.context_window.window import ContextWindow, WindowTooSmallError
from memgpt_agent.domain import Context, Effects, Message
from memgpt_agent.functions import Function, functions_of


@dataclass(frozen=True, slots=True)
class ContextView:
    """A context in the form that fits its window.

    Attributes:
        window: The window.
        context: The context, abbreviated if the window is small.
        functions: The functions that the model may call.
    """

    window: ContextWindow
    context: Context
    functions: tuple[Function, ...]

    @classmethod
    def of(cls, window: ContextWindow, context: Context) -> ContextView:
        """Return the view of ``context`` through ``window``."""
        shaped = window.shaped(replace(context, messages=prompt.without_rejected(context.messages)))
        return cls(window, shaped, functions_of(shaped))

    @property
    def overflows(self) -> bool:
        """Whether the prompt leaves too little room for an answer."""
        return self.window.overflows(self.context, self.functions)

    @property
    def evictable(self) -> int:
        """How many of the oldest messages an eviction would take out; 0 if none can go."""
        return self.window.plan_eviction(self.context, self.functions)

    def with_fitting_recall(self) -> ContextView:
        """Return the view with the first recalled hits that leave room for an answer; none if nothing helps.

        They are only an offer, so that no message is evicted or shortened for them.
        """
        recalled = self.context.recalled
        view = self
        while view.context.recalled and view.overflows:
            recalled = recalled[:-1]
            view = replace(self, context=replace(self.context, recalled=recalled))
        return view

    def fitted(self) -> ContextView:
        """Return the view with its largest messages shortened to fit, or as it is if nothing helps."""
        try:
            return replace(self, context=self.window.fit(self.context, self.functions))
        except WindowTooSmallError:
            return self

    def messages(self) -> Sequence[Message]:
        """Return the prompt's messages, the largest ones shortened if they would not fit.

        Raises:
            WindowTooSmallError: They do not fit even then.
        """
        return prompt.compose(self.window.fit(self.context, self.functions))

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, the largest messages shortened if they would not fit."""
        return self.window.total(self.fitted().context, self.functions)

    def note(self, objection: str = "") -> str:
        """Return the note at the end of the prompt; ``objection`` says what was wrong with the last answer."""
        return note_text(self.context, objection)

    def guided_note(self, objection: str = "") -> str:
        """Return the note with advice for small models."""
        return note_text(self.context, objection or guidance.next_step(self.context), guided=True)

    @property
    def withheld(self) -> frozenset[str]:
        """Names of the functions that small models may not call now."""
        return guidance.withheld(self.context)

    @property
    def learns(self) -> bool:
        """Whether the user's message may tell facts about them, which small models save beside their call."""
        return guidance.learns(self.context)

    def alert_due(self, messages: Sequence[Message], effects: Effects) -> bool:
        """Whether the agent must be alerted to memory pressure once a step with these messages is committed."""
        return self.window.under_pressure(_after(self.context, messages, effects), self.functions)

    def narrowed(self, factor: float) -> ContextView:
        """Return the view through a window of ``factor`` times the tokens of this prompt and an answer.

        Used for endpoints that refuse the prompt: they count differently, or their window is smaller than configured.
        """
        whole = self.window.total(self.context, self.functions) + self.window.reserve
        return ContextView.of(replace(self.window, tokens=int(min(self.window.tokens, whole) * factor)), self.context)


def _after(context: Context, messages: Sequence[Message], effects: Effects) -> Context:
    """Return the context as it will be once the step is committed."""
    edits = {edit.label: edit.value for edit in effects.blocks}
    blocks = tuple(replace(block, value=edits.get(block.label, block.value)) for block in context.blocks)
    # What was recalled is shown once only.
    return replace(context, blocks=blocks, messages=(*context.messages, *messages), recalled=())
