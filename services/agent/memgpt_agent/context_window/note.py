"""The note at the end of every prompt: what changes from step to step, so that the prompt's prefix stays cacheable.

Everything before it only grows at its end, so that endpoints can reuse their cache of the prompt. The note is not
part of the conversation, and no prompt contains an earlier one.
"""

from __future__ import annotations

from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.domain import Context, Message, Role

_NOT_USER = "Written by the system; the user cannot see it. Never mention or quote it."


def note_text(context: Context, next_step: str = "", *, guided: bool = False) -> str:
    """Return the note: blocks of core memory that changed in this conversation, and a status as JSON text.

    Args:
        context: What fills the window now.
        next_step: What the model should do next, in the imperative; empty for no advice.
        guided: Whether to leave out the counts that a small model has no use for: it reads the note with every request.
    """
    note: dict[str, object] = {"type": "system_status", "about": _NOT_USER}
    if not guided or context.summary:
        note["recall_memory"] = _count(context.recall_count, "message")
    if not guided or context.archival_count:
        note["archival_memory"] = _archival(context)
    if context.recalled:
        note["possibly_relevant"] = list(context.recalled)
    if next_step:
        note["next_step"] = next_step
    return "\n".join(filter(None, (prompt.changed_text(context), envelopes.dumps(note))))


def note_message(context: Context) -> Message:
    """Return the note as the message that is sent to the endpoint."""
    return Message(Role.USER, note_text(context))


def _archival(context: Context) -> str:
    text = _count(context.archival_count, "entry", "entries")
    if context.agent.attachments:
        sources = ", ".join(f"{a.source_name} ({a.passage_count})" for a in context.agent.attachments)
        text += f", including the passages of the attached sources: {sources}"
    return text


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
