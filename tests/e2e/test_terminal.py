"""The command line on terminals: narrow and wide, one and two at a time, with dependencies that are down."""

from __future__ import annotations

import json
import os
import re
import select
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.scripted_llm import Completion, ScriptedLLM, call
from tests.support.suite import PAPER, QUESTION, Suite
from tests.support.terminal import END, ENTER, INTERRUPT, PROMPT, Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose services run already. Its tests share a store, so each uses names of its own."""
    home = Home(tmp_path_factory.mktemp("running"))
    with Suite(home.path) as suite:
        home.environment = suite.environment()
        yield home


def services_of(home: Home) -> list[int]:
    """Return the process ids of the services that run for a home."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"MEMGPT_HOME={home.path}\0".encode() in file.read_bytes():
                command = (file.parent / "cmdline").read_bytes()
                if b"memgpt_" in command:
                    found.append(int(file.parent.name))
        except OSError:
            continue
    return found


def broken_words(lines: list[str], text: str) -> set[str]:
    """Return words of lines that do not occur in a text, which shows breaks inside words."""
    known = set(text.split())
    return {word for line in lines for word in line.split()} - known


ANSWER = (
    "# Virtual context\n\nIt works like **virtual memory** of an operating system, extraordinarily straightforward:\n\n"
    "- the window is the main memory, where everything immediately relevant is kept\n"
    "- `archival storage` is the disk\n\n1. Read.\n2. Page on, until nothing is left."
)
SHOWN = (
    "🤖 Virtual context It works like virtual memory of an operating system, extraordinarily straightforward: "
    "• the window is the main memory, where everything immediately relevant is kept • archival storage is the disk "
    "1. Read. 2. Page on, until nothing is left."
)


@pytest.mark.parametrize(("width", "kind"), [(40, "xterm-256color"), (40, "dumb"), (80, "linux"), (200, "xterm")])
def test_answers_break_between_words_while_they_stream(home: Home, width: int, kind: str) -> None:
    answer = call("send_message", message=ANSWER)
    with ScriptedLLM([answer]) as llm:
        home.configure(llm)
        with home.terminal("run", "--agent", "Ada", "--first", "--no-verify", width=width, kind=kind) as chat:
            chat.wait(PROMPT)
            chat.send("What is it?" + ENTER)
            screen = chat.wait(lambda text: text.count(PROMPT) == 2)
            chat.send(END)
            chat.wait_end()
    lines = screen.partition("What is it?")[2].partition("> ")[0].splitlines()
    assert not broken_words(lines, SHOWN), screen
    assert " ".join(" ".join(lines).split()) == SHOWN
    assert all(len(line) <= width for line in lines)


def test_a_chat_is_resumed_without_asking_the_model(home: Home) -> None:
    """A resumed chat calls no model, and a new one is streamed by default."""
    with ScriptedLLM([call("send_message", message="Hello, Ada.")]) as llm:
        home.configure(llm)
        with home.terminal("run", "--agent", "Ada", "--first", "--no-verify") as chat:
            chat.wait(PROMPT)
            chat.send("My name is Ada." + ENTER)
            chat.wait("Hello, Ada.")
            chat.wait(lambda text: text.count(PROMPT) == 2)
            chat.send(END)
            chat.wait_end()
        assert all(request.json["stream"] for request in llm.requests)
        asked = len(llm.requests)
        with home.terminal("run", "--agent", "Ada") as chat:
            screen = chat.wait(PROMPT)
            assert "Model: scripted; data sources: none" in screen
            assert "🧑 My name is Ada." in screen
            assert "🤖 Hello, Ada." in screen
            chat.send(END)
            chat.wait_end()
        assert len(llm.requests) == asked


def test_what_is_typed_before_the_chat_begins_is_its_first_message(home: Home) -> None:
    with ScriptedLLM([call("send_message", message="Hello, Ada.")]) as llm:
        home.configure(llm)
        with home.terminal("run", "--agent", "Ada", "--no-verify") as chat:
            chat.wait("Hit enter to begin")
            chat.send("My name is Ada." + ENTER)
            chat.wait("Hello, Ada.")
            chat.wait(PROMPT)
            chat.send(END)
            chat.wait_end()
        assert len(llm.requests) == 1
        assert "My name is Ada." in json.dumps(llm.requests[0].json)
        with home.terminal("run", "--agent", "Bob") as chat:
            chat.wait("Hit enter to begin")
            chat.send("/exit" + ENTER)
            chat.wait_end()
        assert (chat.code, len(llm.requests)) == (0, 1)


