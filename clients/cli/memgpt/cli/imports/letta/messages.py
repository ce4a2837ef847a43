"""Messages as Letta stores them, in Agent Files and in its database."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from memgpt.cli.imports.fields import Fields
from memgpt.cli.imports.pieces import Assistant, Call, Result, Results, User
from memgpt.cli.imports.report import Report

_SPEAKS_PLAINLY = frozenset({"letta_v1_agent", "react_agent", "voice_convo_agent"})
_SUMMARY = re.compile(r"following is a summary of the previous(?: \d+)? messages:?\s*", re.IGNORECASE)
_DROPPED = {
    "redacted_reasoning": "reasoning that its provider redacted",
    "omitted_reasoning": "reasoning that its provider omitted",
}


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary that stands for messages before the window."""

    text: str


Content = User | Assistant | Results | Summary


def speaks_plainly(agent_type: str) -> bool:
    """Return whether text of an agent of this type is its reply; otherwise it is a thought, and it replies by tool."""
    return agent_type in _SPEAKS_PLAINLY


def read_content(row: Fields, *, plain: bool, report: Report) -> Content | None:
    """Return the content of a message.

    Args:
        row: The message, with ``role``, ``content`` or ``text``, ``tool_calls``, ``tool_returns`` and so on.
        plain: Whether the agent's text is its reply; see `speaks_plainly`.
        report: Where left-out values are recorded.

    Returns:
        The content, or None for a message that recall memory does not have.
    """
    parts = _Parts(row, report)
    match row.text("role"):
        case "system":
            report.left_out(row.where, "system message; it is composed for every call", parts.text)
        case "summary":
            return Summary(parts.text)
        case "user":
            return _summary_in(parts.text) or User(parts.text, row.text("name"))
        case "assistant":
            return _assistant(row, parts, plain=plain)
        case "approval" if row.items("tool_calls") or parts.calls:
            return _assistant(row, parts, plain=plain)
        case "approval":
            answer = {name: row.value.get(name) for name in ("approve", "denial_reason", "approvals")}
            report.left_out(row.where, "answer to an approval; the result has it", answer)
        case "tool" | "function":
            return Results(tuple(_results(row, parts)))
        case role:
            report.left_out(row.where, "message of an unknown role", {"role": role, "text": parts.text})
    return None


class _Parts:
    """The parts of a message's content, which is text or a list of typed parts."""

    def __init__(self, row: Fields, report: Report) -> None:
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self.calls: list[Call] = []
        self.results: list[Result] = []
        content = row.value.get("content")
        if isinstance(content, str):
            self._texts.append(content)
        elif content is not None:
            for part in row.objects("content"):
                self._add(part, report)
        elif row.text("text"):
            self._texts.append(row.text("text"))

    @property
    def text(self) -> str:
        """Visible text."""
        return "\n".join(self._texts)

    @property
    def thought(self) -> str:
        """Reasoning."""
        return "\n".join(self._thoughts)

    def _add(self, part: Fields, report: Report) -> None:
        match part.text("type"):
            case "text":
                self._texts.append(part.text("text"))
            case "image":
                self._texts.append("[image]")
                report.left_out(part.where, "image", _image(part))
            case "reasoning":
                self._thoughts.append(part.text("reasoning"))
            case "summarized_reasoning":
                self._thoughts += [each.text("text") for each in part.objects("summary")]
            case "tool_call":
                self.calls.append(Call(part.text("id"), part.text("name"), _json_text(part.value.get("input"))))
            case "tool_return":
                text = _plain_text(part.value.get("content"))
                self.results.append(Result(part.text("tool_call_id"), text, not part.flag("is_error")))
            case kind:
                report.left_out(part.where, _DROPPED.get(kind, "part of an unknown kind"), part.value)


def _assistant(row: Fields, parts: _Parts, *, plain: bool) -> Assistant:
    calls = tuple(_calls(row)) or tuple(parts.calls)
    thought, reply = parts.thought, ""
    speaks_by_tool = any(call.name == "send_message" for call in calls)
    if plain and not speaks_by_tool:
        reply = parts.text
    else:
        thought = "\n".join(each for each in (thought, parts.text) if each)
    return Assistant(thought, reply, calls)


def _calls(row: Fields) -> Iterator[Call]:
    for call in row.objects("tool_calls"):
        function = call.object("function")
        yield Call(call.text("id"), function.text("name"), _json_text(function.value.get("arguments")))


def _results(row: Fields, parts: _Parts) -> Iterator[Result]:
    """Yield the results in a message of a tool: those of parallel calls are in ``tool_returns``."""
    told: set[str] = set()
    for each in row.objects("tool_returns"):
        call_id = each.text("tool_call_id") or row.text("tool_call_id")
        value = each.value.get("func_response")
        text = _plain_text(value) if value is not None else parts.text
        told.add(call_id)
        yield Result(call_id, text, each.text("status") != "error")
    for result in parts.results:
        if result.call_id not in told:
            told.add(result.call_id)
            yield result
    if row.text("tool_call_id") not in told and not told:
        yield Result(row.text("tool_call_id"), parts.text, not row.flag("is_err"))


def _summary_in(text: str) -> Summary | None:
    """Return the summary in an alert that tells of one."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or value.get("type") != "system_alert":
        return None
    message = value.get("message")
    if not isinstance(message, str):
        return None
    found = _SUMMARY.search(message)
    return Summary(message[found.end() :].strip()) if found else None


def _json_text(value: Any) -> str:
    if value is None:
        return "{}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain_text(value: Any) -> str:
    """Return a result as text; it may be a list of parts."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(each, dict) and "type" in each for each in value):
        return "\n".join(str(each.get("text") or f"[{each.get('type')}]") for each in value)
    return json.dumps(value, ensure_ascii=False)


def _image(part: Fields) -> dict[str, Any]:
    source = part.value.get("source")
    if not isinstance(source, dict):
        return {}
    return {name: value for name, value in source.items() if name in ("type", "url", "media_type", "file_id")}
