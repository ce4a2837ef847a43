"""Counters of this process's loads, for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from memgpt_loader.model import FileState


@dataclass
class LoadStats:
    """Counters since the process started.

    Attributes:
        files_ended: Files that ended here, by state.
        passages_stored: Passages of the files that were loaded here.
        observe_file: Called with the state and the duration in seconds of every file that ended here.
    """

    files_ended: Counter[FileState] = field(default_factory=Counter)
    passages_stored: int = 0
    observe_file: Callable[[FileState, float], None] = lambda _state, _seconds: None
