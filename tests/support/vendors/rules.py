"""Rules by which vendors' endpoints reject requests, in their own wording, for a scripted server."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable

from tests.support.scripted_llm import Reply, Request, Status

Rule = Callable[[Request], Reply | None]
"""Returns a rejection of a request, or None."""


def refuses(option: str, message: str, status: int = 400, code: str | None = None) -> Rule:
    """Reject an option that the endpoint does not know."""
    return lambda request: Status(status, message, code) if option in request.json else None


def refuses_value(option: str, value: object, message: str, status: int = 400, code: str | None = None) -> Rule:
    """Reject a value of an option."""
    return lambda request: Status(status, message, code) if request.json.get(option) == value else None


def no_tools(message: str, status: int = 400) -> Rule:
    """Reject tools."""
    return refuses("tools", message, status)


def no_system(message: str) -> Rule:
    """Reject system messages."""
    return lambda request: Status(400, message) if any(m["role"] == "system" for m in request.messages) else None


def no_schema(message: str, status: int = 400) -> Rule:
    """Reject response schemas."""

    def rule(request: Request) -> Reply | None:
        given = request.json.get("response_format") or {}
        return Status(status, message) if given.get("type") == "json_schema" else None

    return rule


def root_must_be_an_object(message: str, status: int = 400) -> Rule:
    """Reject schemas whose root is not an object with properties."""

    def rule(request: Request) -> Reply | None:
        given = (request.json.get("response_format") or {}).get("json_schema", {}).get("schema")
        wrong = given is not None and (given.get("type") != "object" or "properties" not in given)
        return Status(status, message) if wrong else None

    return rule


def user_after_tool(message: str, status: int = 400) -> Rule:
    """Reject a user message directly after a function's result."""

    def rule(request: Request) -> Reply | None:
        roles = [m["role"] for m in request.messages]
        return Status(status, message) if ("tool", "user") in itertools.pairwise(roles) else None

    return rule


def roles_alternate(message: str, status: int = 400) -> Rule:
    """Require alternating user and assistant messages, ignoring calls and results, like Mistral's templates."""

    def rule(request: Request) -> Reply | None:
        roles = [m["role"] for m in request.messages if m["role"] != "system"]
        counted = [
            m["role"] for m in request.messages
            if m["role"] == "user" or (m["role"] == "assistant" and not m.get("tool_calls"))
        ]  # fmt: skip
        wrong = any(role != ("user", "assistant")[place % 2] for place, role in enumerate(counted))
        return Status(status, message) if wrong or not roles or roles[0] != "user" else None

    return rule


def starts_with_user(message: str) -> Rule:
    """Reject conversations that do not start with the user."""

    def rule(request: Request) -> Reply | None:
        roles = [m["role"] for m in request.messages if m["role"] != "system"]
        return Status(400, message) if not roles or roles[0] != "user" else None

    return rule


def short_ids(message: str) -> Rule:
    """Reject call ids that are not nine letters and digits."""

    def rule(request: Request) -> Reply | None:
        ids = [call["id"] for m in request.messages for call in m.get("tool_calls") or []]
        ids += [m["tool_call_id"] for m in request.messages if m["role"] == "tool"]
        wrong = next((one for one in ids if not re.fullmatch(r"[a-zA-Z0-9]{9}", one)), None)
        return None if wrong is None else Status(400, message.format(id=wrong))

    return rule


def no_null_content(message: str) -> Rule:
    """Reject messages whose content is null."""
    return lambda request: Status(400, message) if any(m.get("content") is None for m in request.messages) else None


def texts_in_enums(message: str) -> Rule:
    """Reject an ``enum`` with values other than strings."""

    def rule(request: Request) -> Reply | None:
        given = [request.json.get("tools"), request.json.get("response_format")]
        return Status(400, message) if re.search(r'"enum": \[(?!")', json.dumps(given)) else None

    return rule


def no_keyword(word: str, message: str) -> Rule:
    """Reject an unknown JSON Schema keyword."""

    def rule(request: Request) -> Reply | None:
        given = [request.json.get("tools"), request.json.get("response_format")]
        return Status(400, message) if f'"{word}":' in json.dumps(given) else None

    return rule


def needs_beside_calls(field: str, message: str) -> Rule:
    """Require a field that must be sent back with every call."""

    def rule(request: Request) -> Reply | None:
        called = [m for m in request.messages if m.get("tool_calls")]
        return Status(400, message) if any(field not in json.dumps(m) for m in called) else None

    return rule


def needs_empty_texts_filled(message: str) -> Rule:
    """Reject messages with empty text."""
    return lambda request: Status(400, message) if any(m.get("content") == "" for m in request.messages) else None


def thinks(tokens: int) -> Callable[[Request], bool]:
    """Whether the token limit leaves room for reasoning only."""

    def starved(request: Request) -> bool:
        limit = request.json.get("max_completion_tokens") or request.json.get("max_tokens")
        return isinstance(limit, int) and limit < tokens

    return starved


def at_most_texts(count: int, message: str, status: int = 400) -> Rule:
    """Reject embedding requests with too many texts."""
    return lambda request: Status(status, message) if len(request.json["input"]) > count else None


def needs_input_type(message: str, *types: str) -> Rule:
    """Reject embedding requests without a known ``input_type``."""
    return lambda request: None if request.json.get("input_type") in types else Status(400, message)


def first_of(rules: tuple[Rule, ...], request: Request) -> Reply | None:
    """Return the rejection of the first rule that rejects."""
    found: Reply | None = None
    for rule in rules:
        found = rule(request)
        if found is not None:
            break
    return found
