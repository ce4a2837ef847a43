"""What vendors' endpoints refuse, in their own wording, as rules of a scripted server."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable

from tests.support.scripted_llm import Reply, Request, Status

Rule = Callable[[Request], Reply | None]
"""Refuses a request, or says None."""


def refuses(option: str, message: str, status: int = 400, code: str | None = None) -> Rule:
    """An option that the endpoint does not know."""
    return lambda request: Status(status, message, code) if option in request.json else None


def refuses_value(option: str, value: object, message: str, status: int = 400, code: str | None = None) -> Rule:
    """A value of an option that the endpoint does not take."""
    return lambda request: Status(status, message, code) if request.json.get(option) == value else None


def no_tools(message: str, status: int = 400) -> Rule:
    """No tools at all."""
    return refuses("tools", message, status)


def no_system(message: str) -> Rule:
    """A system message."""
    return lambda request: Status(400, message) if any(m["role"] == "system" for m in request.messages) else None


def no_schema(message: str, status: int = 400) -> Rule:
    """No answer by a schema."""

    def rule(request: Request) -> Reply | None:
        given = request.json.get("response_format") or {}
        return Status(status, message) if given.get("type") == "json_schema" else None

    return rule


def root_must_be_an_object(message: str, status: int = 400) -> Rule:
    """A schema whose root is not an object with properties."""

    def rule(request: Request) -> Reply | None:
        given = (request.json.get("response_format") or {}).get("json_schema", {}).get("schema")
        wrong = given is not None and (given.get("type") != "object" or "properties" not in given)
        return Status(status, message) if wrong else None

    return rule


def user_after_tool(message: str, status: int = 400) -> Rule:
    """A user's message directly after a function's result."""

    def rule(request: Request) -> Reply | None:
        roles = [m["role"] for m in request.messages]
        return Status(status, message) if ("tool", "user") in itertools.pairwise(roles) else None

    return rule


def roles_alternate(message: str, status: int = 400) -> Rule:
    """As Mistral's templates have it: user and assistant in turn, results and calls left out of the count."""

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
    """A conversation that does not begin with the user."""

    def rule(request: Request) -> Reply | None:
        roles = [m["role"] for m in request.messages if m["role"] != "system"]
        return Status(400, message) if not roles or roles[0] != "user" else None

    return rule


def short_ids(message: str) -> Rule:
    """Ids of calls that are not nine letters and digits."""

    def rule(request: Request) -> Reply | None:
        ids = [call["id"] for m in request.messages for call in m.get("tool_calls") or []]
        ids += [m["tool_call_id"] for m in request.messages if m["role"] == "tool"]
        wrong = next((one for one in ids if not re.fullmatch(r"[a-zA-Z0-9]{9}", one)), None)
        return None if wrong is None else Status(400, message.format(id=wrong))

    return rule


def no_null_content(message: str) -> Rule:
    """A message whose content is null."""
    return lambda request: Status(400, message) if any(m.get("content") is None for m in request.messages) else None


def texts_in_enums(message: str) -> Rule:
    """An ``enum`` with something other than texts."""

    def rule(request: Request) -> Reply | None:
        given = [request.json.get("tools"), request.json.get("response_format")]
        return Status(400, message) if re.search(r'"enum": \[(?!")', json.dumps(given)) else None

    return rule


def no_keyword(word: str, message: str) -> Rule:
    """A keyword of JSON schema that is not known."""

    def rule(request: Request) -> Reply | None:
        given = [request.json.get("tools"), request.json.get("response_format")]
        return Status(400, message) if f'"{word}":' in json.dumps(given) else None

    return rule


def needs_beside_calls(field: str, message: str) -> Rule:
    """A field that has to come back with every call."""

    def rule(request: Request) -> Reply | None:
        called = [m for m in request.messages if m.get("tool_calls")]
        return Status(400, message) if any(field not in json.dumps(m) for m in called) else None

    return rule


def needs_empty_texts_filled(message: str) -> Rule:
    """A message with an empty text."""
    return lambda request: Status(400, message) if any(m.get("content") == "" for m in request.messages) else None


def thinks(tokens: int) -> Callable[[Request], bool]:
    """Whether the limit of tokens leaves nothing of an answer but reasoning."""

    def starved(request: Request) -> bool:
        limit = request.json.get("max_completion_tokens") or request.json.get("max_tokens")
        return isinstance(limit, int) and limit < tokens

    return starved


def at_most_texts(count: int, message: str, status: int = 400) -> Rule:
    """An embedding request with too many texts."""
    return lambda request: Status(status, message) if len(request.json["input"]) > count else None


def needs_input_type(message: str, *types: str) -> Rule:
    """An embedding request without a known ``input_type``."""
    return lambda request: None if request.json.get("input_type") in types else Status(400, message)


def first_of(rules: tuple[Rule, ...], request: Request) -> Reply | None:
    """What the first rule says that refuses."""
    found: Reply | None = None
    for rule in rules:
        found = rule(request)
        if found is not None:
            break
    return found
