"""Events that watchers of a load receive."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_loader.model import Load, LoadFile


@dataclass(frozen=True, slots=True)
class FileChanged:
    """A change of a file.

    Attributes:
        sequence: Number of the event.
        file: The file at that time.
    """

    sequence: int
    file: LoadFile


@dataclass(frozen=True, slots=True)
class LoadEnded:
    """The last event.

    Attributes:
        sequence: Number of the event.
        load: The ended load.
    """

    sequence: int
    load: Load


LoadEvent = FileChanged | LoadEnded
