"""A client's request for a turn."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from memgpt_agent.domain import Message


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """A request to run a turn.

    Attributes:
        agent_id: The agent.
        request_id: Identifies the turn.
        fingerprint: Digest of the client's request.
        messages: The turn's input; empty to continue a turn, or to let the agent answer what it already has.
        verify: Whether the first answer of a new agent is checked.
        max_steps: Limit of steps; 0 for the setting.
        max_tokens: Limit of tokens; 0 for none.
        retry: Whether to take back the last turn and run its input instead of ``messages``.
        time_placeholder: Text in ``messages`` that Memory replaces by the time; empty for none.
        queue_timeout: Seconds to wait for the agent's other turns; None for the setting.
    """

    agent_id: str
    request_id: str
    fingerprint: bytes = b""
    messages: tuple[Message, ...] = ()
    verify: bool = True
    max_steps: int = 0
    max_tokens: int = 0
    retry: bool = False
    time_placeholder: str = ""
    queue_timeout: float | None = None

    def options(self) -> bytes:
        """Return what another replica must know to continue the turn."""
        options = {"verify": self.verify, "max_steps": self.max_steps, "max_tokens": self.max_tokens}
        return json.dumps(options).encode()

    def with_options(self, options: bytes) -> TurnRequest:
        """Return the request with the options of the one that began the turn."""
        if not options:
            return self
        known = json.loads(options)
        return replace(self, verify=known["verify"], max_steps=known["max_steps"], max_tokens=known["max_tokens"])
