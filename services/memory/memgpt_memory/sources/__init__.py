"""Sources: documents under one name, their files and versions, and the records of loads."""

from __future__ import annotations

from memgpt_memory.sources._loads import LoadRecord, LoadRecords
from memgpt_memory.sources._rows import FileRow
from memgpt_memory.sources._sources import FileVersion, LiveSource, Sources

__all__ = [
    "FileRow",
    "FileVersion",
    "LiveSource",
    "LoadRecord",
    "LoadRecords",
    "Sources",
]
