"""The settings of the loop."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_agent.context_window.tokens import CountTokens
from memgpt_agent.context_window.window import ContextWindow


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Settings of the loop.

    Attributes:
        context_window: Tokens of the model's context window, for agents that do not set their own.
        max_answer_tokens: Tokens reserved for an answer, which are also its limit.
        max_steps: Limit of steps in a turn.
        pressure: Fraction of the window above which the agent is alerted.
        keep: Largest fraction of the messages that an eviction leaves.
        renew_seconds: Seconds between two renewals of the lease, which lasts 10 seconds.
        queue_timeout: Seconds that a turn waits for the agent's other turns.
        retry_seconds: Seconds before the first retry of a commit without a response; doubles each time.
        auto_recall: Whether each user message is searched for in recall and archival memory before the model is asked.
    """

    context_window: int = 8192
    max_answer_tokens: int = 1024
    max_steps: int = 50
    pressure: float = 0.75
    keep: float = 0.75
    renew_seconds: float = 3.0
    queue_timeout: float = 600.0
    retry_seconds: float = 0.25
    auto_recall: bool = False

    def window(self, context_window: int, count: CountTokens) -> ContextWindow:
        """Return the window of an agent; a ``context_window`` of 0 means the setting's."""
        tokens = context_window or self.context_window
        # At most a quarter, so that a small window has room for a prompt.
        reserve = min(self.max_answer_tokens, tokens // 4)
        return ContextWindow(tokens, reserve, self.pressure, self.keep, count)
