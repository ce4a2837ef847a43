"""Every command that `memgpt --help` lists is used at least once."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer.main
from memgpt.agent.v1 import agent_service_pb2 as agent_pb
from memgpt.agent.v1 import heartbeat_pb2
from memgpt.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from memgpt.cli.main import app
from typer.core import TyperGroup

from tests.support import chat_exports, letta_database, memgpt_home
from tests.support.ports import free_ports
from tests.support.processes import service_environment
from tests.support.scripted_tool import ScriptedTool, result
from tests.support.suite import Suite

CommandPath = tuple[str, ...]


def commands(group: TyperGroup, path: CommandPath = ()) -> Iterator[CommandPath]:
    """Yield the paths of all commands that are not groups."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


KNOWN = set(commands(typer.main.get_command(app)))  # type: ignore[arg-type]
USED: set[CommandPath] = set()
"""What the tests of this module declare to use."""

Test = Callable[..., None]


def uses(*names: str) -> Callable[[Test], Test]:
    """Declare the commands that a test runs; `Commands` makes sure that it does."""
    paths = {tuple(name.split()) for name in names}
    USED.update(paths)
    return pytest.mark.uses(paths=paths)


class Commands:
    """Runs commands against a suite, and keeps which ones.

    Attributes:
        suite: The services.
        used: Paths of the commands that ran.
    """

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.used: set[CommandPath] = set()

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        """Run a command, check its exit code, and return its output."""
        self.used.add(next(arguments[:size] for size in (2, 1) if arguments[:size] in KNOWN))
        ended = self.suite.run(*arguments, stdin=stdin)
        assert ended.returncode == code, (arguments, ended.stdout, ended.stderr)
        assert "Traceback" not in ended.stderr
        return ended.stdout


@pytest.fixture(scope="module")
def tool() -> Iterator[ScriptedTool]:
    with ScriptedTool({"ring": result("It rang.")}) as server:
        yield server


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, tool: ScriptedTool) -> Iterator[Suite]:
    home = tmp_path_factory.mktemp("home")
    with Suite(home, MEMGPT_AGENT_TOOL_ADDRESSES=tool.address) as services:
        yield services


@pytest.fixture
def run(suite: Suite, request: pytest.FixtureRequest) -> Iterator[Commands]:
    runner = Commands(suite)
    yield runner
    assert runner.used == request.node.get_closest_marker("uses").kwargs["paths"]


@pytest.fixture
def tea(tmp_path: Path) -> Path:
    file = tmp_path / "tea.txt"
    file.write_text("Green tea is steeped at eighty degrees.")
    return file


def test_every_command_is_used() -> None:
    assert USED == KNOWN


@uses("version", "quickstart", "configure", "config", "doctor")
def test_setup(run: Commands) -> None:
    assert "memgpt" not in run("version")
    run("quickstart")
    run("configure", "--offline")
    assert "memory.embedding\twordllama\t" in run("config")
    assert "Everything is fine." in run("doctor")


@uses(
    "load files",
    "load directory",
    "load stdin",
    "load webpage",
    "search",
    "list sources",
    "list loads",
    "show source",
    "rename source",
    "delete file",
    "delete source",
)
def test_sources(run: Commands, suite: Suite, tea: Path) -> None:
    more = tea.with_name("more.txt")
    more.write_text("Black tea is steeped in boiling water.")
    run("load", "files", str(tea), "--name", "tea")
    assert "Loaded 1 passage" in suite.cli("load", str(more)), "files need no command of their own"
    run("load", "directory", "--name", "all", "--input-dir", str(tea.parent), "--extensions", ".txt")
    run("load", "stdin", "--name", "all", "--file-name", "said.md", stdin="Said.")
    run("load", "webpage", "--name", "web", "http://127.0.0.1:9/", code=1)
    assert "degrees" in run("search", "tea", "--source", "tea")
    assert {"tea", "all"} <= {json.loads(line)["name"] for line in run("list", "sources", "--json").splitlines()}
    assert run("list", "loads", "--json")
    assert "tea.txt" in run("show", "source", "tea")
    assert "eighty degrees" in run("show", "source", "tea", "--file", "tea.txt")
    run("delete", "file", "said.md", "--data-source", "all")
    assert "Data source all is now everything." in run("rename", "source", "all", "everything")
    run("rename", "source", "everything", "tea", code=1)
    assert "everything" in {json.loads(line)["source_name"] for line in run("list", "loads", "--json").splitlines()}
    run("delete", "source", "everything")


