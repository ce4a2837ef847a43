"""Every command that `memgpt --help` lists is used once."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import typer.main
from memgpt.cli.main import app

from tests.support import chat_exports, letta_database, memgpt_home
from tests.support.ports import free_ports
from tests.support.processes import service_environment
from tests.support.scripted_tool import ScriptedTool, result
from tests.support.suite import Suite


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all commands that are not groups."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def test_every_command(tmp_path: Path) -> None:
    tool = ScriptedTool({"ring": result("It rang.")})
    used: set[tuple[str, ...]] = set()
    known = set(commands(typer.main.get_command(app)))  # type: ignore[arg-type]
    (tmp_path / "tea.txt").write_text("Green tea is steeped at eighty degrees.")
    (tmp_path / "more.txt").write_text("Black tea is steeped in boiling water.")
    letta_database.Database("0.11", 30).write_sqlite(tmp_path / "letta.db")
    (tmp_path / "memgpt").mkdir()
    memgpt_home.write_0_3(tmp_path / "memgpt", messages=30)
    chats = chat_exports.write_zip(tmp_path / "chats.zip", {"conversations.json": [chat_exports.chatgpt()]})
    exported, saved = str(tmp_path / "ada.jsonl"), str(tmp_path / "store.tar")
    settings = {"MEMGPT_AGENT_TOOL_ADDRESSES": tool.address}
    with tool, Suite(tmp_path / "home", **settings) as suite:

        def run(*arguments: str, stdin: str = "", code: int = 0) -> str:
            path = next(arguments[:size] for size in (2, 1) if arguments[:size] in known)
            used.add(path)
            ended = suite.run(*arguments, stdin=stdin)
            assert ended.returncode == code, (arguments, ended.stdout, ended.stderr)
            assert "Traceback" not in ended.stderr
            return ended.stdout

        assert "memgpt" not in run("version")
        run("quickstart")
        run("configure", "--offline")
        assert "memory.embedding\twordllama\t" in run("config")
        assert "Everything is fine." in run("doctor")
        run("load", "files", str(tmp_path / "tea.txt"), "--name", "tea")
        assert "Loaded 1 passage" in suite.cli("load", str(tmp_path / "more.txt")), "files need no command of their own"
        run("load", "directory", "--name", "all", "--input-dir", str(tmp_path), "--extensions", ".txt")
        run("load", "stdin", "--name", "all", "--file-name", "said.md", stdin="Said.")
        run("load", "webpage", "--name", "web", "http://127.0.0.1:9/", code=1)
        assert "degrees" in run("search", "tea", "--source", "tea")
        assert "Created new agent 'Ada'" in run("run", "--agent", "Ada", "--first", stdin="My name is Ada.\n")
        run("attach", "--agent", "Ada", "--data-source", "tea")
        assert "eighty degrees" in run("ask", "--agent", "Ada", "How is green tea steeped?")
        events = suite.cli("ask", "--agent", "Ada", "--json", "Hello!").splitlines()
        assert "done" in json.loads(events[-1])
        run("detach", "--agent", "Ada", "--data-source", "tea")
        for name in ("agents", "sources", "loads", "personas", "humans", "presets"):
            for line in run("list", name, "--json").splitlines():
                json.loads(line)
        run("add", "block", "--agent", "Ada", "--name", "project", "--text", "A house.")
        assert "project" in run("list", "blocks", "--agent", "Ada")
        assert "Added shared block plan: 5/2000" in run("blocks", "add", "--name", "plan", "--text", "Rest.")
        run("blocks", "attach", "plan", "--agent", "Ada", "--label", "week")
        assert "Changed shared block plan: 5/2000" in run("blocks", "add", "--name", "plan", "--text", "Work.")
        assert "Work." in run("list", "blocks", "--agent", "Ada")
        assert json.loads(run("blocks", "list", "--json"))["value"] == "Work."
        assert "Ada has it as week" in run("blocks", "show", "plan")
        run("blocks", "delete", "plan", code=1)
        run("blocks", "detach", "plan", "--agent", "Ada")
        assert "Work." not in run("show", "agent", "Ada")
        run("blocks", "delete", "plan", "--yes")
        for kind in ("persona", "human", "preset"):
            run("add", kind, "--name", f"my {kind}", "--text", f"The {kind}.")
            assert run("show", kind, f"my {kind}") == f"The {kind}.\n"
            run("delete", kind, f"my {kind}")
        assert "A house." in run("show", "agent", "Ada")
        assert "tea.txt" in run("show", "source", "tea")
        assert "eighty degrees" in run("show", "source", "tea", "--file", "tea.txt")
        run("delete", "block", "project", "--agent", "Ada")
        run("tools", "add", tool.address, "--agent", "Ada")
        assert "ring" in run("tools", "list", "--agent", "Ada")
        run("tools", "remove", tool.address, "--agent", "Ada")
        run("export", "agent", "Ada", "-o", exported)
        run("import", "agent", exported, "--name", "Eve")
        assert "messages.jsonl" in run("import", "letta", "--sql")
        run("import", "letta", "--sqlite", str(tmp_path / "letta.db"), "--agent", "Ada", "--name", "Ada of Letta")
        run("import", "memgpt", str(tmp_path / "memgpt"), "--name", "Ada of MemGPT")
        run("import", "chatgpt", str(chats))
        run("import", "claude", str(chats), "--dry-run")
        run("import", "mem0", "-", stdin=json.dumps(chat_exports.MEM0))
        agent_file = str(tmp_path / "ada.af")
        assert "as an Agent File" in suite.cli("export", "agent", "Ada", "--format", "af", "-o", agent_file)
        assert "Imported agent Zoe" in run("import", "letta", agent_file, "--name", "Zoe")
        run("add", "tag", "old", "--agent", "Zoe")
        assert suite.cli("list", "agents", "--tag", "old").splitlines()[1].startswith("Zoe")
        run("delete", "tag", "old", "--agent", "Zoe")
        run("rename", "agent", "Eve", "Eva")
        run("show", "notes", "--agent", "Eva")
        assert "Forgot 2 messages of agent Eva" in run("forget", "message", "1", "--agent", "Eva")
        run("forget", "message", "1", "--agent", "Eva", code=1)
        run("forget", "note", "passage_none", "--agent", "Eva", code=1)
        assert run("export", "user", "nobody") == ""
        assert "Erased user nobody: 0 agents, 0 blocks" in run("forget", "user", "nobody")
        run("delete", "note", "passage_none", "--agent", "Eva", code=1)
        run("delete", "file", "said.md", "--data-source", "all")
        run("delete", "agent", "Eva")
        run("delete", "source", "all")
        run("compact")
        run("backup", saved)
        run("reembed", "--abandon", code=1)
        program, home = suite.program, suite.home
    environment = service_environment(home, {})
    restored = subprocess.run(
        [program, "restore", "--force", saved], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    used.add(("restore",))
    assert restored.returncode == 0, restored.stderr
    ports = dict(zip(("MEMORY", "LOADER", "AGENT"), map(str, free_ports(3)), strict=True))
    environment |= {f"MEMGPT_{name}_PORT": port for name, port in ports.items()}
    with subprocess.Popen([program, "server"], env=environment, stdout=subprocess.PIPE, text=True) as server:
        used.add(("server",))
        assert server.stdout is not None
        assert server.stdout.readline().startswith("memgpt server is ready")
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    assert used == known
