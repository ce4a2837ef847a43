"""The limits of a tenant."""

from __future__ import annotations

from memgpt_memory.records import StoredModel


class Limits(StoredModel):
    """Limits as an operator set them. 0 is no limit; None is the service's default, which itself has no None."""

    agents: int | None = None
    sources: int | None = None
    passages: int | None = None
    bytes: int | None = None
    concurrent_turns: int | None = None
    turns_per_minute: int | None = None
    searches_per_minute: int | None = None
    loaded_bytes_per_minute: int | None = None
    model_tokens_per_day: int | None = None

    def over(self, defaults: Limits) -> Limits:
        """Return these limits, with the defaults for those that are not set."""
        return defaults.model_copy(update=self.model_dump(exclude_none=True))

    def of(self, name: str) -> int:
        """Return the limit of a name; 0 for no limit."""
        return getattr(self, name) or 0