@uses("run", "ask", "attach", "detach", "list agents", "rename agent", "update agent", "delete agent")
def test_conversation(run: Commands, suite: Suite, tea: Path) -> None:
    suite.cli("load", "files", str(tea), "--name", "teapot")
    assert "Created new agent 'Ada'" in run("run", "--agent", "Ada", "--first", stdin="My name is Ada.\n")
    run("attach", "--agent", "Ada", "--data-source", "teapot")
    assert "eighty degrees" in run("ask", "--agent", "Ada", "How is green tea steeped?")
    events = suite.cli("ask", "--agent", "Ada", "--json", "Hello!").splitlines()
    assert "done" in json.loads(events[-1])
    run("detach", "--agent", "Ada", "--data-source", "teapot")
    run("rename", "agent", "Ada", "Lovelace")
    assert "Lovelace" in [json.loads(line)["name"] for line in run("list", "agents", "--json").splitlines()]
    kept = run("update", "agent", "Lovelace", "--message-ttl", "4w", "--note-ttl", "forever")
    assert "keeps messages 28d and notes indefinitely" in kept
    shown = suite.cli("show", "agent", "Lovelace")
    assert "Message TTL:    28d" in shown
    assert "Note TTL" not in shown
    run("update", "agent", "Lovelace", code=2)
    run("delete", "agent", "Lovelace")


def create(suite: Suite, name: str) -> None:
    """Create an agent with a short conversation."""
    assert f"Created new agent '{name}'" in suite.run("run", "--agent", name, "--first", stdin="Hello!\n").stdout


@uses("add block", "list blocks", "delete block", "show agent")
def test_blocks_of_an_agent(run: Commands, suite: Suite) -> None:
    create(suite, "Bea")
    run("add", "block", "--agent", "Bea", "--name", "project", "--text", "A house.")
    assert "project" in run("list", "blocks", "--agent", "Bea")
    assert "A house." in run("show", "agent", "Bea")
    run("delete", "block", "project", "--agent", "Bea")


@uses(*(f"blocks {name}" for name in ("add", "attach", "list", "show", "detach", "delete")))
def test_shared_blocks(run: Commands, suite: Suite) -> None:
    create(suite, "Cleo")
    assert "Added shared block plan: 5/2000" in run("blocks", "add", "--name", "plan", "--text", "Rest.")
    run("blocks", "attach", "plan", "--agent", "Cleo", "--label", "week")
    assert "Changed shared block plan: 5/2000" in run("blocks", "add", "--name", "plan", "--text", "Work.")
    assert "Work." in suite.cli("list", "blocks", "--agent", "Cleo")
    assert json.loads(run("blocks", "list", "--json"))["value"] == "Work."
    assert "Cleo has it as week" in run("blocks", "show", "plan")
    run("blocks", "delete", "plan", code=1)
    run("blocks", "detach", "plan", "--agent", "Cleo")
    assert "Work." not in suite.cli("show", "agent", "Cleo")
    run("blocks", "delete", "plan", "--yes")


@pytest.mark.parametrize("kind", ["persona", "human", "preset"])
def test_profiles(suite: Suite, kind: str) -> None:
    suite.cli("add", kind, "--name", f"my {kind}", "--text", f"The {kind}.")
    assert f"my {kind}" in [json.loads(line)["name"] for line in suite.cli("list", f"{kind}s", "--json").splitlines()]
    assert suite.cli("show", kind, f"my {kind}") == f"The {kind}.\n"
    suite.cli("delete", kind, f"my {kind}")


USED.update(
    (verb, kind + plural)
    for kind in ("persona", "human", "preset")
    for verb, plural in (("add", ""), ("list", "s"), ("show", ""), ("delete", ""))
)


@uses("tools add", "tools list", "tools remove")
def test_tools(run: Commands, suite: Suite, tool: ScriptedTool) -> None:
    create(suite, "Dora")
    run("tools", "add", tool.address, "--agent", "Dora")
    assert "ring" in run("tools", "list", "--agent", "Dora")
    run("tools", "remove", tool.address, "--agent", "Dora")


