"""The chat: an agent chosen or made, then one turn after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice, takewhile
from pathlib import Path

from memgpt.agent.v1 import agent_service_pb2 as pb
from memgpt.agent.v1.event_pb2 import TurnEvent
from memgpt.cli.commands import Commands
from memgpt.cli.errors import MISUSE, CliError, explain
from memgpt.cli.render import THINKING, TurnView
from memgpt.cli.resources import read_text
from memgpt.cli.ui import Ui
from memgpt.client import Agent, MemGPT, NotFound, ServiceError, new_request_id
from memgpt.memory.v1.block_pb2 import BlockEdit
from memgpt.memory.v1.turn_pb2 import Turn, TurnState

_KEPT = "what was sent is kept, and is answered before your next message; /undo takes it back"
_NOT_SENT = "this was not sent, for what was sent before is still to be answered; /undo takes that back"

_TURNS_SEARCHED = 100
"""Turns among which one that was left behind is looked for: no more than 64 wait at a time."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What `memgpt run` was asked for; see its flags."""

    agent: str = ""
    preset: str = ""
    persona: str = ""
    human: str = ""
    system: str = ""
    model: str = ""
    context_window: int = 0
    core_memory_limit: int = 0
    blocks: tuple[BlockEdit, ...] = ()
    first: bool = False
    strip_ui: bool = False
    debug: bool = False
    skip_verify: bool = False
    yes: bool = False
    stream: bool = False


def read_system(text: str, file: Path | None) -> str:
    """The instructions from `--system` or `--system-file`."""
    if text and file is not None:
        raise CliError("--system and --system-file exclude each other", MISUSE)
    return text if file is None else read_text("", file)


def read_blocks(given: Iterable[str], *, read_only: bool) -> Iterator[BlockEdit]:
    """The blocks from `--block` or `--read-only-block`: LABEL=TEXT, or LABEL=@FILE."""
    for text in given:
        label, sign, value = text.partition("=")
        if not sign:
            raise CliError(f"a block is given as LABEL=TEXT or LABEL=@FILE, not {text!r}", MISUSE)
        if value.startswith("@"):
            value = read_text("", Path(value[1:]))
        yield BlockEdit(label=label, value=value, read_only=read_only)


def choose_agent(ui: Ui, memgpt: MemGPT, wishes: Wishes) -> Agent:
    """The agent to talk to: the one asked for, one that is picked from the list, or a new one."""
    if wishes.agent:
        with suppress(NotFound):
            return _take_over(ui, memgpt, memgpt.agents.find(wishes.agent), wishes)
        return _create(ui, memgpt, wishes)
    if ui.interactive and not wishes.yes:
        agents = list(memgpt.agents.list())
        if agents and ui.confirm("Would you like to select an existing agent?"):
            name = ui.select("Select agent:", [agent.name for agent in reversed(agents)])
            agent = next(agent for agent in agents if agent.name == name)
            return _take_over(ui, memgpt, agent, wishes)
    return _create(ui, memgpt, wishes)


def _take_over(ui: Ui, memgpt: MemGPT, agent: Agent, wishes: Wishes) -> Agent:
    fixed = {
        "--persona": (wishes.persona, agent.info.persona),
        "--human": (wishes.human, agent.info.human),
        "--preset": (wishes.preset, agent.info.preset),
    }
    if not wishes.strip_ui:
        ui.line(f"🔁 Using existing agent {agent.name!r} (id={agent.agent_id})", "bold green")
        for flag, (wished, had) in fixed.items():
            if wished and wished != had:
                ui.note(f"   {flag} {wished} is for new agents: this one was made with {had}")
        if wishes.core_memory_limit:
            ui.note("   --core-memory-limit is for new agents")
    fields = {}
    for field in ("system", "model", "context_window"):
        value = getattr(wishes, field)
        if value and value != getattr(agent.info, field):
            fields[field] = value
    for block in wishes.blocks:
        memgpt.agents.set_block(agent.agent_id, block)
    return memgpt.agents.update(agent.agent_id, fields, agent.info.etag) if fields else agent


def _create(ui: Ui, memgpt: MemGPT, wishes: Wishes) -> Agent:
    if not wishes.strip_ui:
        ui.line()
        ui.line("🧬 Creating new agent...", "bold")
    agent = memgpt.agents.create(
        pb.CreateAgentRequest(
            name=wishes.agent,
            preset=wishes.preset,
            persona=wishes.persona,
            human=wishes.human,
            system=wishes.system,
            model=wishes.model,
            context_window=wishes.context_window,
            core_memory_limit=wishes.core_memory_limit,
            blocks=wishes.blocks,
        )
    )
    if not wishes.strip_ui:
        ui.line(f"->  🤖 Using persona profile '{agent.info.persona}'")
        ui.line(f"->  🧑 Using human profile '{agent.info.human}'")
        ui.line(f"🎉 Created new agent '{agent.name}' (id={agent.agent_id})", "bold green")
        ui.line()
    return agent


@dataclass(frozen=True, slots=True)
class _Left:
    """A turn that has not ended as far as it was shown: up to and with the event `sequence`."""

    request_id: str
    sequence: int = 0


