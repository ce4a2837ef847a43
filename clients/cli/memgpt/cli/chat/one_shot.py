"""`memgpt ask`: one message and its answer."""

from __future__ import annotations

import sys
from contextlib import suppress
from difflib import get_close_matches

from memgpt.agent.v1.agent_service_pb2 import SendMessageRequest
from memgpt.cli.chat.turn_view import THINKING, TurnView
from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.services.dependencies import model_warning
from memgpt.cli.terminal.ui import Ui
from memgpt.client import Agent, MemGPT, NotFound
from memgpt.memory.v1.turn_pb2 import TurnState


def read_question(question: str) -> str:
    """Return a message from the command line, or that of standard input for ``-``.

    Raises:
        CliError: It is empty.
    """
    text = (sys.stdin.read() if question == "-" else question).strip()
    if not text:
        raise CliError("there is nothing to ask", MISUSE)
    return text


def ask_once(ui: Ui, memgpt: MemGPT, text: str, agent_name: str, source_names: list[str], *, as_json: bool) -> bool:
    """Send one message and show the answer; return whether the turn succeeded.

    Args:
        ui: The terminal.
        memgpt: The services.
        text: The message.
        agent_name: Name of the agent, which is created if absent, with a warning; empty for the one that changed last.
        source_names: Data sources to attach to the agent.
        as_json: Whether to write every event as JSON.
    """
    agent = _agent(ui, memgpt, agent_name)
    for name in source_names:
        agent.attach(name)
    warning = model_warning()
    if warning:
        ui.warning(warning)
    # A single question needs an answer, not a greeting.
    request = SendMessageRequest(
        agent_id=agent.agent_id, text=text, stream_deltas=ui.terminal and not as_json, skip_verify=True
    )
    turn = memgpt.agents.send(request)
    if as_json:
        for event in turn:
            if event.sequence:
                ui.json(event)
        return turn.state == TurnState.TURN_STATE_COMPLETED
    with ui.busy(THINKING) as busy:
        view = TurnView(ui, busy, strip=True)
        for event in turn:
            view.show(event)
    return view.state == TurnState.TURN_STATE_COMPLETED


def _agent(ui: Ui, memgpt: MemGPT, name: str) -> Agent:
    if name:
        with suppress(NotFound):
            return memgpt.agents.find(name)
    agents = memgpt.agents.list().all()
    if name or not agents:
        agent = memgpt.agents.create(name)
        close = get_close_matches(name, [each.name for each in agents], n=1)
        # On standard error, where a program that reads the answer does not take it for one.
        ui.progress(f'Created agent "{agent.name}".' + (f' Did you mean "{close[0]}"?' if close else ""))
        return agent
    return max(agents, key=lambda agent: agent.info.update_time.ToNanoseconds())
