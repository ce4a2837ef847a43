"""The command line and the client on Windows, as far as Linux can show: without the modules that only Unix has."""

from __future__ import annotations

import subprocess
import sys

import pytest
from memgpt.cli.errors import CliError
from memgpt.cli.services.connect import services
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
        if not module.name.endswith(("__main__", ".services.sharing")):
            importlib.import_module(module.name)
"""


def test_every_module_but_that_of_shared_services_is_imported_without_unix() -> None:
    run = subprocess.run([sys.executable, "-c", _IMPORT_ALL], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr


def test_services_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_settings()
    monkeypatch.setattr("memgpt.cli.services.connect.find_server", lambda _: None)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(CliError, match=r"natively on Windows; use WSL or Docker"), services(config, print):
        pass
