"""Every command in a home that cannot be written: it works without, or says so in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from memgpt.cli import main

from tests.support import chat_exports, letta_files, memgpt_home
from tests.support.every_command import commands
from tests.support.privileges import unprivileged
from tests.support.processes import service_environment

pytestmark = pytest.mark.linux("it takes the superuser's right to write everywhere")

WORKS = ("config", "version", "profiles list")
"""Commands that only read the home, if anything."""

FAILS_BEFORE = {
    "load webpage": "failed",
    "login": "cannot be reached",
    "logout": "not logged in",
    "restore": "backup.tar (No such file",
}
"""Commands whose arguments here are found to be wrong before the home is used."""

SAMPLE = frozenset(
    {
        *WORKS,
        "list agents",
        "ask",
        "doctor",
        "server",
        "configure",
        "quickstart",
        "profiles use",
        "import letta",
        "backup",
    }
)
"""Commands that use the home in different ways."""

ARGUMENTS = {
    "search": "tea --agent a",
    **dict.fromkeys(("attach", "detach"), "--agent a --data-source s"),
    "login": "--no-key --agent-address 127.0.0.1:1 --loader-address 127.0.0.1:1",
    "configure": "--offline",
    **dict.fromkeys(("backup", "restore"), "{folder}/backup.tar"),
    "ask": "hello --agent a",
    "keys create": "--name n --role admin",
    **dict.fromkeys(("keys show", "keys rotate", "tenants create", "tenants show", "quotas show"), "n"),
    **dict.fromkeys(("keys revoke", "keys delete", "tenants delete"), "n --yes"),
    "quotas set": "t loads=1",
    "load files": "{folder}/file.txt",
    "load directory": "--name s --input-files {folder}/file.txt",
    "load webpage": "http://127.0.0.1:1/ --name s",
    **dict.fromkeys(("load stdin", "load -"), "--name s --file-name f.txt"),
    **dict.fromkeys(("list blocks", "show notes", "tools list"), "--agent a"),
    **dict.fromkeys(("show agent", "show source", "show persona", "show human", "show preset"), "n"),
    "add block": "--agent a --name b",
    **dict.fromkeys(("add tag", "add description", "delete tag"), "t --agent a"),
    **dict.fromkeys(("add persona", "add human", "add preset", "blocks add"), "--name n --text x"),
    **dict.fromkeys(("rename agent", "rename source"), "a b"),
    "update agent": "a --message-ttl 30d",
    "delete description": "--agent a",
    "delete block": "b --agent a --yes",
    "delete file": "f --data-source s --yes",
    **dict.fromkeys(("delete note", "forget note"), "note_1 --agent a --yes"),
    **{f"delete {kind}": "n --yes" for kind in ("persona", "human", "preset", "agent", "source")},
    **dict.fromkeys(("tools add", "tools remove"), "localhost:1 --agent a"),
    "export agent": "a --output {folder}/agent",
    "export user": "u --output {folder}/user",
    "import agent": "{folder}/file.txt",
    "import letta": "{folder}/agent.af",
    "import memgpt": "{folder}/memgpt",
    "import chatgpt": "{folder}/chatgpt.json",
    "import claude": "{folder}/claude.json",
    "import mem0": "{folder}/mem0.json",
    "forget message": "1 --agent a --yes",
    "forget user": "u --yes",
    "profiles use": "local",
    "blocks show": "b",
    "blocks delete": "b --yes",
    **dict.fromkeys(("blocks attach", "blocks detach"), "b --agent a"),
    "heartbeats schedule": "--agent a --every 12h",
    "heartbeats list": "--agent a",
    "heartbeats cancel": "heartbeat_1 --agent a",
    "heartbeats limit": "--agent a",
}


def files_to_bring(folder: Path) -> None:
    """Write what commands are given."""
    folder.mkdir()
    (folder / "file.txt").write_text("Tea is in the tin.")
    (folder / "agent.af").write_text(json.dumps(letta_files.SHAPES["v1"]()))
    (folder / "memgpt").mkdir()
    memgpt_home.write_0_2(folder / "memgpt", messages=4)
    (folder / "chatgpt.json").write_text(json.dumps([chat_exports.chatgpt(1)]))
    (folder / "claude.json").write_text(json.dumps([chat_exports.claude(1)]))
    (folder / "mem0.json").write_text(json.dumps(chat_exports.MEM0))


def empty(home: Path) -> None:
    """A home with nothing in it."""
    home.mkdir()
    home.chmod(0o555)


def used(home: Path) -> None:
    """A home that was used, and then became read-only."""
    for folder in ("run", "logs"):
        (home / folder).mkdir(parents=True)
    for file in ("config.toml", "run/services.lock", "profiles.lock", "logs/memory.log"):
        (home / file).touch()
    for path in (*home.rglob("*"), home):
        path.chmod(0o555 if path.is_dir() else 0o444)


def missing(home: Path) -> None:
    """A home that does not exist, in a folder where nothing can be made."""
    home.parent.chmod(0o555)


def run_all(names: Iterable[str], make: Callable[[Path], None], folder: Path) -> dict[str, tuple[int, str]]:
    """Return of each command its exit code, and what it wrote."""
    given, home = folder / "files", folder / "parent" / "home"
    home.parent.mkdir()
    files_to_bring(given)
    make(home)
    calls = {name: [each.format(folder=given) for each in ARGUMENTS.get(name, "").split()] for name in names}
    done = subprocess.run(
        [*unprivileged(), sys.executable, "-m", "tests.support.every_command", json.dumps(calls)],
        env=service_environment(home, {}),
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        timeout=280,
        check=True,
    )
    home.parent.chmod(0o755)
    found: dict[str, tuple[int, str]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def in_empty(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """How every command ended in an empty home."""
    return run_all(commands(), empty, tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize("name", sorted(commands()))
def test_a_command_works_or_says_in_one_line_what_to_do(name: str, in_empty: dict[str, tuple[int, str]]) -> None:
    check(name, *in_empty[name])


@pytest.mark.parametrize("make", [used, missing])
def test_what_is_said_does_not_depend_on_what_is_there(make: Callable[[Path], None], tmp_path: Path) -> None:
    for name, (code, output) in run_all(SAMPLE, make, tmp_path).items():
        check(name, code, output)


def check(name: str, code: int, output: str) -> None:
    """Check how a command ended."""
    if name in WORKS:
        assert code == 0, output
        return
    assert code == 1, output
    if name == "doctor":
        assert "✘ Services: cannot use " in output
        assert "→ make " in output
        return
    errors = [line for line in output.splitlines() if line.startswith(("Error: ", "memgpt-memory: "))]
    assert len(errors) == 1, output
    assert output.rstrip().endswith(errors[0])
    if name in FAILS_BEFORE:
        assert FAILS_BEFORE[name] in output or "MEMGPT_HOME" in output
    else:
        assert "set MEMGPT_HOME to another folder" in errors[0]


def test_without_a_known_home_a_command_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    monkeypatch.setattr(sys, "argv", ["memgpt", "list", "agents"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 2
    assert "set MEMGPT_HOME to a folder" in capsys.readouterr().err
