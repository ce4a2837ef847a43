"""The prompt but for its note: system message, summary, messages of the window; and the texts of the Agent's events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from memgpt_agent import envelopes, profiles
from memgpt_agent.domain import EPOCH, Block, Context, Message, Role
from memgpt_agent.functions import functions_of
from memgpt_agent.functions.core_memory_append import CORE_MEMORY_APPEND
from memgpt_agent.functions.core_memory_replace import CORE_MEMORY_REPLACE
from memgpt_agent.functions.function import HUMAN
from memgpt_agent.functions.send_message import SEND_MESSAGE, SENT

MEMORY_PRESSURE_ALERT = (
    "Your context window is almost full. The oldest messages will soon be replaced by a short summary. Do not mention"
    " this to the user. If they contain anything you must not forget, save it now with core_memory_append,"
    " core_memory_replace or archival_memory_insert."
)

HEARTBEAT_REQUESTED = "You requested this heartbeat. Continue."
HEARTBEAT_FAILED = "Your function call failed. Read its result, then call a function again."
HEARTBEAT_ONLY_THOUGHT = (
    "You wrote text without calling a function, so the user did not see it. To reach the user, call send_message."
)
HEARTBEAT_SPEAK = "The user is waiting and has not heard from you. Call send_message now."
HEARTBEAT_REJECTED = (
    "The endpoint's content filter rejected what came after your last answer, so you do not see it. Continue without"
    " it."
)
"""Also marks these messages for later prompts, see `without_rejected`."""

LEFT_OUT = "[left out: the endpoint's content filter rejected it]"

CHAINED = (HEARTBEAT_REQUESTED, HEARTBEAT_FAILED, HEARTBEAT_ONLY_THOUGHT, HEARTBEAT_SPEAK, HEARTBEAT_REJECTED)
"""Reasons of heartbeats that continue a turn. Any other one begins a turn in which the agent may stay silent."""

CALL_CANCELLED = (
    "The turn was cancelled while the function was running. It may have taken effect; check before you call it again."
)
CALL_INTERRUPTED = (
    "The turn failed before the function returned. It may have taken effect; check before you call it again."
)
HEARTBEAT_MANUAL = "You may act now if there is anything to do."
HEARTBEAT_BEGIN = (
    "The user is here and waiting for your first message. Greet them with send_message in one or two sentences. Use"
    " their name only if you know it."
)
HEARTBEAT_TIMED = (
    "This is a scheduled heartbeat: {reason} The user has not written. Act now if there is anything to do; call"
    " send_message if you have something to tell them."
)
HEARTBEAT_SUMMARIZE = "The user asked for your oldest messages to be summarized. There is nothing for you to do."

STILL_OPEN = " Not answered yet, in the user's words: "
"""Precedes, in a summary, a user message that left the window without an answer."""

FUNCTIONS_MARK = "When to call which function"
"""Heading of the lines that the functions add to the instructions."""

MEMORY_MARK = "### Memory [last modified: "
"""Begins core memory in the system message."""

SUMMARY_INSTRUCTIONS = (
    "You are the assistant in the conversation below. Its oldest messages are about to leave your context. Summarize"
    " them in the first person, in fewer than 100 words and in the language of the conversation: who the user is, what"
    " was asked, decided, found and promised, and what is still open. If there is an earlier summary, keep what still"
    " matters in it. Write only the summary."
)


_ABOUT = {HUMAN: "what you know about the user, who writes to you"}
"""Descriptions of blocks that have none of their own."""

_EDITS = (CORE_MEMORY_APPEND.name, CORE_MEMORY_REPLACE.name)

_SHORT = 1_000
"""The most characters of a block in the note, which is read with every request: a longer one would cost more."""

CHANGED_MARK = "Core memory that changed in this conversation, as it is now:"
"""Begins the blocks in the note."""


def compose(context: Context) -> list[Message]:
    """Return the prompt without the note, in order. Messages that are not stored have sequence -1."""
    messages = [Message(Role.SYSTEM, system_text(context))]
    if context.summary:
        messages.append(Message(Role.USER, summary_text(context)))
    return [*messages, *context.messages]


def system_text(context: Context) -> str:
    """Return the system message: instructions, when to call which function, and core memory.

    Only a first edit of a block of core memory, or an edit of the agent's settings, changes it. Everything else that
    changes is in the note.
    """
    changed = changed_blocks(context)
    settled = [block for block in context.blocks if block not in changed]
    # If all blocks are in the note, core memory was settled before the first message.
    begin = context.messages[0].created_at if changed else EPOCH
    modified = max((block.updated_at for block in settled), default=begin)
    when = envelopes.format_time(modified, context.agent.time_zone)
    but = ", except the blocks that are read-only" if any(block.read_only for block in context.blocks) else ""
    parts = [
        instructions_text(context),
        f"{MEMORY_MARK}{when}]",
        f"Your core memory, which you can edit{but}; the numbers are the characters used and allowed:",
        _blocks_text(settled, context),
    ]
    if changed:
        labels = ", ".join(block.label for block in changed)
        parts.append(f"(Shown at the end of the conversation, since it changed: {labels})")
    return "\n".join(parts)


def changed_blocks(context: Context) -> tuple[Block, ...]:
    """Return the short blocks that the agent's calls in the window have edited.

    They are in the note, so that a further edit does not make the endpoint read the whole conversation again. Once no
    edit is left in the window, they are in the system message again.
    """
    calls: dict[str, str] = {}
    edited: set[str] = set()
    for message in context.messages:
        call = message.function_call
        if call is not None and call.name in _EDITS:
            calls[call.call_id] = str(envelopes.parse(call.arguments).get("name"))
        elif message.call_id in calls and envelopes.result_ok(message.text):
            edited.add(calls[message.call_id])
    return tuple(block for block in context.blocks if block.label in edited and len(block.value) <= _SHORT)


def changed_text(context: Context) -> str:
    """Return the text of the changed blocks for the note; empty if there are none."""
    changed = changed_blocks(context)
    return f"{CHANGED_MARK}\n{_blocks_text(changed, context)}" if changed else ""


def instructions_text(context: Context) -> str:
    """Return the agent's instructions, with the lines that its functions add unless the window is small."""
    if context.brief:
        return profiles.in_short(context.agent.system).strip()
    lines = [f"- {function.instruction}" for function in functions_of(context) if function.instruction]
    return "\n".join((profiles.current(context.agent.system).strip(), "", FUNCTIONS_MARK, *lines))


