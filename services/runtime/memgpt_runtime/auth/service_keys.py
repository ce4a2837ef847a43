"""The keys with which the services of the suite authenticate to one another."""

from __future__ import annotations

import hmac
import os
import secrets
import time
from pathlib import Path

from memgpt.config import SERVICE_KEY_RULE, ConfigError, ServerSettings, is_service_key

from memgpt_runtime.logs import get_logger

_log = get_logger(__name__)

_CHECK_SECONDS = 2.0
_MOST_BYTES = 8192


class ServiceKeys:
    """The keys of a setting or a file. A changed file is read again; while it is unusable, the former keys hold.

    To replace a key without a refused call, write the new one into a second line on every server, then exchange the
    lines, then remove the former one.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Read the keys.

        Raises:
            ConfigError: The file cannot be read or created, or holds no usable key.
        """
        self._file = settings.service_key_file
        if self._file is not None and settings.create_service_key:
            _create(self._file.expanduser())
        self._stamp = self._stamp_now()
        self._checked_at = time.monotonic()
        own = settings.service_key.get_secret_value()
        keys = _read(self._file) if self._file is not None else [own] if own else []
        self._keys = [key.encode() for key in keys]

    def sent(self) -> str | None:
        """Return the key to authenticate with; None if there is none."""
        self._reload()
        return self._keys[0].decode() if self._keys else None

    def accept(self, token: str) -> bool:
        """Whether a token is one of the keys; compared in constant time."""
        self._reload()
        given = token.encode(errors="replace")
        found = False
        for key in self._keys:
            found |= hmac.compare_digest(key, given)
        return found

    def _reload(self) -> None:
        now = time.monotonic()
        if self._file is None or now - self._checked_at < _CHECK_SECONDS:
            return
        self._checked_at = now
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = [key.encode() for key in _read(self._file)]
        except ConfigError as error:
            _log.warning("service_key_reload_failed", error=str(error))
            return
        _log.info("service_key_reloaded", keys=len(self._keys))

    def _stamp_now(self) -> tuple[int, int, int] | None:
        if self._file is None:
            return None
        try:
            found = self._file.expanduser().stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _create(file: Path) -> None:
    """Create a file with a random key, which its owner and group can read, unless it exists."""
    if file.exists():  # perhaps in a folder that cannot be written to
        return
    beside = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    try:
        with open(beside, "x", opener=lambda path, flags: os.open(path, flags, 0o640)) as opened:
            opened.write(f"{secrets.token_hex(32)}\n")
            opened.flush()
            os.fsync(opened.fileno())
        try:
            os.link(beside, file)  # unlike a rename, it fails if another process was first
        except FileExistsError:
            return
        finally:
            beside.unlink()
    except OSError as error:
        why = (error.strerror or "refused").lower()
        raise ConfigError(f"server.service_key_file: cannot create {file}: {why}") from error
    _log.info("service_key_created", file=str(file))


def _read(file: Path) -> list[str]:
    path = file.expanduser()
    try:
        with path.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"server.service_key_file: cannot read {file}: {(error.strerror or 'refused').lower()}"
        ) from error
    keys = [line.strip() for line in data.decode(errors="replace").splitlines() if line.strip()]
    if len(data) > _MOST_BYTES or not keys or not all(is_service_key(key) for key in keys):
        raise ConfigError(f"server.service_key_file: each line of {file} must have {SERVICE_KEY_RULE}")
    return keys
