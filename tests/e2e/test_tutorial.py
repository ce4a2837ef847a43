"""The tutorial, typed at a terminal: configure, load, run, attach, ask, leave, and come back."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support.processes import service_environment
from tests.support.scripted_llm import Completion, ScriptedLLM, call

MEMGPT = str(Path(sys.executable).with_name("memgpt"))
PAPER = Path(__file__).parents[2] / "clients/python/memgpt/samples/memgpt_research_paper.pdf"
QUESTION = "The paper I loaded into your archival memory is called MemGPT. Can you tell me more about it?"
PROMPT = "Enter your message:"
ENTER = "\r"

Type = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def memgpt(tmp_path: Path) -> Iterator[Type]:
    """Start `memgpt` with arguments on its own terminal, in the test's home."""
    environment = service_environment(tmp_path / "home", {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"})
    size = (50, 250)
    terminals: list[pexpect.spawn[str]] = []

    def start(*arguments: str) -> pexpect.spawn[str]:
        terminal = pexpect.spawn(
            MEMGPT,
            list(arguments),
            env=environment,
            encoding="utf-8",
            timeout=90,
            dimensions=size,
            cwd=str(tmp_path),
            # A shell in the background has its jobs ignore Ctrl-C, and children inherit that; a terminal has not.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        terminal.str_last_chars = 4_000  # what a failure shows
        # Typed at once: a person's pause between prompt and key has no purpose here.
        terminal.delaybeforesend = None
        terminals.append(terminal)
        return terminal

    yield start
    for terminal in terminals:
        terminal.close(force=True)


def finish(terminal: pexpect.spawn[str]) -> str:
    """Return its output up to its end, which must be successful."""
    terminal.expect(pexpect.EOF)
    rest = terminal.before or ""
    terminal.close()
    assert terminal.exitstatus == 0, rest
    return rest


def test_the_tutorial(memgpt: Type, tmp_path: Path) -> None:
    configure = memgpt("configure")
    for question in ("Select LLM inference provider", "Select embedding model", "Select storage backend"):
        configure.expect(question)
        configure.send(ENTER)
    configure.expect("Enter the Milvus connection URI")
    configure.send(ENTER)
    configure.expect("Saved the configuration")
    finish(configure)
    assert (tmp_path / "home" / "config.toml").stat().st_mode & 0o077 == 0

    load = memgpt("load", "directory", "--name", "memgpt_research_paper", f"--input-files={PAPER}")
    load.expect(r"Loading files: 100%\|█+\| 1/1 ")
    load.expect(r"Loaded (\d+) passages and 13 documents from memgpt_research_paper")
    passages = int(load.match[1])
    assert passages > 50
    finish(load)

    run = memgpt("run", "--persona", "memgpt_doc")
    run.expect("Creating new agent...")
    run.expect("Using persona profile 'memgpt_doc'")
    run.expect(r"Created new agent '(\w+)'")
    name = run.match[1]
    run.expect("Hit enter to begin")
    run.send(ENTER)
    run.expect("💭")
    run.expect("🤖")
    run.expect(PROMPT)
    run.send("/attach" + ENTER)
    run.expect("Select data source")
    run.expect("memgpt_research_paper")
    run.send(ENTER)
    run.expect(f"Attached data source memgpt_research_paper: {passages} passages")
    run.expect(PROMPT)
    run.send(QUESTION + ENTER)
    last_page = (passages - 1) // 5
    for page in (0, 1):
        run.expect("searching memory with archival_memory_search")
        run.expect(rf"Showing 5 of {passages} results \(page {page}/{last_page}\)")
    run.expect("🤖")
    run.expect(r"“[^”]+” \(memgpt_research_paper\.pdf,(?:\x1b\[[\d;]*m|\s)+page(?:\x1b\[[\d;]*m|\s)+\d+\)")
    run.expect(PROMPT)
    run.send("/exit" + ENTER)
    finish(run)

    again = memgpt("run")
    again.expect("Would you like to select an existing agent")
    again.send(ENTER)
    again.expect("Select agent")
    again.expect(name)
    again.send(ENTER)
    again.expect(f"Using existing agent '{name}'")
    again.expect("Model: offline; data sources: memgpt_research_paper")
    again.expect("Last time:")
    again.expect("🧑 The paper I loaded")
    again.expect("🤖")
    again.expect(PROMPT)
    again.send("Do you remember what I said about MemGPT?" + ENTER)
    again.expect("searching memory with conversation_search")
    again.expect("🤖")
    again.expect(re.escape("The paper I loaded into your archival memory is called MemGPT"))
    again.expect(PROMPT)
    again.send("/attach" + ENTER)
    again.expect("Select data source")
    again.sendintr()
    again.expect("Interrupted")
    again.expect(PROMPT)
    again.sendintr()
    again.expect("Leave the chat")
    again.send("y")
    finish(again)

    left = memgpt("run", "--agent", name)
    left.expect(PROMPT)
    left.sendeof()
    finish(left)


def test_ctrl_c_cancels_a_turn_and_not_the_chat(memgpt: Type) -> None:
    endless = Completion(content="A thought that never ends", hang_after=2)
    with ScriptedLLM([call("send_message", message="Welcome."), endless, call("send_message", message="Here.")]) as llm:
        finish(memgpt("configure", "--model", "scripted", "--model-endpoint", llm.base_url, "--mode", "tools"))
        run = memgpt("run", "--agent", "Ada")
        run.expect("Hit enter to begin")
        run.send(ENTER)
        run.expect("🤖")
        run.expect(PROMPT)
        run.send("Think hard." + ENTER)
        run.expect("💭")  # Its first piece: the model is at it.
        run.sendintr()
        run.expect("The turn was cancelled")
        run.expect(PROMPT)
        run.send("Are you there?" + ENTER)
        run.expect("🤖")
        run.expect(PROMPT)
        run.sendeof()
        finish(run)