def blocks_text(context: Context) -> str:
    """Return the text of all blocks of core memory."""
    return _blocks_text(context.blocks, context)


def summary_text(context: Context) -> str:
    """Return the message that stands for what left the window."""
    gone = context.recall_count - len(context.messages)
    time = envelopes.format_time(context.messages[0].created_at if context.messages else EPOCH, context.agent.time_zone)
    return envelopes.system_alert(
        f"{_count(gone, 'earlier message', 'earlier messages')} left your context; conversation_search finds them."
        f" Your summary of them: {context.summary}",
        time,
    )


def transcript(messages: Iterable[Message]) -> str:
    """Return messages as plain text, one paragraph each, for the request of a summary."""
    lines = []
    for message in messages:
        lines.append(f"{message.role.value}: {message.text}")
        if message.function_call is not None:
            lines.append(f"{message.role.value} calls {message.function_call.name}: {message.function_call.arguments}")
    return "\n\n".join(lines)


def without_rejected(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return messages without the texts that a content filter rejected, which it would reject in every prompt.

    Those are what the agent had not answered when a ``HEARTBEAT_REJECTED`` was added. If the filter rejects the user's
    next message too, the cause may be older, such as the agent's own words: each time, one more earlier message of the
    user is left out, with what followed it.
    """
    kept = list(messages)
    start = in_a_row = 0
    for place, message in enumerate(messages):
        if _is_rejection(message):
            since = place - len(unanswered(messages[:place]))
            if any(map(_is_users, messages[since:place])):
                start = max((n for n in range(start) if _is_users(messages[n])), default=0) if in_a_row else since
                in_a_row += 1
            first = min(start, since) if in_a_row else since
            kept[first:place] = map(_left_out, messages[first:place])
        elif message.role is Role.ASSISTANT and not (message.usage is None and _is_rejection(messages[place - 1])):
            in_a_row = 0  # the model answered; it did not write what the loop says after a rejection
    return tuple(kept)


def _is_users(message: Message) -> bool:
    return message.role is Role.USER and envelopes.kind(message.text) == "user_message"


def _is_rejection(message: Message) -> bool:
    # Not every text is parsed: windows of a million tokens hold thousands of them.
    return message.role is Role.USER and HEARTBEAT_REJECTED in message.text and _reason(message) == HEARTBEAT_REJECTED


def unanswered(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages after the agent's last one."""
    last = next((n for n in range(len(messages), 0, -1) if messages[n - 1].role is Role.ASSISTANT), 0)
    return messages[last:]


def only_results(messages: Sequence[Message]) -> bool:
    """Whether messages hold results of functions that were not rejected, and only events that continue a turn."""
    reasons = {_reason(message) for message in messages if message.role is Role.USER}
    found = any(message.role is Role.TOOL for message in messages)
    return found and HEARTBEAT_REJECTED not in reasons and reasons.issubset(CHAINED)


def _reason(message: Message) -> str:
    return envelopes.heartbeat_reason(message.text)


def _left_out(message: Message) -> Message:
    if message.role is Role.ASSISTANT:
        call = message.function_call
        if call is not None:
            call = replace(
                call, arguments=envelopes.dumps({"message": LEFT_OUT} if call.name == SEND_MESSAGE.name else {})
            )
        return replace(message, text=message.text and LEFT_OUT, function_call=call)
    envelope = envelopes.parse(message.text)
    match envelope.get("type"):
        case "login" | "system_alert":
            return message
        case "heartbeat":
            if _reason(message) in CHAINED:
                return message
            return replace(message, text=envelopes.dumps({**envelope, "reason": LEFT_OUT}))
    if envelope.get("message") == SENT:
        return message
    return replace(message, text=envelopes.dumps({**envelope, "message": LEFT_OUT}) if envelope else LEFT_OUT)


def escape(text: str, labels: Iterable[str]) -> str:
    """Escape every ``<label`` and ``</label`` in ``text``, so that no value can end its block or open another.

    Everything else stays the same, since ``core_memory_replace`` needs text exactly as the model sees it.
    """
    names = "|".join(re.escape(label) for label in labels)
    return re.sub(rf"<(?=/?(?:{names})\b)", "&lt;", text) if names else text


def _blocks_text(blocks: Iterable[Block], context: Context) -> str:
    labels = [block.label for block in context.blocks]
    return "\n".join(_block(block, labels) for block in blocks)


def _block(block: Block, labels: list[str]) -> str:
    read_only = ' read-only="true"' if block.read_only else ""
    about = escape(" ".join(block.description.split()), labels) or _ABOUT.get(block.label, "")
    lines = [f"[{block.label}: {about}]"] if about else []
    lines += [f'<{block.label} characters="{len(block.value)}/{block.limit}"{read_only}>']
    return "\n".join((*lines, escape(block.value, labels), f"</{block.label}>"))


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
