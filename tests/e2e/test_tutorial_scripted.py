"""The command line without a terminal: scripts, pipes, user errors, and leftovers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_ports
from tests.support.processes import service_environment

MEMGPT = str(Path(sys.executable).with_name("memgpt"))

Run = Callable[..., "subprocess.CompletedProcess[str]"]

SAID = ("//", "My name is Ada.", "I like tea.", "//")
"""A message of two lines."""


class Home:
    """A folder of configuration and data, where a user works."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = service_environment(folder / "home", {})

    def run(self, *arguments: str, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `memgpt` with arguments to its end."""
        return subprocess.run(
            [MEMGPT, *arguments],
            input=text,
            env={**self.environment, **variables},
            cwd=self.folder,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=120,
            check=False,
        )

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[str]]:
        """Run `memgpt server` on free ports; it is ready."""
        memory, loader, agent = (str(port) for port in free_ports(3))
        ports = {"MEMGPT_MEMORY_PORT": memory, "MEMGPT_LOADER_PORT": loader, "MEMGPT_AGENT_PORT": agent}
        with subprocess.Popen(
            [MEMGPT, "server"], env={**self.environment, **ports}, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("memgpt server is ready: agent 127.0.0.1:"), line
            yield process
            process.terminate()
            process.wait(60)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home of the test's own."""
    return Home(tmp_path)


@pytest.fixture
def environment(home: Home) -> dict[str, str]:
    """The environment of a command with only the test's home."""
    return home.environment


@pytest.fixture
def memgpt(home: Home) -> Run:
    """Run `memgpt` with arguments to its end."""
    return home.run


@pytest.fixture
def server(home: Home) -> Iterator[subprocess.Popen[str]]:
    """`memgpt server` on free ports, ready."""
    with home.serving() as process:
        yield process


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run `memgpt` beside a server of the module with the data source tea; each test has an agent of its own."""
    home = Home(tmp_path_factory.mktemp("shared"))
    (home.folder / "documents").mkdir()
    (home.folder / "documents" / "tea.txt").write_text(
        "Green tea is steeped at eighty degrees. Black tea is steeped in boiling water.\n"
    )
    (home.folder / "rules.txt").write_text("Be brief.\nBe kind.")
    with home.serving():
        loaded = home.run("load", "directory", "--name", "tea", "--input-dir", "documents")
        assert (loaded.returncode, loaded.stderr) == (0, "")
        assert "Loaded 1 passage and 1 document from tea" in loaded.stdout
        assert "\x1b" not in loaded.stdout
        yield home.run


def chat(
    run: Run, agent: str, *lines: str, options: Sequence[str] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    """Send lines to an agent, which is created if it does not exist."""
    return run("run", "--agent", agent, *options, text="".join(f"{line}\n" for line in lines), **variables)


def test_a_conversation_over_a_pipe(shared: Run) -> None:
    said = chat(shared, "Ada", "/attach tea", "How is green tea steeped?", "/memory", "/nonsense")
    assert "Created new agent 'Ada'" in said.stdout
    assert "“Green tea is steeped at eighty degrees.” (tea.txt)" in said.stdout
    assert "Archival memory: 1 passage\n" in said.stdout
    assert "/nonsense" in said.stderr
    assert said.returncode == 1
    sources = shared("list", "sources").stdout.splitlines()
    assert sources[1].split("\t")[2:6] == ["1", "1", "1", "Ada"]

    bare = shared("run", "--agent", "Ada", "--strip-ui", text="How is black tea steeped?")
    assert bare.returncode == 0
    assert "💭" not in bare.stdout
    assert "⚡" not in bare.stdout
    assert "Black tea is steeped in boiling water." in bare.stdout
    assert shared("run", "--agent", "Ada", text="/detach tea\n").returncode == 0


def test_a_directory_is_loaded_once(shared: Run) -> None:
    again = shared("load", "directory", "--name", "tea", "--input-dir", "documents")
    assert "Files: 1 unchanged" in again.stdout


def test_bytes_that_are_not_utf_8_are_replaced(shared: Run) -> None:
    latin = shared("run", "--agent", "Latin", "--first", text="Caf\udce9!\n/dump\n")
    assert (latin.returncode, latin.stderr) == (0, "")
    assert "🧑 Caf\ufffd!" in latin.stdout


def test_personas_sources_and_agents_are_listed_and_deleted(shared: Run) -> None:
    assert shared("add", "persona", "--name", "poet", "--text", "I rhyme.").returncode == 0
    personas = shared("list", "personas").stdout
    assert re.search(r"^poet\tno\tI rhyme\.$", personas, re.MULTILINE)
    assert re.search(r"^memgpt_doc\tyes\t", personas, re.MULTILINE)
    assert shared("delete", "persona", "poet").returncode == 0
    assert shared("load", "directory", "--name", "short-lived", "--input-dir", "documents").returncode == 0
    assert chat(shared, "Short-Lived", "Hello!").returncode == 0
    for kind, name in (("source", "short-lived"), ("agent", "Short-Lived")):
        assert name in [line.split("\t")[0] for line in shared("list", f"{kind}s").stdout.splitlines()]
        assert [shared("delete", kind, name).returncode for _ in range(2)] == [0, 1]
        assert name not in shared("list", f"{kind}s").stdout


def test_a_new_agent_has_nothing_to_take_back(shared: Run) -> None:
    nothing = chat(shared, "Empty", "/undo", "/retry", "/rethink x", "/rewrite x", "/pop")
    assert nothing.returncode == 1
    for what in ("undo", "retry", "rethink", "rewrite", "undo"):
        assert f"nothing to {what}" in nothing.stderr
    assert len(nothing.stderr.splitlines()) == 5


def test_the_chat_shows_messages_memory_and_window(shared: Run) -> None:
    blocks = ["--read-only-block", "rules=@rules.txt", "--block", "project=A house."]
    said = chat(shared, "Shown", *SAID, "/dump", "/memory", "/context", options=blocks)
    assert (said.returncode, said.stderr) == (0, "")
    assert "🧑 My name is Ada.\nI like tea.\n" in said.stdout
    assert "[rules: 18 of 2,000 characters, read-only]\nBe brief.\nBe kind.\n" in said.stdout
    assert "[project: 8 of 2,000 characters]\nA house.\n" in said.stdout
    bar = re.search(r"^[█▓▒░·]{60}\n([0-9,]+) of 32,768 tokens\n", said.stdout, re.MULTILINE)
    assert bar is not None, said.stdout
    parts = re.findall(r"^  . (?!free)[a-z ]+? +([0-9,]+) +[0-9.]+%$", said.stdout, re.MULTILINE)
    assert len(parts) == 5
    assert sum(int(part.replace(",", "")) for part in parts) == int(bar[1].replace(",", ""))


def test_the_chat_edits_what_was_said(shared: Run) -> None:
    assert chat(shared, "Edited", *SAID, options=["--block", "project=A house."]).returncode == 0
    edited = chat(
        shared,
        "Edited",
        "/rethink I wonder.",
        "/rewrite Hello, dear Ada.",
        "/dump 2",
        "What is my name?",
        "/retry it",
        "/undo",
        "/dump 2",
        "/pop 1",
        "/pop",
        "/memory project A castle.",
    )
    assert (edited.returncode, edited.stderr) == (0, "")
    lines = edited.stdout.splitlines()
    assert lines.count("🤖 Hello, dear Ada.") == 3, "as it is rewritten, and twice in a dump"
    assert lines.count("💭 I wonder.") == 4
    assert len([line for line in lines if line.startswith("🤖 This is what I noted")]) == 2, "the answer, and its retry"
    taken = [line for line in lines if line.startswith("Took back")]
    assert taken == [f"Took back {count} messages:" for count in (3, 2, 3)], "a result takes its call along"
    assert "[project: 9 of 2,000 characters]" in lines


def test_commands_of_the_chat_refuse_what_they_cannot_do(shared: Run) -> None:
    lines = ("/memory nothing x", "/pop none", "/pop 99999999999999999999", "/pop ²", "/rewrite")
    refused = chat(shared, "Refused", "Hello!", *lines)
    assert refused.returncode == 1
    assert [line.partition(":")[2].split()[0] for line in refused.stderr.splitlines()] == [
        "unknown", "none", "99999999999999999999", "²", "a"
    ]  # fmt: skip


def test_the_chat_does_the_rest_and_ends_at_exit(shared: Run) -> None:
    rest = ("/model", "/dumpraw 1", "/heartbeat", "/memorywarning", "/save", "/help", "/exit now", "never said")
    others = chat(shared, "Rest", "Hello!", "/attach", "/detach", *rest)
    assert (others.returncode, others.stderr) == (0, "")
    for words in ("Attached data source tea", "Detached data source tea", "Model: offline", '"tokens":'):
        assert words in others.stdout
    assert "/rethink TEXT" in others.stdout
    assert "never said" not in others.stdout


def test_the_chat_summarizes(shared: Run) -> None:
    said = (*SAID, "I was in town today.", "I met an old friend there.")
    summary = chat(shared, "Summarized", *said, "/summarize", "/context")
    assert summary.returncode == 0, summary.stderr
    assert "messages left the context window" in summary.stdout
    assert re.search(r"▚ summary +[1-9]", summary.stdout)


def test_blocks_are_changed_listed_and_deleted(shared: Run) -> None:
    assert chat(shared, "Blocks", "Hello!", options=["--read-only-block", "rules=@rules.txt"]).returncode == 0
    edit = ("add", "block", "--agent", "Blocks", "--name", "rules")
    assert shared(*edit, "--limit", "30", "--writable").returncode == 0
    over = shared(*edit, "--text", "x" * 31)
    assert over.returncode == 1
    assert "its limit is 30" in over.stderr
    listed = shared("list", "blocks", "--agent", "Blocks").stdout.splitlines()
    assert [line.split("\t")[0] for line in listed] == ["Label", "persona", "human", "rules"]
    assert "rules\t18/30\tno\tBe brief. Be kind." in listed
    assert shared("delete", "block", "rules", "--agent", "Blocks").returncode == 0
    again = shared("delete", "block", "rules", "--agent", "Blocks")
    assert (again.returncode, 'no block "rules"' in again.stderr) == (1, True)


def test_a_message_whose_model_cannot_answer_is_answered_first(memgpt: Run, server: subprocess.Popen[str]) -> None:
    def say(*lines: str, model: str = "offline") -> subprocess.CompletedProcess[str]:
        return chat(memgpt, "Ada", *lines, options=["--model", model])

    assert say("I like green tea.").returncode == 0
    # No endpoint is configured for this model.
    refused = say("/model gpt-4")
    assert (refused.returncode, "no endpoint is configured" in refused.stderr) == (1, True)
    left = say("/model", "What do I like?", "And what else?", "/model offline", "Hello!", "/dump 4", model="gpt-4")
    assert left.returncode == 1
    assert "Model: gpt-4 (this agent only; the others use offline); embeddings: " in left.stdout
    kept, not_sent = left.stderr.splitlines()
    assert "no endpoint is configured" in kept
    assert "your message is kept and will be answered before the next one" in kept
    assert "no endpoint is configured" in not_sent
    assert "your message was not sent, because an earlier one is still to be answered" in not_sent
    known = "🤖 This is what I noted about you: Likes green tea"
    hello = "🤖 Hello! I am here."
    spoken = [line for line in left.stdout.splitlines() if line.startswith(("🤖", "🧑"))]
    assert spoken == [known, hello, "🧑 Hello!", hello], "shown in order, then of the dump what it reaches"

    # The person mends the configuration, and comes back.
    assert say("What do I like?", model="gpt-4").returncode == 1
    back = say("/model offline", "Hello!")
    assert (back.returncode, back.stderr) == (0, "")
    assert [line for line in back.stdout.splitlines() if line.startswith("🤖")] == [known, hello]

    undone = say("What do I like?", "/undo", "/model offline", "Hello!", model="gpt-4")
    assert "Took back 1 message:\n  🧑 What do I like?\n" in undone.stdout
    assert [line for line in undone.stdout.splitlines() if line.startswith("🤖")] == [hello]
    assert "First, the answer" not in undone.stdout


def test_a_server_tells_others_where_it_is_until_it_stops(
    memgpt: Run, server: subprocess.Popen[str], environment: dict[str, str]
) -> None:
    state = Path(environment["MEMGPT_HOME"], "run", "server.json")
    assert json.loads(state.read_text())["pid"] == server.pid
    assert memgpt("list", "agents").returncode == 0
    server.terminate()
    assert server.wait(60) == 0
    assert not state.exists()


def test_a_second_server_says_why_it_cannot_start(memgpt: Run, server: subprocess.Popen[str]) -> None:
    second = memgpt("server", MEMGPT_MEMORY_PORT="0", MEMGPT_LOADER_PORT="0", MEMGPT_AGENT_PORT="0")
    assert second.returncode == 1
    began, error = second.stderr.splitlines()
    assert began == "memgpt server is starting memory, loader and agent..."
    assert re.fullmatch(r"Error: memory: .*another process.*", error, re.IGNORECASE), error


@pytest.mark.linux("reads /proc")
def test_services_end_with_the_command_that_started_them(environment: dict[str, str]) -> None:
    """They end even if the command cannot stop them any more."""
    with subprocess.Popen(
        [MEMGPT, "run", "--agent", "Ada"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as chat:
        assert chat.stdout is not None
        while "Created new agent" not in (line := chat.stdout.readline()):
            assert line
        children = Path(f"/proc/{chat.pid}/task/{chat.pid}/children").read_text().split()
        assert len(children) == 3
        waiting = [os.pidfd_open(int(child)) for child in children]
        chat.send_signal(signal.SIGKILL)
    import select

    for descriptor in waiting:
        ready, _, _ = select.select([descriptor], [], [], 30)
        os.close(descriptor)
        assert ready, "a service outlives the command that started it"


def test_a_milvus_that_does_not_answer_is_named_at_once(environment: dict[str, str]) -> None:
    (port,) = free_ports(1)
    away = {"MEMGPT_MEMORY_URI": f"http://127.0.0.1:{port}"}
    with subprocess.Popen(
        [MEMGPT, "list", "agents"], env={**environment, **away}, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
    assert line.startswith(f"Error: Milvus cannot be reached at http://127.0.0.1:{port} (connection refused); start it")


def test_a_server_says_at_once_what_it_does(environment: dict[str, str]) -> None:
    """The server prints its state before its services are ready, which here never happens."""
    (port,) = free_ports(1)
    away = {"MEMGPT_MEMORY_URI": f"http://127.0.0.1:{port}"}
    ports = {f"MEMGPT_{name}_PORT": "0" for name in ("MEMORY", "LOADER", "AGENT")}
    with subprocess.Popen(
        [MEMGPT, "server"], env={**environment, **away, **ports}, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
    assert line == "memgpt server is starting memory, loader and agent...\n"


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "words"),
    [
        (["run", "--system", "a", "--system-file", "b"], {}, 2, "exclude each other"),
        (["run", "--model-endpoint", "http://127.0.0.1:9/v1"], {}, 2, "--model"),
        (["run", "--nonsense"], {}, 2, "--nonsense"),
        (["run", "--block", "rules"], {}, 2, "LABEL=TEXT"),
        (["run", "--block", "rules=@nowhere.txt"], {}, 2, "nowhere.txt cannot be read"),
        (["run", "--agent", "Caf\udce9"], {}, 2, r"'Caf\udce9' is not UTF-8"),
        (["load", "directory", "--name", "x"], {}, 2, "--input-dir"),
        (["load", "directory", "--name", "x", "--input-files", "nowhere.pdf"], {}, 2, "nowhere.pdf does not exist"),
        (["load", ""], {}, 2, "the path is empty"),
        (["load", "directory", "--name", "x", "--input-dir", ""], {}, 2, "the path is empty"),
        (["configure"], {}, 2, "--offline"),
        (["configure", "--offline", "--milvus-uri", "somewhere"], {}, 2, "somewhere"),
        (["quickstart", "--openai-compatible", "http://127.0.0.1:9/v1"], {}, 1, "http://127.0.0.1:9/v1/models"),
        (["list", "agents"], {"MEMGPT_CLIENT_AGENT_ADRESS": "x"}, 2, "MEMGPT_CLIENT_AGENT_ADDRESS"),
        (["list", "agents"], {"MEMGPT_CLIENT_AGENT_ADDRESS": "h:1"}, 2, "loader_address"),
        (["list", "agents"], {"MEMGPT_MEMORY_EMBEDING": "x"}, 2, "MEMGPT_MEMORY_EMBEDDING"),
        (
            ["list", "agents"],
            {
                "MEMGPT_CLIENT_AGENT_ADDRESS": "127.0.0.1:9",
                "MEMGPT_CLIENT_LOADER_ADDRESS": "127.0.0.1:9",
                "MEMGPT_CLIENT_RETRY_SECONDS": "0.5",
            },
            1,
            "cannot be reached",
        ),
    ],
)
def test_mistakes_cost_a_line(
    memgpt: Run, arguments: list[str], variables: dict[str, str], code: int, words: str
) -> None:
    ended = memgpt(*arguments, **variables)
    assert ended.returncode == code, ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
    if not ended.stderr.startswith("Usage:"):
        assert len(ended.stderr.splitlines()) == 1


def test_the_version_is_quick_to_say(memgpt: Run) -> None:
    """Slow imports happen only in the commands that need them."""
    code = "import sys, memgpt.cli.main; print(*(m for m in ('grpc', 'rich', 'pydantic') if m in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", memgpt("version").stdout)


AWAY = {f"MEMGPT_CLIENT_{name}_ADDRESS": "127.0.0.1:1" for name in ("AGENT", "LOADER", "MEMORY")}
AWAY["MEMGPT_CLIENT_RETRY_SECONDS"] = "0.5"


@pytest.mark.parametrize(
    "command",
    [
        "list agents",
        "list loads",
        "load directory --name tea --input-files tea.txt",
        "load stdin --name tea --file-name tea.txt",
        "run --agent Ada",
        "export agent Ada -o ada.jsonl",
        "backup store.tar",
        "search tea --source tea",
    ],
)
def test_services_that_are_away_are_told_in_a_line(memgpt: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "tea.txt").write_text("Green tea.")
    result = memgpt(*command.split(), text="Hello.\n", **AWAY)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1), result.stderr
    assert "the services cannot be reached" in result.stderr
    assert {each.name for each in tmp_path.iterdir()} <= {"home", "tea.txt"}, "nothing half-written is left"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "command", ["list agents", "load stdin --name tea --file-name tea.txt", "import agent -", "run --agent Ada"]
)
def test_standard_streams_may_be_closed(environment: dict[str, str], command: str, closed: str) -> None:
    result = subprocess.run(
        f"{MEMGPT} {command} {closed}",
        shell=True,
        env={**environment, **AWAY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "bug" not in result.stderr