def test_ask_says_that_it_creates_an_agent(running: Home) -> None:
    first = running.run("ask", "--agent", "Caroline", "Hello!")
    assert (first.returncode, first.stderr) == (0, 'Created agent "Caroline".\n')
    again = running.run("ask", "--agent", "Caroline", "Hello!")
    assert (again.returncode, again.stderr) == (0, "")
    typo = running.run("ask", "--agent", "Carolina", "--json", "Hello!")
    assert typo.stderr == 'Created agent "Carolina". Did you mean "Caroline"?\n'
    assert all(json.loads(line) for line in typo.stdout.splitlines())


def test_a_load_of_nothing_leaves_no_source(running: Home) -> None:
    (running.folder / "noise.bin").write_bytes(bytes(range(256)) * 9)
    (running.folder / "note.txt").write_text("Bees make honey.")
    failed = running.run("load", "noise.bin", "--name", "junk")
    assert failed.returncode == 1
    assert "noise.bin: skipped: the file is neither UTF-8 text nor in a format" in failed.stdout
    assert "The data source junk was not created, because nothing was loaded." in failed.stdout
    assert "Loaded 0" not in failed.stdout
    assert "junk" not in running.run("list", "sources").stdout
    assert running.run("load", "note.txt", "--name", "junk").returncode == 0
    assert running.run("load", "noise.bin", "--name", "junk").returncode == 1
    assert "junk" in running.run("list", "sources").stdout, "it holds the note"


def test_weak_hits_are_said_to_be_weak(running: Home) -> None:
    (running.folder / "note.txt").write_text("Bees make honey from nectar.")
    assert running.run("load", "note.txt", "--name", "bees").returncode == 0
    weak = "None of these has a word of the query; they are only the most similar ones."
    assert weak in running.run("search", "volcano", "--source", "bees").stdout
    assert weak not in running.run("search", "honey", "--source", "bees").stdout
    with running.terminal("run", "--agent", "Beatrice", "--first") as chat:
        chat.wait(PROMPT)
        for number, line in enumerate(["/attach bees", "/search honey", "/search volcano"]):
            chat.send(line + ENTER)
            screen = chat.wait(lambda text, number=number: text.count(PROMPT) == number + 2)  # type: ignore[misc]
        chat.send(END)
        chat.wait_end()
    strong, _, rest = screen.partition("/search honey")[2].partition("/search volcano")
    assert weak not in strong
    assert weak in " ".join(rest.split())


def test_hits_are_shortened_around_their_highlighted_matches(running: Home) -> None:
    filler = "Nothing of the kind stands in any of these sentences. "
    (running.folder / "note.txt").write_text(f"{filler * 12}Bees make honey from nectar; 蜜蜂采蜜很忙。 {filler * 12}")
    assert running.run("load", "note.txt", "--name", "long").returncode == 0
    with running.terminal("search", "honey 蜜蜂", "--source", "long", width=40) as search:
        screen = " ".join(search.wait_end().split())
        assert search.highlighted() == ["honey", "蜜蜂"]
    assert "Bees make honey from nectar" in screen
    assert "…" in screen.partition("Bees")[0], "it begins near the match"
    assert len(screen) < 1000, "and ends near it"
    with running.terminal("search", "honey", "--source", "long", "--full", width=40) as search:
        screen = " ".join(search.wait_end().split())
        assert search.highlighted() == ["honey"]
    assert screen.count("Nothing of the kind") == 24


def test_the_help_is_in_the_order_of_use(home: Home) -> None:
    with home.terminal("--help", width=80) as shown:
        screen = shown.wait_end()
    titles = ["Talk", "Documents", "Manage", "Set up and operate", "Log in and administer access"]
    assert re.findall(r"^╭─ ([A-Z][a-z ]+?) ─", screen, re.MULTILINE) == ["Options", *titles]
    first = [panel.splitlines()[1].split()[1] for panel in screen.split("╭─")[2:]]
    assert first == ["run", "load", "list", "quickstart", "login"]


def test_the_phase_is_shown_with_its_tokens(home: Home) -> None:
    """A model that is slow to read: the number of tokens, and the seconds; then the phase of the next call."""
    read, searched = threading.Event(), threading.Event()
    search = call("archival_memory_search", query="bees", request_heartbeat=True)
    replies = iter([(read, search), (searched, call("send_message", message="Nothing about bees."))])

    def slow(_: object) -> Completion:
        until, reply = next(replies)
        assert until.wait(90)
        return reply

    with ScriptedLLM(slow) as llm:
        home.configure(llm)
        with home.terminal("run", "--agent", "Ada", "--first", "--no-verify") as chat:
            chat.wait(PROMPT)
            chat.send("What about bees?" + ENTER)
            try:
                chat.wait(lambda text: bool(re.search(r"Reading \d,\d{3} tokens\.\.\. \(\d+ s\)", text)))
                read.set()
                chat.wait(lambda text: bool(re.search(r"Reading \d,\d{3} tokens; before, \d+ tokens? read", text)))
            finally:
                read.set()
                searched.set()
            chat.wait("Nothing about bees.")
            chat.send(END)
            chat.wait_end()


