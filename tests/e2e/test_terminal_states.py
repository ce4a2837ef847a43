"""Commands on terminals that are refused an answer, interrupted, or completed by the shell."""

from __future__ import annotations

import shutil
import threading
import tomllib
from pathlib import Path

import pytest

from tests.support.scripted_llm import Completion, Hang, ScriptedLLM, Status, call
from tests.support.terminal import END, ENTER, INTERRUPT, MEMGPT, PROMPT, Home, Terminal

CLEAR_LINE, UP, PASTE, PASTED = "\x15", "\x1b[A", "\x1b[200~", "\x1b[201~"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_configure_refuses_a_uri_when_it_is_given_and_makes_a_path_absolute(home: Home) -> None:
    question = "Enter the Milvus connection URI"
    with home.terminal("configure") as terminal:
        for shown in ("Select LLM inference provider", "Select embedding model", "Select storage backend"):
            terminal.wait(shown)
            terminal.send(ENTER)
        wrong = [
            ("http://my host:19530", '"http://my host:19530" has a blank in it'),
            ("ftp://milvus:19530", '"ftp://milvus:19530" is not the URI of a Milvus server'),
            ("store", '"store" is neither a file that ends in .db nor a URI'),
        ]
        for number, (uri, says) in enumerate(wrong, start=1):
            terminal.wait(lambda text, number=number: text.count(question) == number)  # type: ignore[misc]
            terminal.send(CLEAR_LINE + uri + ENTER)
            terminal.wait(says)
        terminal.wait(lambda text: text.count(question) == len(wrong) + 1)
        terminal.send(CLEAR_LINE + "  store.db " + ENTER)
        screen = terminal.wait_end()
    assert terminal.code == 0, screen
    written = tomllib.loads((home.path / "config.toml").read_text())
    assert written["memory"]["uri"] == str(home.folder / "store.db")


def test_configure_refuses_a_key_with_a_line_break(home: Home) -> None:
    with home.terminal("configure") as terminal:
        terminal.wait("Select LLM inference provider")
        terminal.send(2 * UP + ENTER)  # the last but one; servers found on this machine come before it
        terminal.wait("Enter your OpenAI API key")
        terminal.send(f"{PASTE}sk-first\nsk-second{PASTED}" + ENTER)
        screen = terminal.wait("an API key contains only ASCII characters and no spaces")
        assert "sk-first" not in screen
        terminal.wait(lambda text: text.count("Enter your OpenAI API key") == 2)
        terminal.send(INTERRUPT)
        assert "Nothing was changed." in terminal.wait_end()
    assert terminal.code == 130
    assert not (home.path / "config.toml").exists()


@pytest.mark.parametrize(
    ("reply", "waiting"),
    [(Hang(), "Reading"), (Completion("Once upon a time there was", pieces=6, hang_after=4), "upon a")],
    ids=["reading", "writing"],
)
def test_ctrl_c_cancels_a_turn_and_the_chat_goes_on(home: Home, reply: Hang | Completion, waiting: str) -> None:
    with ScriptedLLM([reply, call("send_message", message="Still here.")]) as llm:
        home.configure(llm)
        with home.terminal("run", "--agent", "Ada", "--first", "--no-verify") as chat:
            chat.wait(PROMPT)
            chat.send("Tell me a story." + ENTER)
            chat.wait(waiting)
            chat.send(INTERRUPT)
            chat.wait("The turn was cancelled")
            chat.wait(lambda text: text.count(PROMPT) == 2)
            chat.send("Are you there?" + ENTER)
            chat.wait("Still here.")
            chat.wait(lambda text: text.count(PROMPT) == 3)
            chat.send(END)
            screen = chat.wait_end()
    assert chat.code == 0
    assert "Traceback" not in screen


def test_a_load_says_that_it_waits_for_a_rate_limit_and_ctrl_c_cancels_it(home: Home) -> None:
    (home.folder / "note.txt").write_text("Bees make honey from nectar.")
    limited = threading.Event()
    with ScriptedLLM(lambda _: call("send_message", message="Hello.")) as llm:
        home.configure(llm, "--embedding-model", "e", "--embedding-dimension", str(llm.dimension))
        llm.rule_embeddings(lambda _: Status(429, "Too many requests", retry_after=600) if limited.is_set() else None)
        assert home.run("list", "agents").returncode == 0  # a new store asks the endpoint for its dimension
        limited.set()
        with home.terminal("load", "note.txt", "--name", "bees") as load:
            said = " ".join(load.wait("is rate limiting requests").split())
            assert "Waiting 10 min: the embedding endpoint" in said
            load.send(INTERRUPT)
            screen = load.wait_end()
        assert "Cancelled; the same command resumes it." in screen
        assert load.code == 130
        limited.clear()
        again = home.run("load", "note.txt", "--name", "bees")
        assert "note.txt: loaded, 1 passage" in again.stdout, again.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_completes_commands(home: Home, shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    plain = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"]}[shell]
    folder = str(Path(MEMGPT).parent)
    environment = {**home.environment, "PATH": f"{folder}:{home.environment['PATH']}", "PS1": "ready> "}
    load = {"bash": "", "zsh": "autoload -Uz compinit && compinit -u && "}[shell]
    with Terminal(program, *plain, "-i", env=environment, cwd=home.folder) as terminal:
        terminal.wait("ready>")
        terminal.send(f'{load}eval "$(_MEMGPT_COMPLETE=source_{shell} memgpt)"; echo completion is loaded{ENTER}')
        terminal.wait(lambda text: text.count("completion is loaded") == 2)
        terminal.send("memgpt quicks\t")
        terminal.wait("memgpt quickstart")