@uses(*(f"heartbeats {name}" for name in ("schedule", "list", "cancel", "limit")))
def test_heartbeats(run: Commands, suite: Suite) -> None:
    create(suite, "Hal")
    hal = ("--agent", "Hal")
    assert "Agent Hal wakes every 2d, next at 2" in run("heartbeats", "schedule", *hal, "--every", "48h")
    nine = ("--cron", "0 9 * * *", "--reason", "Say good morning.")
    assert 'wakes by cron "0 9 * * *", next at 2' in run("heartbeats", "schedule", *hal, *nine)
    assert "wakes once, next at 2" in run("heartbeats", "schedule", *hal, "--at", "7d")
    for wrong in ((), ("--every", "1h", "--at", "2h"), ("--every", "soon")):
        run("heartbeats", "schedule", *hal, *wrong, code=2)
    run("heartbeats", "schedule", *hal, "--cron", "0 9 31 2 *", code=1)
    every, morning, _ = map(json.loads, run("heartbeats", "list", *hal, "--json").splitlines())
    assert (every["interval"], morning["reason"]) == ("172800s", "Say good morning.")
    assert "no longer wakes every 2d" in run("heartbeats", "cancel", every["heartbeat_id"], *hal)
    run("heartbeats", "cancel", every["heartbeat_id"], *hal, code=1)
    assert every["heartbeat_id"] not in run("heartbeats", "list", *hal)
    limited = run("heartbeats", "limit", *hal, "--turns", "3", "--self-scheduled")
    assert "3 turns and any number of tokens a day; the agent sets its own heartbeats too" in limited
    limited = run("heartbeats", "limit", *hal, "--tokens", "1000")
    assert "3 turns and 1,000 tokens a day; the agent sets its own heartbeats too" in limited


@uses("export agent", "import agent", "import letta", "add tag", "delete tag", "add description", "delete description")
def test_agents_as_files(run: Commands, suite: Suite, tmp_path: Path) -> None:
    create(suite, "Edda")
    run("export", "agent", "Edda", "-o", str(tmp_path / "edda.jsonl"))
    run("import", "agent", str(tmp_path / "edda.jsonl"), "--name", "Edda again")
    agent_file = str(tmp_path / "edda.af")
    assert "as an Agent File" in suite.cli("export", "agent", "Edda", "--format", "af", "-o", agent_file)
    assert "Imported agent Zoe" in run("import", "letta", agent_file, "--name", "Zoe")
    run("add", "tag", "old", "--agent", "Zoe")
    assert suite.cli("list", "agents", "--tag", "old").splitlines()[1].startswith("Zoe")
    run("delete", "tag", "old", "--agent", "Zoe")
    run("add", "description", "Tends the garden.", "--agent", "Zoe")
    assert "Tends the garden." in suite.cli("show", "agent", "Zoe")
    run("delete", "description", "--agent", "Zoe")


@uses(
    "export agent",
    "import agent",
    "tools add",
    "tools list",
    "blocks add",
    "blocks attach",
    "heartbeats list",
    "import letta",
)
def test_an_export_has_everything_and_names_what_the_other_format_lacks(
    run: Commands, suite: Suite, tool: ScriptedTool, tmp_path: Path
) -> None:
    create(suite, "Fritz")
    run("tools", "add", tool.address, "--agent", "Fritz")
    run("blocks", "add", "--name", "chores", "--text", "Dust.")
    run("blocks", "attach", "chores", "--agent", "Fritz")
    whens: list[dict[str, Any]] = [{"interval": timedelta(hours=8), "reason": "Dust"}, {"cron": "0 9 * * *"}]
    with suite.client() as client, grpc.insecure_channel(suite.agent_address) as channel:
        agent_id = client.agents.find("Fritz").agent_id
        for when in whens:
            AgentServiceStub(channel).SetHeartbeat(
                agent_pb.SetHeartbeatRequest(agent_id=agent_id, heartbeat=heartbeat_pb2.Heartbeat(**when))
            )
    said = {
        "own": ["an imported agent wakes by them, beside this one", "no certificates and keys for them"],
        "af": [f"has no place for it: tool service {tool.address}, heartbeats"],
    }
    for form, sentences in said.items():
        told = run("export", "agent", "Fritz", "--format", form, "-o", str(tmp_path / form))
        piped = suite.run("export", "agent", "Fritz", "--format", form)
        for text in (told, piped.stderr):
            for sentence in (*sentences, "become the new agent's own in an import: chores"):
                assert sentence in text
                assert sentence not in piped.stdout
    told = run("import", "agent", str(tmp_path / "own"), "--name", "Fritz again")
    assert "It wakes by itself: every 8:00:00 (Dust), at 0 9 * * *" in told
    assert f"It calls tool services: {tool.address}" in told
    for command in (("heartbeats", "list"), ("tools", "list")):
        assert run(*command, "--agent", "Fritz again") == run(*command, "--agent", "Fritz")
    told = run("import", "agent", str(tmp_path / "own"), "--name", "A calm one", "--no-heartbeats", "--no-tools")
    assert "wakes" not in told
    assert "tool services" not in told
    assert tool.address not in run("tools", "list", "--agent", "A calm one")
    told = run("import", "letta", str(tmp_path / "af"), "--name", "Fritz of the other format")
    assert f"not in the file: tool service {tool.address}, heartbeats" in told
    assert "others may be missing" not in told


