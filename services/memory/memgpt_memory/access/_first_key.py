"""The first key of a store, which is needed to create all others."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import structlog
from memgpt.config import ConfigError
from memgpt_runtime.principal import DEFAULT_TENANT, Role

from memgpt_memory.access._api_keys import ApiKeys, NewApiKey

_log = structlog.get_logger(__name__)

NAME = "first"


class FirstKey:
    """Creates an operator's key in a store that has none, and writes its token to a file."""

    def __init__(self, file: Path | None) -> None:
        """Write the token to `file`, which only its owner can read; with None, create no key."""
        self._file = file.expanduser() if file is not None else None

    async def create(self, keys: ApiKeys) -> None:
        """Create the key, unless the tenant `default` has keys.

        Raises:
            ConfigError: The file cannot be written; there is no key then.
        """
        file = self._file
        if file is None:
            return
        draft = file.with_name(f"{file.name}.new")
        try:
            if (await keys.list(DEFAULT_TENANT, 1, "")).items:
                if draft.exists():  # a crash came between the key and its file
                    draft.replace(file)
                return
            row, _ = await keys.create(NewApiKey(DEFAULT_TENANT, NAME, Role.OPERATOR), partial(_write, draft))
            try:
                draft.replace(file)
            except OSError:
                await keys.delete(DEFAULT_TENANT, row.id)
                raise
        except OSError as error:
            why = (error.strerror or "refused").lower()
            raise ConfigError(f"memory.first_key_file: cannot write {file}: {why}") from error
        _log.warning("first_api_key_created", file=str(file), role="operator", key=row.id)


def _write(file: Path, token: str) -> None:
    """Write a token to a file that only its owner can read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with open(file, "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as opened:
        opened.write(f"{token}\n")
        opened.flush()
        os.fsync(opened.fileno())
