"""The JSON texts that events and results are wrapped in before the model sees them.

Every envelope carries its time in the agent's time zone, written as ``2024-05-01 03:07:09 PM CEST+0200``; text that is
not ASCII is kept as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from memgpt_runtime.agent_rules import zone as zone

TIME_FORMAT = "%Y-%m-%d %I:%M:%S %p %Z%z"

SYSTEM_NOTE = "[This is an automated system message hidden from the user] "
"""Prefix of events that no user wrote."""

NEVER = "Never (this is the first login)"


def format_time(moment: datetime, time_zone: str) -> str:
    """Format a time as the agent reads it."""
    return moment.astimezone(zone(time_zone)).strftime(TIME_FORMAT)


def dumps(value: object) -> str:
    """Return JSON text with non-ASCII characters left readable."""
    return json.dumps(value, ensure_ascii=False)


def user_message(message: str, time: str, name: str = "") -> str:
    """Return the event of a user's message; without ``name`` if it is empty."""
    envelope = {"type": "user_message", "message": message, "time": time}
    if name:
        envelope["name"] = name
    return dumps(envelope)


def heartbeat(reason: str, time: str) -> str:
    """Return an event that lets the agent continue without a message from the user."""
    return dumps({"type": "heartbeat", "reason": SYSTEM_NOTE + reason, "time": time})


def login(last_login: str, time: str) -> str:
    """Return the event of a login."""
    return dumps({"type": "login", "last_login": last_login, "time": time})


def system_alert(message: str, time: str) -> str:
    """Return an alert to the agent."""
    return dumps({"type": "system_alert", "message": SYSTEM_NOTE + message, "time": time})


def function_result(ok: bool, message: str, time: str) -> str:
    """Return the result of a function call."""
    return dumps({"status": "OK" if ok else "Failed", "message": message, "time": time})


def parse(text: str) -> Mapping[str, object]:
    """Return the envelope in ``text``; an empty one if there is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def kind(text: str) -> str:
    """Return the ``type`` of an event; empty if it has none."""
    return str(parse(text).get("type", ""))


def heartbeat_reason(text: str) -> str:
    """Return the reason of a heartbeat; empty if the event has none."""
    return str(parse(text).get("reason", "")).removeprefix(SYSTEM_NOTE)


def result_ok(text: str) -> bool:
    """Whether the result in ``text`` reports success."""
    return parse(text).get("status") == "OK"


def result_text(text: str) -> str:
    """Return the message of the result in ``text``."""
    return str(parse(text).get("message", text))
