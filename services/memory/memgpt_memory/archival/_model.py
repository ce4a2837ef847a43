"""Filters and hits of archival searches."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_memory.passages import Passage, VisibleVersion


@dataclass(frozen=True, slots=True)
class PassageFilter:
    """Conditions on passages, all of which must hold; times in microseconds, the end excluded."""

    source_ids: frozenset[str] = frozenset()
    file_names: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    created_from: int | None = None
    created_before: int | None = None

    @property
    def empty(self) -> bool:
        """Whether every passage passes."""
        return self == PassageFilter()

    @property
    def key(self) -> str:
        """A text that differs from that of every other filter."""
        return repr(
            [
                sorted(self.source_ids),
                sorted(self.file_names),
                sorted(self.tags),
                self.created_from,
                self.created_before,
            ]
        )

    @property
    def takes_notes(self) -> bool:
        """Whether an agent's notes may pass."""
        return not self.source_ids and not self.file_names

    @property
    def needs_rows(self) -> bool:
        """Whether a note's row is needed to decide."""
        return bool(self.tags) or self.created_from is not None or self.created_before is not None

    def spans(self, created: int) -> bool:
        """Whether a time is within the bounds of the filter."""
        return (self.created_from is None or created >= self.created_from) and (
            self.created_before is None or created < self.created_before
        )

    def takes(self, source_id: str, file_name: str, version: VisibleVersion) -> bool:
        """Whether the passages of a file pass."""
        return (
            (not self.source_ids or source_id in self.source_ids)
            and (not self.file_names or file_name in self.file_names)
            and self.tags <= set(version.tags)
            and self.spans(version.created)
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage in a ranking, from rank 0, with the known scores: cosine, BM25, and both fused."""

    passage: Passage
    rank: int
    dense: float | None = None
    text: float | None = None
    fused: float | None = None
