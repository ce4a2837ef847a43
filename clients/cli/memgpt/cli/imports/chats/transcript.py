"""Conversations with other assistants as documents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from memgpt.cli.imports import names
from memgpt.cli.imports.pieces import Document

_DAY = "%Y-%m-%d"
_MINUTE = "%Y-%m-%d %H:%M UTC"
_TITLE = 80


@dataclass(frozen=True, slots=True)
class Said:
    """What a person or the assistant said."""

    by: str
    text: str
    time: datetime | None = None


def document(title: str, conversation_id: str, time: datetime | None, said: Iterable[Said]) -> Document:
    """Return a conversation as Markdown, with its title and dates.

    Its name begins with the day, and ends with a part of the id, since titles repeat.
    """
    shown = names.visible(title)[:_TITLE].strip() or "Untitled"
    day = time.astimezone(UTC).strftime(_DAY) if time else ""
    short = names.visible(conversation_id)[:8]
    name = " ".join(each for each in (day, shown.replace("/", " "), short) if each) + ".md"
    lines = [f"# {shown}", ""]
    if time:
        lines += [f"Conversation of {time.astimezone(UTC).strftime(_MINUTE)}", ""]
    for each in said:
        when = f", {each.time.astimezone(UTC).strftime(_MINUTE)}" if each.time else ""
        lines += [f"## {each.by}{when}", "", each.text.strip(), ""]
    return Document(name, "\n".join(lines))
