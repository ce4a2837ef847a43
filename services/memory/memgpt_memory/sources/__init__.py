"""Sources: documents under one name, their files and versions, and the records of loads."""

from __future__ import annotations

from memgpt_memory.sources._files import FileVersion, Upload
from memgpt_memory.sources._live_source import LiveSource
from memgpt_memory.sources._loads import LoadRecord, LoadRecords
from memgpt_memory.sources._rows import FileRow
from memgpt_memory.sources._sources import Sources

__all__ = ["FileRow", "FileVersion", "LiveSource", "LoadRecord", "LoadRecords", "Sources", "Upload"]
