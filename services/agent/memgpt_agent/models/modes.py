"""How each model calls functions: detected from its answers, and revised.

In ``auto`` the first answers decide. For a model that has not called a function in a mode yet, the other mode may be
tried at once. For one that has, the mode changes only after two bad answers in a row, since any model gives a bad
answer now and then.
"""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_agent.models.endpoint import CallMode

_STRIKES = 2


@dataclass(slots=True)
class _Found:
    mode: CallMode = CallMode.TOOLS
    known: bool = False
    trusted: bool = False
    strikes: int = 0


class Modes:
    """The modes of the models of one endpoint."""

    def __init__(self, configured: CallMode) -> None:
        self._configured = configured
        self._found: dict[str, _Found] = {}

    @property
    def automatic(self) -> bool:
        """Whether modes are detected."""
        return self._configured is CallMode.AUTO

    def shown(self, model: str) -> CallMode:
        """Return the mode of a model to show to people: AUTO while it is not known."""
        found = self._found.get(model)
        return self._configured if not self.automatic or found is None or not found.known else found.mode

    def current(self, model: str) -> CallMode:
        """Return the mode for the next request to a model."""
        return self._configured if not self.automatic else self._of(model).mode

    def other(self, mode: CallMode) -> CallMode | None:
        """Return the mode to try when ``mode`` fails; None if the configuration allows no other."""
        if not self.automatic:
            return None
        return CallMode.JSON_SCHEMA if mode is CallMode.TOOLS else CallMode.TOOLS

    def trusts(self, model: str) -> bool:
        """Whether the model has called a function in its current mode."""
        return not self.automatic or self._of(model).trusted

    def worked(self, model: str, mode: CallMode) -> None:
        """Note that the model called a function in ``mode``."""
        if not self.automatic:
            return
        found = self._of(model)
        if found.mode is mode:
            found.known = found.trusted = True
            found.strikes = 0
        elif not found.trusted or found.strikes >= _STRIKES:
            self._found[model] = _Found(mode, known=True, trusted=True)

    def failed(self, model: str, mode: CallMode, *, for_good: bool = False) -> None:
        """Note that the model made no call in ``mode``; ``for_good`` if its endpoint does not support calls in it."""
        found = self._of(model)
        if not self.automatic or found.mode is not mode:
            return
        found.strikes = _STRIKES if for_good else found.strikes + 1
        if for_good:
            found.trusted = False

    def _of(self, model: str) -> _Found:
        return self._found.setdefault(model, _Found())
