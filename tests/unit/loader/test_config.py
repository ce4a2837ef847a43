from __future__ import annotations

from pathlib import Path

import pytest
from memgpt.config import ConfigError, load_config
from memgpt_loader.config import LoaderSettings


def test_the_defaults_are_valid(tmp_path: Path) -> None:
    settings = load_config("loader", LoaderSettings, environ={"MEMGPT_HOME": str(tmp_path)}).service
    assert (settings.port, settings.memory_address, settings.passage_tokens) == (50053, "127.0.0.1:50052", 300)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("MEMGPT_LOADER_SPOOL_BYTES", "2000000", "max_file_bytes must not be more than spool_bytes"),
        ("MEMGPT_LOADER_PASSAGE_OVERLAP", "151", "passage_overlap must not be more than half of passage_tokens"),
        ("MEMGPT_LOADER_PARSER_SECONDS", "0", "MEMGPT_LOADER_PARSER_SECONDS"),
        ("MEMGPT_LOADER_SPOOL_BITES", "1", "MEMGPT_LOADER_SPOOL_BYTES"),
    ],
)
def test_a_mistake_names_its_key(tmp_path: Path, variable: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config("loader", LoaderSettings, environ={"MEMGPT_HOME": str(tmp_path), variable: value})
