"""What watchers of a load are told."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_loader.model import Load, LoadFile


@dataclass(frozen=True, slots=True)
class FileChanged:
    """A file changed.

    Attributes:
        sequence: Number of the event.
        file: The file as it was then.
    """

    sequence: int
    file: LoadFile


@dataclass(frozen=True, slots=True)
class LoadEnded:
    """The last event.

    Attributes:
        sequence: Number of the event.
        load: The load as it ended.
    """

    sequence: int
    load: Load


LoadEvent = FileChanged | LoadEnded