class Chat:
    """A conversation with one agent, until the person leaves."""

    def __init__(self, ui: Ui, memgpt: MemGPT, agent: Agent, wishes: Wishes, history: Path) -> None:
        """Prepares the conversation.

        Args:
            ui: The terminal.
            memgpt: The services.
            agent: Whom to talk to.
            wishes: How.
            history: File with the lines typed so far.
        """
        self._ui = ui
        self._memgpt = memgpt
        self._agent = agent
        self._wishes = wishes
        self._history = history
        self._commands = Commands(ui, memgpt, agent.agent_id)
        self._left: _Left | None = None

    def run(self) -> bool:
        """Talks until `/exit` or the end of input; answers whether all that was asked for went well."""
        try:
            well = self._attempt(self._look_back) and self._attempt(self._greet)
        except EOFError:
            return True
        while (line := self._read()) is not None:
            line = line.strip()
            if line.split()[:1] == ["/exit"]:
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
        # The conversation goes on: what failed may work the next time.
        self._ui.error(message)
        return False

    def _answer(self, line: str) -> bool:
        if line.startswith("//"):
            text = line.removeprefix("//").strip()
            return self._turn(text=text) if text else True
        if not line.startswith("/"):
            return self._turn(text=line)
        event = self._commands.event(line)
        if event is not None:
            return self._turn(event=event)
        if line.split()[0] == "/retry":
            return self._retry()
        if line.split()[0] == "/summarize" and not self._take_up():
            return False
        try:
            self._commands.run(line)
        except KeyboardInterrupt:
            if not self._ui.interactive:
                raise
            self._ui.note("Broken off.")
            return False
        return True

    def _look_back(self) -> bool:
        """Finds the turn that an earlier chat left behind, whose model could not be reached, say."""
        running = self._find(lambda turn: turn.state == TurnState.TURN_STATE_RUNNING)
        self._left = _Left(running.request_id) if running else None
        return True

    def _find(self, wanted: Callable[[Turn], bool]) -> Turn | None:
        turns = islice(self._memgpt.agents.turns(self._agent.agent_id), _TURNS_SEARCHED)
        return next(filter(wanted, turns), None)

    def _greet(self) -> bool:
        if self._wishes.first or not (self._ui.interactive or self._wishes.yes):
            return True
        if not self._wishes.yes:
            input("Hit enter to begin (will request first MemGPT message)\n")
        return self._turn(event=pb.SYSTEM_EVENT_LOGIN)

    def _read(self) -> str | None:
        """The next line, or block of lines; None at the end."""
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
                with suppress(KeyboardInterrupt, EOFError):
                    if not self._ui.confirm("Leave the chat?"):
                        continue
                return None

    def _turn(self, *, text: str = "", event: pb.SystemEvent.ValueType = pb.SYSTEM_EVENT_UNSPECIFIED) -> bool:
        if not self._take_up():
            return False
        request = pb.SendMessageRequest(
            agent_id=self._agent.agent_id,
            request_id=new_request_id(),
            stream_deltas=self._wishes.stream,
            skip_verify=self._wishes.skip_verify,
        )
        if event:
            request.event = event
        else:
            request.text = text
        return self._follow(self._memgpt.agents.send(request), _Left(request.request_id))

    def _retry(self) -> bool:
        request = pb.RetryRequest(
            agent_id=self._agent.agent_id,
            request_id=new_request_id(),
            stream_deltas=self._wishes.stream,
            skip_verify=self._wishes.skip_verify,
        )
        return self._follow(self._memgpt.agents.retry(request), _Left(request.request_id))

    def _take_up(self) -> bool:
        """Shows a turn that was left behind to its end; answers whether the next one may be sent.

        The Agent would finish it before the next one anyway, but show it to nobody.
        """
        left = self._left
        if left is None:
            return True
        turn = self._find(lambda turn: turn.request_id == left.request_id)
        if turn is None or turn.state == TurnState.TURN_STATE_CANCELLED:  # It never began, or was taken back.
            self._left = None
            return True
        if not self._wishes.strip_ui:
            self._ui.note("↻ first, what was sent before:")
        events = self._memgpt.agents.resume(
            self._agent.agent_id, left.request_id, left.sequence, stream_deltas=self._wishes.stream
        )
        try:
            self._follow(events, left, _NOT_SENT)
        except ServiceError as error:
            if self._left is not None:
                raise
            self._ui.error(explain(error))
        if self._left is not None:
            self._ui.note(f"{_NOT_SENT.capitalize()}.")
        return self._left is None

    def _follow(self, events: Iterator[TurnEvent], left: _Left, consequence: str = _KEPT) -> bool:
        """Shows a turn; answers whether it ended as it should. Ctrl-C cancels it.

        Args:
            events: The turn's.
            left: The turn, and how far it was shown before.
            consequence: Said with an error that leaves the turn behind.
        """
        request_id, sequence = left.request_id, left.sequence
        with self._ui.busy(THINKING) as busy:
            view = TurnView(self._ui, busy, strip=self._wishes.strip_ui, debug=self._wishes.debug)
            try:
                for event in events:
                    sequence = max(sequence, event.sequence)
                    view.show(event)
            except KeyboardInterrupt:
                try:
                    busy.resume()
                    busy.say("Cancelling at the next step; Ctrl-C again to leave it to itself...")
                    self._memgpt.agents.cancel(self._agent.agent_id, request_id)
                    for event in self._memgpt.agents.resume(self._agent.agent_id, request_id, sequence):
                        sequence = max(sequence, event.sequence)
                        view.show(event)
                except KeyboardInterrupt:
                    self._ui.note("The turn goes on by itself.")
                if not self._ui.interactive:
                    raise
            except ServiceError as error:
                if not view.state and self._find(lambda turn: turn.request_id == request_id):
                    raise CliError(f"{explain(error)}; {consequence}") from error
                raise
            finally:
                self._left = None if view.state else _Left(request_id, sequence)
        return view.state == TurnState.TURN_STATE_COMPLETED
