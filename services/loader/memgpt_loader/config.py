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
        None, description="Folder for uploads that wait to be parsed; default: spool in the home folder of the suite."
    )
    spool_bytes: int = Field(
        2048 * _MIB,
        ge=_MIB,
        description="Maximum total size in bytes of uploads that wait to be parsed; one load may use half of it, one "
        "tenant three quarters.",
    )
    max_file_bytes: int = Field(256 * _MIB, ge=1, description="Maximum size of a file in bytes.")
    max_pages: int = Field(10_000, ge=1, description="Maximum number of pages, slides, sheets or chapters in a file.")
    max_chars: int = Field(300_000_000, ge=1, description="Maximum number of characters of text in a file.")
    max_unpacked_bytes: int = Field(
        1024 * _MIB,
        ge=_MIB,
        description="Maximum unpacked size in bytes of a compressed file, such as an office document.",
    )
    passage_tokens: int = Field(300, ge=20, le=1000, description="Maximum number of tokens in a passage.")
    passage_overlap: int = Field(
        0,
        ge=0,
        le=500,
        description="Maximum number of tokens that a passage repeats from the previous one on the same page.",
    )
    ocr_languages: str = Field(
        "",
        pattern=r"^([A-Za-z_]{2,20}(\+[A-Za-z_]{2,20}){0,9})?$",
        description="Languages of text in scans and pictures, as Tesseract names them, joined by +: eng+deu. Empty: it "
        "is not recognized. Needs the extra `ocr` and the data of each language (Debian: tesseract-ocr-deu). Files "
        "with pictures that were not read are read again when they are next loaded.",
    )
    parser_processes: int = Field(
        2,
        ge=1,
        le=64,
        description="Number of files parsed concurrently, each in its own process. A tenant with no running parser "
        "may start one more.",
    )
    parser_memory_bytes: int = Field(
        1024 * _MIB,
        ge=300 * _MIB,
        description="Memory limit of a parser process in bytes; a file that needs more fails.",
    )
    parser_seconds: float = Field(
        120.0, gt=0, description="Time limit in seconds for each million characters of a file."
    )
    upload_pause_seconds: float = Field(60.0, gt=0, description="Time limit in seconds for each MiB of an upload.")
    idle_seconds: float = Field(3600.0, gt=0, description="Seconds without an upload after which a load is cancelled.")
    store_retry_seconds: float = Field(
        120.0,
        ge=0,
        description="Seconds for which a file is retried while Memory is unreachable or no parser can be started.",
    )
    rate_limit_seconds: float = Field(
        3600.0,
        ge=0,
        description="Seconds for which a file without progress waits while the embedding endpoint is rate limiting "
        "requests. If the endpoint asks for more, as after a daily limit, the file fails at once.",
    )

    @model_validator(mode="after")
    def _values_fit(self) -> LoaderSettings:
        if self.max_file_bytes > self.spool_bytes:
            raise ValueError("max_file_bytes must not be more than spool_bytes; lower it, or raise spool_bytes")
        if 2 * self.passage_overlap > self.passage_tokens:
            raise ValueError("passage_overlap must not be more than half of passage_tokens; lower it")
        return self
