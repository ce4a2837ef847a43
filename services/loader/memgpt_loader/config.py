"""Settings of the Loader: `[loader]` in the configuration file, `MEMGPT_LOADER_*` in the environment."""

from __future__ import annotations

from pathlib import Path

from memgpt.config import MemoryClientSection
from pydantic import Field, model_validator

_MIB = 1024 * 1024


class LoaderSettings(MemoryClientSection):
    """`[loader]`."""

    port: int = Field(50053, ge=0, le=65535, description="Port to listen on; 0 for any free one.")
    spool_dir: Path | None = Field(
        None, description="Folder for uploads until they are read; spool in the suite's folder if not set."
    )
    spool_bytes: int = Field(
        2048 * _MIB, ge=_MIB, description="Bytes of uploads at a time until they are read; a load has half at most."
    )
    max_file_bytes: int = Field(256 * _MIB, ge=1, description="Bytes of a file at most.")
    max_pages: int = Field(10_000, ge=1, description="Pages, slides, sheets or chapters of a file at most.")
    max_chars: int = Field(300_000_000, ge=1, description="Characters of text in a file at most.")
    max_unpacked_bytes: int = Field(
        1024 * _MIB, ge=_MIB, description="Bytes at most of all that is packed in a file, such as an office document."
    )
    passage_tokens: int = Field(300, ge=20, le=1000, description="Tokens of a passage at most.")
    passage_overlap: int = Field(
        0, ge=0, le=500, description="Tokens at most that a passage repeats of the one before it on the same page."
    )
    parser_processes: int = Field(
        2,
        ge=1,
        le=64,
        description="Files that are parsed at a time, each in a process; a load that has none gets one more.",
    )
    parser_memory_bytes: int = Field(
        1024 * _MIB, ge=300 * _MIB, description="Memory of a parser process; a file that needs more fails."
    )
    parser_seconds: float = Field(120.0, gt=0, description="Seconds to read a file of up to a million characters.")
    upload_pause_seconds: float = Field(60.0, gt=0, description="Seconds that an upload may take for each MiB.")
    idle_seconds: float = Field(3600.0, gt=0, description="After this time without uploads a load is cancelled.")
    store_retry_seconds: float = Field(
        120.0,
        ge=0,
        description="How long a file is tried again while Memory is out of reach, or no parser can be started.",
    )

    @model_validator(mode="after")
    def _values_fit(self) -> LoaderSettings:
        if self.max_file_bytes > self.spool_bytes:
            raise ValueError("max_file_bytes must not be more than spool_bytes: lower it, or raise spool_bytes")
        if 2 * self.passage_overlap > self.passage_tokens:
            raise ValueError("passage_overlap must not be more than half of passage_tokens: lower it")
        return self