@uses("import letta", "import memgpt", "import chatgpt", "import claude", "import mem0")
def test_imports(run: Commands, tmp_path: Path) -> None:
    letta_database.Database("0.11", 30).write_sqlite(tmp_path / "letta.db")
    (tmp_path / "memgpt").mkdir()
    memgpt_home.write_0_3(tmp_path / "memgpt", messages=30)
    chats = chat_exports.write_zip(tmp_path / "chats.zip", {"conversations.json": [chat_exports.chatgpt()]})
    assert "messages.jsonl" in run("import", "letta", "--sql")
    run("import", "letta", "--sqlite", str(tmp_path / "letta.db"), "--agent", "Ada", "--name", "Ada of Letta")
    run("import", "memgpt", str(tmp_path / "memgpt"), "--name", "Ada of MemGPT")
    run("import", "chatgpt", str(chats))
    run("import", "claude", str(chats), "--dry-run")
    run("import", "mem0", "-", stdin=json.dumps(chat_exports.MEM0))


@uses("show notes", "forget message", "forget note", "forget user", "export user", "delete note")
def test_forgetting(run: Commands, suite: Suite) -> None:
    create(suite, "Flo")
    run("show", "notes", "--agent", "Flo")
    assert "Forgot 2 messages of agent Flo" in run("forget", "message", "1", "--agent", "Flo")
    run("forget", "message", "1", "--agent", "Flo", code=1)
    run("forget", "note", "passage_none", "--agent", "Flo", code=1)
    run("delete", "note", "passage_none", "--agent", "Flo", code=1)
    assert run("export", "user", "nobody") == ""
    assert "Erased user nobody: 0 agents, 0 blocks" in run("forget", "user", "nobody")


@uses("login", "whoami", "profiles list", "profiles use", "logout")
def test_logging_in(run: Commands, suite: Suite) -> None:
    addresses = ("--agent-address", suite.agent_address, "--loader-address", suite.loader_address)
    assert "Logged in" in run("login", *addresses, "--no-key")
    assert "Tenant:     default" in run("whoami")
    assert suite.agent_address in run("profiles", "list")
    run("profiles", "use", "local")
    run("logout", "--profile", "default")


@uses("tenants create", "tenants list", "tenants show", "tenants delete", "quotas set", "quotas show", "usage")
def test_tenants(run: Commands) -> None:
    run("tenants", "create", "acme")
    assert "acme\tactive" in run("tenants", "list")
    assert "acme: active" in run("tenants", "show", "acme")
    assert "agents\t5\tset" in run("quotas", "set", "acme", "agents=5")
    assert "agents\t5\tset" in run("quotas", "show", "acme")
    assert "sources\t" in run("usage")
    assert "Deleted tenant acme" in run("tenants", "delete", "acme")


@uses("keys create", "keys list", "keys show", "keys rotate", "keys revoke", "keys delete")
def test_keys(run: Commands) -> None:
    assert run("keys", "create", "--name", "web", "--role", "user").startswith("mgpt_")
    assert "web\t" in run("keys", "list")
    assert "Role:       user" in run("keys", "show", "web")
    assert run("keys", "rotate", "web").startswith("mgpt_")
    run("keys", "revoke", "web")
    run("keys", "delete", "web")


@uses("compact", "backup", "reembed")
def test_maintenance(run: Commands, tmp_path: Path) -> None:
    run("compact")
    run("backup", str(tmp_path / "store.tar"))
    run("reembed", "--abandon", code=1)


@uses("restore", "server")
def test_restored_store_is_served(tmp_path: Path) -> None:
    saved = str(tmp_path / "store.tar")
    with Suite(tmp_path / "home") as suite:
        create(suite, "Gus")
        suite.cli("backup", saved)
    environment = service_environment(tmp_path / "home", {})
    restored = subprocess.run(
        [Suite.program, "restore", "--force", saved],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert restored.returncode == 0, restored.stderr
    ports = dict(zip(("MEMORY", "LOADER", "AGENT"), map(str, free_ports(3)), strict=True))
    environment |= {f"MEMGPT_{name}_PORT": port for name, port in ports.items()}
    with subprocess.Popen([Suite.program, "server"], env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("memgpt server is ready")
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
