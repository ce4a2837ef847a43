"""Services that the commands of one home share: the first one starts them, the last one stops them.

Each user of the services holds three things that the kernel releases when a process dies: the write end of a pipe that
keeps Agent and Loader alive, the write end of one that keeps Memory alive, and a shared lock, by which the last user
knows that it is the last. The pipes are named. An exclusive lock on another file serializes starts and stops.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.services.children import STOP_TIMEOUT, Addresses, Child, Lifeline, launch, stop
from memgpt.cli.services.exits import Exit
from memgpt.cli.settings import ClientSettings
from memgpt.config import Config, config_path

_LAST_PORT = 65535

_SECTIONS = ("SERVER", "MEMORY", "LOADER", "AGENT")

_LOCK_SECONDS = 150.0
"""Seconds to wait for another command that starts or stops the services."""


@contextmanager
def shared(
    config: Config[ClientSettings], tell: Callable[[str], None], overrides: Mapping[str, str]
) -> Iterator[Addresses]:
    """Use the services of this home, starting them if necessary.

    Args:
        config: Has the home.
        tell: Receives messages for people while services start or stop.
        overrides: Settings of the services for this command.

    Raises:
        CliError: The services did not start, or they run with other settings.
    """
    folder = config.home / "run"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _exclusive(folder):
        user = _joined(folder, tell, overrides) or _started(config, folder, tell, overrides)
    try:
        yield user.addresses
    finally:
        with _exclusive(folder):
            user.leave()


class _User:
    """This process's share in the services."""

    def __init__(self, state: dict[str, Any], folder: Path, front: int, back: int, lock: int) -> None:
        self.addresses = Addresses(**state["addresses"])
        self._state = state
        self._folder = folder
        self._front, self._back, self._lock = front, back, lock

    def leave(self) -> None:
        """Release the services; the last user waits until they have stopped and their store is free."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            last = False
        else:
            last = True
            _forget(self._folder, self._state)
        services = [Exit(pid) for pid in self._state["pids"]] if last else []
        os.close(self._front)
        for service in services[1:]:
            service.wait(STOP_TIMEOUT)
        os.close(self._back)
        for service in services[:1]:
            service.wait(STOP_TIMEOUT)
        os.close(self._lock)
        if last:
            for name in ("front", "back", "users"):
                _file(self._folder, self._state["id"], name).unlink(missing_ok=True)


class _Starter(_User):
    """The user that started the services as its child processes."""

    def __init__(
        self, state: dict[str, Any], folder: Path, lock: int, children: list[Child], front: Lifeline, back: Lifeline
    ) -> None:
        super().__init__(state, folder, -1, -1, lock)
        self._children = children
        self._lifelines = front, back

    def leave(self) -> None:
        """Release the services; see `_User`."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            for lifeline in self._lifelines:
                lifeline.let_go()
            for child in self._children:
                child.leave()
        else:
            _forget(self._folder, self._state)
            stop(self._children, *self._lifelines)
            for name in ("front", "back", "users"):
                _file(self._folder, self._state["id"], name).unlink(missing_ok=True)
        os.close(self._lock)