def test_two_terminals_share_the_services(home: Home) -> None:
    with home.terminal("run", "--agent", "Ada", "--first") as first:
        first.wait(PROMPT)
        running = services_of(home)
        assert len(running) == 3
        listed = home.run("list", "agents")
        assert (listed.returncode, listed.stderr) == (0, "")
        assert "Ada" in listed.stdout
        with home.terminal("run", "--agent", "Bob", "--first") as second:
            second.wait(PROMPT)
            assert services_of(home) == running
            first.send(END)
            first.wait_end()
            # They were started by the first, and outlive it.
            second.send("/agents" + ENTER)
            screen = second.wait(lambda text: text.count(PROMPT) == 2)
            assert "Ada" in screen
            assert services_of(home) == running
            second.send(END)
            second.wait_end()
    assert services_of(home) == []
    assert list((home.path / "run").glob("*.users")) == []


@pytest.mark.linux("waits for a process by pidfd")
def test_services_end_with_a_last_user_that_is_killed(home: Home) -> None:
    with home.terminal("run", "--agent", "Ada", "--first") as chat:
        chat.wait(PROMPT)
        ends = [os.pidfd_open(pid) for pid in services_of(home)]
        assert len(ends) == 3
    deadline = time.monotonic() + 30
    for end in ends:
        assert select.select([end], [], [], max(0.0, deadline - time.monotonic()))[0], (
            "a service outlives its last user"
        )
        os.close(end)
    assert services_of(home) == []
    assert home.run("list", "agents").returncode == 0, "and the next one starts its own"


def test_what_is_down_is_named_soon_and_plainly(home: Home) -> None:
    port = free_port()
    # In less than the two minutes that a start may take, after which `run` fails.
    away = home.run("list", "agents", MEMGPT_MEMORY_URI=f"http://127.0.0.1:{port}")
    assert away.returncode == 1
    assert away.stderr == (
        f"Error: Milvus cannot be reached at http://127.0.0.1:{port} (connection refused); start it, or choose another"
        " store with `memgpt configure`\n"
    )
    home.run("configure", "--model", "m", "--model-endpoint", f"http://127.0.0.1:{port}/v1", "--mode", "tools")
    with home.terminal("run", "--agent", "Ada", "--first") as chat:
        screen = chat.wait("the model cannot be reached")
        assert f"http://127.0.0.1:{port}/v1 (connection refused); start its server" in " ".join(screen.split())


@pytest.mark.parametrize("port", ["abc", "99999", "-1"])
def test_an_invalid_port_in_the_environment_is_reported(home: Home, port: str) -> None:
    with home.terminal("list", "agents", MEMGPT_AGENT_PORT=port) as listed:
        screen = listed.wait_end()
    assert f'MEMGPT_AGENT_PORT is not a port: "{port}"' in screen
    assert listed.code == 2


def test_configure_offers_what_is_configured(home: Home) -> None:
    with ScriptedLLM(lambda _: call("say_hello", to="Ada")) as llm:
        home.configure(llm)
        before = tomllib.loads((home.path / "config.toml").read_text())
        with home.terminal("configure") as terminal:
            terminal.wait("Select LLM inference provider")
            terminal.send(ENTER)
            terminal.wait("Enter the base URL of the endpoint")
            terminal.send("\x15not a url" + ENTER)
            terminal.wait('"not a url" is not the URL of an endpoint')
            terminal.wait(lambda text: text.count("Enter the base URL of the endpoint") == 2)
            terminal.send(ENTER)
            terminal.wait("Enter its API key")
            terminal.send(ENTER)
            terminal.wait("Send further headers or query parameters, or set a temperature")
            terminal.send(ENTER)
            terminal.wait("model:")
            terminal.send(ENTER)
            terminal.wait("Enter the size of its context window")
            terminal.send("\x15" + "12" + ENTER)
            terminal.wait("a context window has 1,024 to 10,000,000 tokens")
            terminal.wait(lambda text: text.count("Enter the size of its context window") == 2)
            terminal.send(ENTER)
            terminal.wait("Select embedding model")
            terminal.send(ENTER)
            terminal.wait("Select storage backend")
            terminal.send(ENTER)
            terminal.wait("Enter the Milvus connection URI")
            terminal.send(ENTER)
            screen = terminal.wait_end()
        assert terminal.code == 0, screen
        assert "scripted answered a test message in" in screen
        assert "What to do next:" in screen
        after = tomllib.loads((home.path / "config.toml").read_text())
        assert after["agent"]["model"] == before["agent"]["model"]
        assert after["agent"]["base_url"] == before["agent"]["base_url"]
        assert after["memory"] == before["memory"]


