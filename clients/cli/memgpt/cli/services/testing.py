"""`memgpt server --testing`: services for tests of clients, with a store that is gone when they end."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.services.children import STOP_TIMEOUT
from memgpt.cli.settings import ClientSettings
from memgpt.config import Config, load_config

_PREFIX = "memgpt-testing-"
_SERVICES_LOCK = "services.lock"
_POLL_SECONDS = 0.05


def parse_clock(text: str) -> datetime:
    """Return a time such as ``2026-01-01T12:00:00Z``, of UTC unless it has a zone.

    Raises:
        CliError: The text is not a time, or the time is before 1970.
    """
    try:
        time = datetime.fromisoformat(text)
        time = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise CliError(f'"{text}" is not a time; write one such as 2026-01-01T12:00:00Z', MISUSE) from error
    if time.year < 1970:
        raise CliError(f'"{text}" is before 1970', MISUSE)
    return time


@contextmanager
def temporary_home() -> Iterator[Path]:
    """Yield a new folder for the data of services, and delete it at the end.

    A killed process leaves its folder; the next one deletes it. A lock on the folder shows that its command runs. Its
    services may outlive that for a moment and write on: they hold the lock of `hold_services`.
    """
    root = Path(tempfile.gettempdir())
    until = time.monotonic() + STOP_TIMEOUT
    for left in root.glob(f"{_PREFIX}*"):
        _delete_unused(left, until)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # another process has taken it for a left one
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            break
        os.close(lock)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def hold_services(home: Path) -> int:
    """Lock the folder for services, and return the descriptor that they inherit: the last of them to end releases it.

    Args:
        home: A folder of `temporary_home`.
    """
    lock = os.open(home / _SERVICES_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _delete_unused(folder: Path, until: float) -> None:
    """Delete a folder unless its command runs. Its services, which notice that it is gone, get until then to end."""
    try:
        if folder.lstat().st_uid != os.getuid():
            return
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _await_services(folder / _SERVICES_LOCK, until):
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return
    finally:
        os.close(lock)


def _await_services(file: Path, until: float) -> bool:
    """Wait until no service holds the lock in a file; return whether that is so."""
    try:
        lock = os.open(file, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:  # no service has been started
        return True
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    return False
                time.sleep(_POLL_SECONDS)
            else:
                return True
    finally:
        os.close(lock)


def testing_config(home: Path) -> Config[ClientSettings]:
    """Return the settings of the environment, with a folder of their own and without a configuration file.

    Raises:
        ConfigError: A variable is invalid.
    """
    return load_config("client", ClientSettings, environ={**os.environ, **_place(home)})


def testing_settings(home: Path, clock: datetime | None, *, quiet: bool) -> dict[str, str]:
    """Return the settings of the services, which take precedence over those of the environment.

    Args:
        home: Folder for their data.
        clock: Time at which the clock stands still; None for the real time.
        quiet: Whether to log errors only.
    """
    settings = {
        **_place(home),
        "MEMGPT_SERVER_TESTING": "true",
        "MEMGPT_SERVER_SERVICE_KEY": "",
        "MEMGPT_SERVER_SERVICE_KEY_FILE": str(home / "service_key"),
        "MEMGPT_SERVER_CREATE_SERVICE_KEY": "true",
        "MEMGPT_MEMORY_URI": str(home / "milvus.db"),
        "MEMGPT_MEMORY_SYNC": "never",
        "MEMGPT_MEMORY_EMBEDDING": "wordllama",
        "MEMGPT_MEMORY_REEMBED": "",
        "MEMGPT_LOADER_SPOOL_DIR": str(home / "spool"),
        "MEMGPT_AGENT_MODEL": "offline",
    }
    if quiet:
        settings["MEMGPT_SERVER_LOG_LEVEL"] = "error"
    if clock is not None:
        settings["MEMGPT_SERVER_TESTING_CLOCK"] = clock.isoformat()
    return settings


def _place(home: Path) -> Mapping[str, str]:
    return {"MEMGPT_HOME": str(home), "MEMGPT_CONFIG": ""}