def _joined(folder: Path, tell: Callable[[str], None], overrides: Mapping[str, str]) -> _User | None:
    """Join running services; None if there are none."""
    try:
        state = json.loads(_state_file(folder, _environment()).read_text(encoding="utf-8"))
        identity = str(state["id"])
        held: list[int] = []
        try:
            for name, flags in (("front", os.O_WRONLY), ("back", os.O_WRONLY), ("users", os.O_RDWR)):
                held.append(os.open(_file(folder, identity, name), flags | os.O_NONBLOCK))
            fcntl.flock(held[-1], fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            for descriptor in held:
                os.close(descriptor)
            return None
        user = _User(state, folder, *held)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if overrides:
        user.leave()
        raise CliError(
            "other memgpt commands use the services, with settings of their own; end them, or leave out"
            f" what sets {', '.join(overrides)}",
            MISUSE,
        )
    if state["configuration"] != _configuration():
        tell(
            "the services run with the configuration that was there when they started; they read the new one when"
            " every memgpt command of this home has ended"
        )
    return user


def _started(
    config: Config[ClientSettings], folder: Path, tell: Callable[[str], None], overrides: Mapping[str, str]
) -> _User:
    _check_ports()
    identity = f"{os.getpid()}-{time.time_ns()}"
    private = dict(overrides)
    for name in ("MEMORY", "LOADER", "AGENT"):
        private |= {f"MEMGPT_{name}_HOST": "127.0.0.1", f"MEMGPT_{name}_PORT": "0", f"MEMGPT_{name}_METRICS_PORT": "0"}
    _sweep(folder)
    children: list[Child] = []
    front, back = Lifeline(_file(folder, identity, "front")), Lifeline(_file(folder, identity, "back"))
    lock = os.open(_file(folder, identity, "users"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    try:
        launch(config, private, tell, children, front, back)
        addresses = Addresses(**{child.name: child.address for child in children})
        state = {
            "id": identity,
            "pids": [child.process.pid for child in children],
            "addresses": asdict(addresses),
            "environment": _environment(),
            "configuration": _configuration(),
        }
        if not overrides:  # other commands must not use overrides of one command
            draft = folder / f"services.{identity}"
            draft.write_text(json.dumps(state), encoding="utf-8")
            draft.replace(_state_file(folder, _environment()))
    except BaseException:
        stop(children, front, back)
        os.close(lock)
        for name in ("front", "back", "users"):
            _file(folder, identity, name).unlink(missing_ok=True)
        raise
    return _Starter(state, folder, lock, children, front, back)


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the lock that serializes starts and stops of services."""
    descriptor = os.open(folder / "services.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise CliError(
                        "another memgpt command did not finish starting or stopping the services in time"
                    ) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove the files left by services whose users were killed."""
    for file in folder.glob("*.users"):
        descriptor = os.open(file, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        finally:
            os.close(descriptor)
        for name in ("front", "back", "users"):
            file.with_suffix(f".{name}").unlink(missing_ok=True)


def _file(folder: Path, identity: str, name: str) -> Path:
    return folder / f"{identity}.{name}"


def _state_file(folder: Path, environment: str) -> Path:
    """Return the file that describes the services of one environment.

    Commands with other settings, perhaps for another store, have services of their own; a store in use is refused when
    it is opened.
    """
    return folder / f"services-{environment[:16]}.json"


def _forget(folder: Path, state: Mapping[str, Any]) -> None:
    """Remove the description of these services, unless others have replaced it."""
    file = _state_file(folder, state["environment"])
    with suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads(file.read_text(encoding="utf-8"))["id"] == state["id"]:
            file.unlink()


def _check_ports() -> None:
    """Refuse invalid ports in the environment, which the services would not see: they listen on free ones."""
    for name in ("MEMORY", "LOADER", "AGENT"):
        for key in (f"MEMGPT_{name}_PORT", f"MEMGPT_{name}_METRICS_PORT"):
            value = os.environ.get(key, "")
            # Kubernetes describes Services in variables of the same name, such as tcp://10.96.0.9:9464.
            if value and "://" not in value and not (value.isdecimal() and int(value[:9]) <= _LAST_PORT):
                raise CliError(
                    f'{key} is not a port: "{value}"; set a number from 0 to {_LAST_PORT}, or unset it', MISUSE
                )


def _environment() -> str:
    """Return a digest of the settings in the environment and the path of the file."""
    prefixes = tuple(f"MEMGPT_{section}_" for section in _SECTIONS)
    settings = sorted(f"{key}={value}" for key, value in os.environ.items() if key.startswith(prefixes))
    return hashlib.sha256("\0".join([str(config_path()), *settings]).encode(errors="surrogateescape")).hexdigest()


def _configuration() -> str:
    """Return a digest of the configuration file."""
    try:
        return hashlib.sha256(config_path().read_bytes()).hexdigest()
    except OSError:
        return ""
