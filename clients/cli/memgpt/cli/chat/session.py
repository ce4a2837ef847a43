"""An interactive conversation with an agent."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import takewhile
from pathlib import Path

from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.cli.chat.choose_agent import ChosenAgent, RunOptions, create_agent
from memgpt.cli.chat.commands import Commands
from memgpt.cli.chat.messages import QUOTE_CHARACTERS, last_exchange, shorten
from memgpt.cli.chat.turns import Turns
from memgpt.cli.errors import CliError, explain
from memgpt.cli.terminal.ui import Ui
from memgpt.client import Agent, MemGPT, ServiceError

_LEAVING = frozenset({"exit", "quit", ":q"})
"""Messages that are more likely meant for the program than for the agent."""


class Chat:
    """An interactive conversation; the person may switch agents."""

    def __init__(self, ui: Ui, memgpt: MemGPT, chosen: ChosenAgent, wishes: RunOptions, history: Path) -> None:
        """Prepare the conversation.

        Args:
            ui: The terminal.
            memgpt: The services.
            chosen: The agent to talk to.
            wishes: Options of the chat.
            history: File with the history of typed lines.
        """
        self._ui = ui
        self._memgpt = memgpt
        self._wishes = wishes
        self._history = history
        self._begin(chosen)

    def _begin(self, chosen: ChosenAgent) -> None:
        self._typed = ""
        self._agent, self._new = chosen.agent, chosen.new
        self._commands = Commands(self._ui, self._memgpt, chosen.agent.agent_id)
        self._turns = Turns(self._ui, self._memgpt, chosen.agent.agent_id, self._wishes)

    def run(self) -> bool:
        """Run the chat until ``/exit`` or the end of input; return whether all turns succeeded."""
        try:
            well = self._attempt(self._open)
        except EOFError:
            return True
        while (line := self._read()) is not None:
            line = line.strip()
            if line.split()[:1] in (["/exit"], ["/quit"]) or (line.lower() in _LEAVING and self._leaves()):
                break
            if line:
                well &= self._attempt(partial(self._answer, line))
        return well

    def _attempt(self, action: Callable[[], bool]) -> bool:
        try:
            return action()
        except ServiceError as error:
            message = explain(error)
        except CliError as error:
            message = error.message
        # The conversation continues: the next attempt may succeed.
        self._ui.error(message)
        self._separate()
        return False

    def _separate(self) -> None:
        """Write a blank line after what was shown, as after a turn."""
        if self._ui.terminal and not self._wishes.strip_ui:
            self._ui.line()

    def _open(self) -> bool:
        """Show the last messages; a new agent speaks first, unless the person wants to."""
        self._turns.look_back()
        if not self._new:
            if not self._wishes.strip_ui and self._ui.terminal:
                self._look_back()
            return True
        if self._wishes.first or not (self._ui.interactive or self._wishes.yes):
            return True
        if not self._wishes.yes:
            self._ui.line("Hit enter to begin (will request first MemGPT message)")
            self._typed = input().strip()
        if self._typed:  # the person speaks first after all
            return True
        return self._turns.send(event=pb.SYSTEM_EVENT_LOGIN)

    def _look_back(self) -> None:
        context = self._memgpt.agents.context(self._agent.agent_id)
        last = last_exchange(item.message for item in context.messages)
        sources = ", ".join(attachment.source_name for attachment in context.agent.attachments)
        model = context.agent.model or self._memgpt.agents.model().model
        self._ui.note(f"   Model: {model}; data sources: {sources or 'none'}")
        if last.asked:
            self._ui.note("   Last time:")
            self._ui.line(f"🧑 {shorten(last.asked, QUOTE_CHARACTERS)}", indent=3)
        if last.asked and last.answered:
            self._ui.line(f"🤖 {shorten(last.answered, QUOTE_CHARACTERS)}", indent=3)
        self._ui.line()

    def _answer(self, line: str) -> bool:
        if line.startswith("//"):
            text = line.removeprefix("//").strip()
            return self._turns.send(text=text) if text else True
        if not line.startswith("/"):
            return self._turns.send(text=line)
        event = self._commands.event(line)
        if event is not None:
            return self._turns.send(event=event)
        name, _, argument = line.partition(" ")
        if name == "/retry":
            return self._turns.retry()
        if name == "/new":
            return self._move(create_agent(self._ui, self._memgpt, RunOptions(agent=argument.strip())))
        if name == "/switch":
            return self._move(ChosenAgent(self._picked(argument.strip()), new=False))
        if name == "/summarize" and not self._turns.take_up():
            return False
        done = True
        try:
            self._commands.run(line)
        except KeyboardInterrupt:
            if not self._ui.interactive:
                raise
            self._ui.note("Interrupted.")
            done = False
        self._separate()
        return done

    def _picked(self, name: str) -> Agent:
        if name:
            return self._memgpt.agents.find(name)
        names = [agent.name for agent in self._memgpt.agents.list() if agent.agent_id != self._agent.agent_id]
        if not names:
            raise CliError("this is the only agent; create another with /new")
        return self._memgpt.agents.find(self._commands.pick("Select agent:", names))

    def _move(self, chosen: ChosenAgent) -> bool:
        self._begin(chosen)
        if not chosen.new and not self._wishes.strip_ui:
            self._ui.line(f"🔁 Using existing agent '{chosen.agent.name}'", "bold green")
        return self._open()

    def _read(self) -> str | None:
        """Read the next line or block of lines; None at the end of input."""
        if self._typed:
            line, self._typed = self._typed, ""
            return line
        if not self._ui.interactive:
            line = sys.stdin.readline()
            if line.strip() != "//":
                return line or None
            return "//" + "".join(takewhile(lambda more: more.strip() != "//", sys.stdin))
        while True:
            try:
                line = self._ui.prompt("Enter your message:", self._history)
                if line.strip() != "//":
                    return line
                self._ui.note("Several lines: finish with Esc, then Enter.")
                return f"//{self._ui.prompt('', None, multiline=True)}"
            except EOFError:
                return None
            except KeyboardInterrupt:
                if self._leaves():
                    return None

    def _leaves(self) -> bool:
        """Whether the person wants to leave; only asked at a terminal."""
        if not self._ui.interactive:
            return False
        with suppress(KeyboardInterrupt, EOFError):
            return self._ui.confirm("Leave the chat?")
        return True
