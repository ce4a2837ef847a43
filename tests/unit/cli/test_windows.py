"""The command line and the client on Windows, as far as Linux can show: without the modules that only Unix has."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from memgpt.cli.access import profiles
from memgpt.cli.access.profiles import Profile
from memgpt.cli.errors import CliError
from memgpt.cli.services.children import Addresses
from memgpt.cli.services.connect import announced, find_server, services
from memgpt.cli.settings import load_settings

_IMPORT_ALL = """
import importlib, os, pkgutil, sys
for name in ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
for name in ("O_CLOEXEC", "O_NOFOLLOW", "fork", "geteuid", "getuid"):
    delattr(os, name)
import memgpt.cli, memgpt.client
for package in (memgpt.client, memgpt.cli):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(("__main__", ".services.sharing", ".services.testing")):
            importlib.import_module(module.name)
"""


def test_every_module_but_those_of_services_is_imported_without_unix() -> None:
    run = subprocess.run([sys.executable, "-c", _IMPORT_ALL], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr


def test_services_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_settings()
    monkeypatch.setattr("memgpt.cli.services.connect.find_server", lambda _: None)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(CliError, match=r"natively on Windows; use WSL or Docker"), services(config, print):
        pass


_SERVER = """
import sys, types
from memgpt.cli.main import main
from memgpt.cli.services import windows
for name in ("fcntl", "resource", "memgpt.cli.services.serve", "memgpt.cli.services.children"):
    sys.modules[name] = None  # an import fails
windows.sys = types.SimpleNamespace(platform="win32")  # for this module alone: the standard library is Linux's
sys.argv = ["memgpt", "server", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("flags", [(), ("--testing",), ("--clock", "nonsense")], ids=str)
def test_the_server_is_refused_before_anything_else_can_fail(tmp_path: Path, flags: tuple[str, ...]) -> None:
    (tmp_path / "config.toml").write_text("neither TOML nor readable")
    run = subprocess.run(
        [sys.executable, "-c", _SERVER, *flags],
        env={"MEMGPT_HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 2
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert "Windows; use WSL or Docker" in line


def test_no_process_is_signaled_to_find_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.kill` with 0 is Ctrl-C there. A home may come from WSL, with the file of a server."""
    monkeypatch.setenv("MEMGPT_HOME", str(tmp_path))
    config = load_settings()
    with announced(config, Addresses("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")):
        monkeypatch.setattr(sys, "platform", "win32")
        signaled: list[int] = []
        monkeypatch.setattr("os.kill", lambda pid, _: signaled.append(pid))
        assert find_server(config) is None
    assert signaled == []


class _Msvcrt:
    """A stand-in for msvcrt: locks belong to an open file, and waiting for one ends with an error after ten tries."""

    LK_LOCK = 1

    def __init__(self) -> None:
        self.refused = threading.Event()

    def locking(self, descriptor: int, mode: int, size: int) -> None:
        assert (mode, size) == (self.LK_LOCK, 1)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.refused.set()
            raise OSError(errno.EDEADLOCK, "Resource deadlock avoided") from None


def test_profiles_are_locked_by_what_windows_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    msvcrt = _Msvcrt()
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    monkeypatch.setattr(sys, "platform", "win32")
    other = threading.Thread(target=profiles.save, args=(tmp_path, "b", Profile("b:1", "b:2", "b:3", tls=True)))
    with profiles._locked(tmp_path):
        other.start()
        assert msvcrt.refused.wait(60)
        assert profiles.load(tmp_path).by_name == {}
    other.join(60)
    assert set(profiles.load(tmp_path).by_name) == {"b"}


def test_a_lock_that_cannot_be_had_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locking(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_LOCK=1, locking=locking))
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(PermissionError), profiles._locked(tmp_path):
        pass