def test_leaving_configure_changes_nothing(home: Home) -> None:
    with home.terminal("configure") as terminal:
        terminal.wait("Select LLM inference provider")
        terminal.send(INTERRUPT)
        screen = terminal.wait_end()
    assert "Nothing was changed." in screen
    assert terminal.code == 130
    assert not (home.path / "config.toml").exists()


@pytest.mark.parametrize("width", [40, 200])
def test_tables_keep_names_whole_and_hide_ids(running: Home, width: int) -> None:
    name = "An agent with a rather long name"
    assert running.run("ask", "--agent", name, "Hello!").returncode == 0
    with running.terminal("list", "agents", width=width) as listed:
        screen = listed.wait_end()
    assert name in screen
    assert "agent_" not in screen
    with running.terminal("list", "agents", "--wide", width=200) as listed:
        assert "agent_" in listed.wait_end()


def test_what_is_taken_back_is_shown_without_hidden_events(home: Home) -> None:
    with home.terminal("run", "--agent", "Zoe", width=80) as chat:
        chat.wait("Hit enter to begin")
        chat.send(ENTER)
        chat.wait(PROMPT)
        chat.send("My name is Anna and I live in Berlin" + ENTER)
        chat.wait(lambda text: text.count(PROMPT) == 2)
        chat.send("/undo" + ENTER)
        chat.wait(lambda text: text.count(PROMPT) == 3)
        chat.send("/pop" + ENTER)
        screen = chat.wait(lambda text: text.count(PROMPT) == 4)
        chat.send("/model nonsense" + ENTER)
        refused = chat.wait(lambda text: text.count(PROMPT) == 5).rpartition("/model nonsense")[2]
        chat.send(END)
        chat.wait_end()
    undone, popped = screen.rpartition("/undo")[2].split("/pop")
    assert "🧑 My name is Anna and I live in Berlin" in undone
    assert "[heartbeat]" in undone
    assert "🤖 Hello!" in popped
    assert "hidden from" not in screen
    assert "Error: " in refused
    assert "nonsense" in refused


def test_a_deletion_is_confirmed_only_for_what_exists(running: Home) -> None:
    assert running.run("ask", "--agent", "Dora", "Hello!").returncode == 0
    with running.terminal("delete", "agent", "Nobody") as unknown:
        screen = unknown.wait_end()
    assert 'no agent is named "Nobody"' in screen
    assert "y/N" not in screen
    assert unknown.code == 1
    with running.terminal("delete", "agent", "Dora") as known:
        known.wait("y/N")
        known.send(INTERRUPT)
        known.wait_end()
    assert "Dora" in running.run("list", "agents").stdout


def test_the_tutorial_in_chinese(home: Home) -> None:
    assert home.run("quickstart").returncode == 0
    loaded = home.run("load", str(PAPER), "--name", "论文")
    assert "from 论文" in loaded.stdout, loaded.stderr
    with home.terminal("run", "--persona", "memgpt_doc", "--agent", "小艾", width=80) as chat:
        chat.wait("Hit enter to begin")
        chat.send(ENTER)
        chat.wait(PROMPT)
        chat.send("/attach 论文" + ENTER)
        chat.wait("Attached data source 论文")
        chat.wait(lambda text: text.count(PROMPT) == 2)
        chat.send("我叫王芳。" + ENTER)
        chat.wait(lambda text: text.count(PROMPT) == 3)
        chat.send("记住我喜欢绿茶。" + ENTER)
        chat.wait(lambda text: text.count(PROMPT) == 4)
        chat.send(QUESTION + ENTER)
        screen = chat.wait(lambda text: text.count(PROMPT) == 5)
        assert "searching memory with archival_memory_search" in screen
        assert "(memgpt_research_paper.pdf, page" in " ".join(screen.split())
        chat.send("/memory" + ENTER)
        screen = chat.wait(lambda text: text.count(PROMPT) == 6).rpartition("/memory")[2]
        assert "王芳" in screen
        assert "喜欢绿茶" in screen
        chat.send(END)
        chat.wait_end()
