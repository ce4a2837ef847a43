"""`memgpt forget` and `memgpt export user`: what is removed for good, and everything about one user."""

from __future__ import annotations

from typing import IO

from google.protobuf import json_format
from memgpt.cli.errors import CliError
from memgpt.cli.resources import confirmed, shown
from memgpt.cli.terminal.ui import Ui, plural
from memgpt.client import MemGPT

_LATER = "The files of the store have the text until `memgpt compact`"


def forget_message(ui: Ui, memgpt: MemGPT, agent_name: str, sequence: int, *, yes: bool) -> None:
    """Forget a message of an agent; ask for confirmation on a terminal."""
    agent = memgpt.agents.find(agent_name)
    found = next((one for one in memgpt.memory.messages(agent.agent_id) if one.sequence <= sequence), None)
    if found is None or found.sequence != sequence:
        raise CliError(f'agent "{agent.name}" has no message {sequence}; `memgpt export agent` lists what there is')
    text = found.text or found.function_call.arguments
    if not confirmed(ui, f"Forget message {sequence}, “{shown(text)}”, for good?", yes=yes):
        return
    count = memgpt.memory.forget_messages(agent.agent_id, [sequence])
    ui.line(f"Forgot {plural(count, 'message')} of agent {agent.name}.", "green")
    ui.note(_LATER)


def forget_note(ui: Ui, memgpt: MemGPT, agent_name: str, note_id: str, *, yes: bool) -> None:
    """Forget a note of an agent; ask for confirmation on a terminal."""
    agent = memgpt.agents.find(agent_name)
    found = next((note for note in agent.notes() if note.passage_id == note_id), None)
    if found is None:
        raise CliError(f'agent "{agent.name}" has no note "{note_id}"; `memgpt show notes` lists them')
    question = f"Forget the note “{shown(found.text)}”, and the messages that hold its text, for good?"
    if not confirmed(ui, question, yes=yes):
        return
    forgotten = memgpt.memory.forget_notes(agent.agent_id, [note_id])
    counted = plural(forgotten.forgotten_message_count, "message")
    ui.line(f"Forgot the note and {counted} of agent {agent.name}.", "green")
    ui.note(_LATER)


def forget_user(ui: Ui, memgpt: MemGPT, user_id: str, request_id: str, *, yes: bool) -> None:
    """Erase everything about a user; ask for confirmation on a terminal."""
    agents = memgpt.agents.list(user_id=user_id).all()
    question = f"Erase user {user_id} with {plural(len(agents), 'agent')} and all that they remember for good?"
    if not confirmed(ui, question, yes=yes):
        return
    receipt = memgpt.memory.erase_user(user_id, request_id)
    counted = ", ".join(
        (
            plural(receipt.agent_count, "agent"),
            plural(receipt.block_count, "block"),
            plural(receipt.message_count, "message"),
            plural(receipt.note_count, "note"),
            plural(receipt.shared_block_count, "shared block"),
        )
    )
    ui.line(f"Erased user {user_id}: {counted}.", "green")
    ui.note(_LATER)


def export_user(ui: Ui, memgpt: MemGPT, user_id: str, target: IO[bytes], *, quiet: bool) -> None:
    """Write everything about a user to `target`, and report it unless `quiet`."""
    agents = 0
    with ui.busy("Exporting..."):
        for item in memgpt.memory.export_user(user_id):
            agents += item.piece.HasField("end")
            line = json_format.MessageToJson(item, indent=None, preserving_proto_field_name=True, ensure_ascii=False)
            target.write(line.encode() + b"\n")
    if not quiet:
        ui.line(f"Exported user {user_id}: {plural(agents, 'agent')}.", "green")
