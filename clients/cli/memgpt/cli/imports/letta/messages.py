"""Messages of Letta and MemGPT, whose rows and files have the same fields since MemGPT 0.3."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from memgpt.cli.imports.pieces import Assistant, Call, Result, Results, User

REPLYING_AGENTS = frozenset({"letta_v1_agent", "react_agent"})
"""Kinds of agents whose text is what the user sees. That of all other kinds is inner thought."""

_SUMMARY = "following is a summary of the previous"
_IMAGE = "[image]"


@dataclass(frozen=True, slots=True)
class Summary:
    """A message that stands for older ones that left the window."""

    text: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message that is not imported, and what it is."""

    what: str


def content_of(row: Mapping[str, Any], *, replies: bool) -> User | Assistant | Results | Summary | Dropped:
    """Return what a message is.

    Args:
        row: The message, with JSON columns as values.
        replies: Whether the agent is one of `REPLYING_AGENTS`.
    """
    match row.get("role"):
        case "system":
            return Dropped("system message; it is composed again for every call of the model")
        case "summary":
            return Summary(summary_in(_text(row)) or _text(row))
        case "user":
            text = _readable(_text(row))
            summary = summary_in(text)
            return User(text, string(row.get("name"))) if summary is None else Summary(summary)
        case "assistant":
            return _assistant(row, replies=replies)
        case "tool" | "function":
            return _results(row)
        case "approval":
            return _approval(row, replies=replies)
        case role:
            return Dropped(f"message with the unknown role {string(role)[:32]!r}")


def summary_in(text: str) -> str | None:
    """Return the summary in the alert that begins a window; None for any other text."""
    if _SUMMARY not in text:
        return None
    try:
        alert = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(alert, dict) or alert.get("type") != "system_alert":
        return None
    _, found, rest = string(alert.get("message")).partition(_SUMMARY)
    return rest.partition(":")[2].strip() if found else None


def calls_of(values: Any) -> tuple[Call, ...]:
    """Return function calls in the shape of OpenAI's API."""
    return tuple(
        Call(string(value.get("id")), string(function.get("name")), _json(function.get("arguments")))
        for value in objects(values)
        if isinstance(function := value.get("function"), dict)
    )


def string(value: Any) -> str:
    """Return a value if it is text, else the empty text."""
    return value if isinstance(value, str) else ""


def objects(values: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects in a list; a value that is no list has none."""
    yield from (value for value in values if isinstance(value, dict)) if isinstance(values, list) else ()


def _assistant(row: Mapping[str, Any], *, replies: bool) -> Assistant:
    reasoning, said = [], []
    calls = list(calls_of(row.get("tool_calls")))
    known = {call.call_id for call in calls}
    for part in _parts(row):
        match part.get("type"):
            case "text":
                said.append(string(part.get("text")))
            case "reasoning":
                reasoning.append(string(part.get("reasoning")))
            case "summarized_reasoning":
                reasoning += [string(each.get("text")) for each in objects(part.get("summary"))]
            case "tool_call" if part.get("id") not in known:
                calls.append(Call(string(part.get("id")), string(part.get("name")), _json(part.get("input"))))
            case "image":
                said.append(_IMAGE)
    if replies:
        return Assistant(_joined(reasoning), _joined(said), tuple(calls))
    return Assistant(_joined([*reasoning, *said]), "", tuple(calls))


def _results(row: Mapping[str, Any]) -> Results:
    returns = list(objects(row.get("tool_returns")))
    own_id, text = string(row.get("tool_call_id")), _readable(_text(row))
    if len(returns) > 1 or not text:
        found = tuple(_result(each, own_id) for each in returns)
        return Results(found or (Result(own_id, text),))
    ok = all(each.get("status") != "error" for each in returns)
    if not own_id and returns:
        own_id = string(returns[0].get("tool_call_id"))
    return Results((Result(own_id, text, ok),))


def _result(value: Mapping[str, Any], own_id: str) -> Result:
    response = value.get("func_response", value.get("tool_return"))
    text = _text({"content": response}) if isinstance(response, list) else string(response)
    if not text:
        text = _joined([*_lines(value.get("stdout")), *_lines(value.get("stderr"))])
    return Result(string(value.get("tool_call_id")) or own_id, text, value.get("status") != "error")


def _approval(row: Mapping[str, Any], *, replies: bool) -> Assistant | Results | Dropped:
    if calls_of(row.get("tool_calls")):
        return _assistant(row, replies=replies)
    results = tuple(_result(each, "") for each in objects(row.get("approvals")) if "tool_return" in each)
    return Results(results) if results else Dropped("answer to a request for approval; the result of the call tells it")


def _parts(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    content = row.get("content")
    if isinstance(content, list) and content:
        yield from objects(content)
    else:
        yield {"type": "text", "text": content if isinstance(content, str) else row.get("text")}


def _text(row: Mapping[str, Any]) -> str:
    texts = []
    for part in _parts(row):
        match part.get("type"):
            case "text":
                texts.append(string(part.get("text")))
            case "image":
                texts.append(_IMAGE)
            case "tool_return":
                texts.append(string(part.get("content")))
    return _joined(texts)


def _readable(text: str) -> str:
    """Return an envelope without the escapes of MemGPT, which would keep searches from finding other scripts."""
    if "\\u" not in text or not text.startswith("{"):
        return text
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _joined(texts: list[str]) -> str:
    return "\n".join(text for text in texts if text)


def _lines(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _json(value: Any) -> str:
    """Return the arguments of a call as JSON text, as models wrote them."""
    return value if isinstance(value, str) else json.dumps({} if value is None else value, ensure_ascii=False)
