"""What the model is shown: the composed system message, the summary, then the messages of the window."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from memgpt_agent import envelopes, profiles
from memgpt_agent.domain import EPOCH, Block, Context, Message, Role

MEMORY_PRESSURE_ALERT = (
    "The conversation is about to outgrow your context window: its oldest messages will soon be taken out and replaced"
    " by a short summary. Do not mention this to the user. If they hold anything that you must not forget, save it now"
    " with core_memory_append, core_memory_replace or archival_memory_insert."
)

HEARTBEAT_REQUESTED = "You asked for this heartbeat: go on."
HEARTBEAT_FAILED = "Your function call failed. Read its result, and call a function again."
HEARTBEAT_ONLY_THOUGHT = (
    "You wrote text without calling a function, and nobody has seen it. To reach the user, call send_message."
)
CALL_CANCELLED = (
    "The turn was cancelled while the function ran. It may have happened all the same: find out before you call it"
    " again."
)
HEARTBEAT_MANUAL = "You may act now if there is anything to do."
HEARTBEAT_BEGIN = (
    "The user has come in and waits for your first message: greet them with send_message, in a sentence or two, by name"
    " only if you know it."
)
HEARTBEAT_SUMMARIZE = "The user had your oldest messages summarised. There is nothing for you to do."

STILL_OPEN = " Still to be answered, in the user's words: "
"""What stands in a summary before a message of the user that left the window without an answer."""

MEMORY_MARK = "### Memory [last modified: "
"""What follows it in the system message changes from turn to turn."""

SUMMARY_INSTRUCTIONS = (
    "You are the assistant of the conversation below, and its oldest messages are about to leave your memory. Write, in"
    " the first person and in fewer than 100 words, what you must remember of them: who the user is, what was asked,"
    " decided, found and promised, and what is still open. If a former summary is given, carry over what still matters"
    " in it. Write the summary and nothing else."
)


def compose(context: Context) -> list[Message]:
    """All that the model is shown, in order. Messages that are not stored have sequence -1."""
    messages = [Message(Role.SYSTEM, system_text(context))]
    if context.summary:
        messages.append(Message(Role.USER, summary_text(context)))
    return [*messages, *context.messages]


def system_text(context: Context) -> str:
    """The system message: instructions, counts as of now, and core memory."""
    modified = max((block.updated_at for block in context.blocks), default=EPOCH)
    when = envelopes.format_time(modified, context.agent.time_zone)
    archival = f"archival memory holds {_count(context.archival_count, 'memory', 'memories')}"
    if context.agent.attachments:
        sources = ", ".join(f"{a.source_name} ({a.passage_count})" for a in context.agent.attachments)
        archival += f", the passages of these attached sources among them: {sources}"
    but = ", except the blocks that are read-only" if any(block.read_only for block in context.blocks) else ""
    return "\n".join(
        (
            (profiles.in_short(context.agent.system) if context.brief else context.agent.system).strip(),
            f"{MEMORY_MARK}{when}]",
            f"Up to the last event, recall memory holds {_count(_recall_count(context), 'message', 'messages')};"
            f" {archival}. conversation_search finds the messages, archival_memory_search the memories and passages.",
            f"Your core memory, which you can edit{but}; the numbers are the characters used and allowed:",
            blocks_text(context.blocks),
        )
    )


def blocks_text(blocks: Sequence[Block]) -> str:
    """Core memory as the system message holds it."""
    labels = [block.label for block in blocks]
    return "\n".join(_block(block, labels) for block in blocks)


def summary_text(context: Context) -> str:
    """The message that stands for what left the window."""
    gone = context.recall_count - len(context.messages)
    time = envelopes.format_time(context.messages[0].created_at if context.messages else EPOCH, context.agent.time_zone)
    return envelopes.system_alert(
        f"{_count(gone, 'earlier message', 'earlier messages')} left your context; conversation_search finds them."
        f" Your summary of them: {context.summary}",
        time,
    )


def transcript(messages: Iterable[Message]) -> str:
    """Messages as plain text, one a paragraph, for the summary's request."""
    lines = []
    for message in messages:
        lines.append(f"{message.role.value}: {message.text}")
        if message.function_call is not None:
            lines.append(f"{message.role.value} calls {message.function_call.name}: {message.function_call.arguments}")
    return "\n\n".join(lines)


def escape(text: str, labels: Iterable[str]) -> str:
    """``text`` with every ``<label`` and ``</label`` made harmless, so that no value can end its block or open another.

    All else stays as it is, since ``core_memory_replace`` wants text exactly as the model sees it.
    """
    names = "|".join(re.escape(label) for label in labels)
    return re.sub(rf"<(?=/?(?:{names})\b)", "&lt;", text) if names else text


def _recall_count(context: Context) -> int:
    """Messages in recall memory when the event came in that the agent answers.

    Were they counted anew in every step, the system message would change in every step, and endpoints that cache what
    prompts have in common would have to read everything after it again.
    """
    behind = 0
    for message in reversed(context.messages):
        ours = envelopes.kind(message.text) in ("heartbeat", "system_alert")
        stored = message.sequence >= 0
        if message.role is Role.USER and not ours and stored:
            return context.recall_count - behind
        behind += stored
    return context.recall_count


def _block(block: Block, labels: list[str]) -> str:
    read_only = ' read-only="true"' if block.read_only else ""
    head = f'<{block.label} characters="{len(block.value)}/{block.limit}"{read_only}>'
    return f"{head}\n{escape(block.value, labels)}\n</{block.label}>"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
