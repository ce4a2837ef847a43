"""The form of requests to one model of an endpoint, learned from its refusals.

Every option that endpoints are known to refuse has a fallback, every keyword of a schema can be left out, and parts of
a history that only some endpoints demand are added when they do. `Dialect.adapt` makes one change for one refusal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from memgpt.endpoints.address import Address
from memgpt.endpoints.refusals import Meaning, Refusal

from memgpt_agent.domain import Message, Role
from memgpt_agent.models.base import ModelRequest
from memgpt_agent.models.endpoint import CallMode
from memgpt_agent.models.request import history, options, plain, schemas
from memgpt_agent.models.request.history import CallExtras
from memgpt_agent.models.request.wire import Quirks

Body = dict[str, object]

_OLD_NAME, _NEW_NAME = "max_tokens", "max_completion_tokens"
_REFUSING = (200, 400, 402, 404, 405, 415, 422, 500, 501)
_REFUSED = (Meaning.REFUSED, Meaning.TEMPLATE, Meaning.OUTPUT_LIMIT, Meaning.UNKNOWN_MODEL, Meaning.UNAVAILABLE)
_RECONSIDER = 100
"""Requests after which a refused constraint is tried again, since a server may have been updated."""

_SMALLEST_LIMIT = 16
_LISTED = re.compile(r"\b(?:properties|keywords?|fields?)(?: \w+,)* \Z")
"""Comes before a keyword that is listed without quotation marks."""


class Dialect:
    """The form of requests to one model of an endpoint.

    Attributes:
        changes: How often it was changed.
    """

    def __init__(self, address: Address, temperature: float | None) -> None:
        self._temperature = temperature
        self._choices = {option.name: list(option.choices) for option in options.OPTIONS}
        # OpenAI's reasoning models accept the new name only, many other servers the old one only.
        openai = address.host.endswith("openai.com") or address.key_header == "api-key"
        names = [_NEW_NAME, _OLD_NAME] if openai else [_OLD_NAME, _NEW_NAME]
        self._choices["max_tokens"] = [*names, ""]
        self._paths = ["/chat/completions"] + ([] if address.versioned else ["/v1/chat/completions"])
        self._dropped: frozenset[str] = frozenset()
        self._unconstrained = 0
        self._finishes = self._marks_ends = self._doubted = False
        self.most_tokens = 0
        self.changes = 0
        self.quirks = Quirks()
        self.extras = CallExtras()

    @property
    def path(self) -> str:
        """Return the path of requests, below the base URL."""
        return self._paths[0]

    def body(self, request: ModelRequest, model: str, mode: CallMode, max_tokens: int) -> Body:
        """Return the body of a request."""
        body: Body = {"model": model}
        if self._takes("stream"):
            body["stream"] = True
            if self._takes("stream_options"):
                body["stream_options"] = {"include_usage": True}
        if self._temperature is not None and self._takes("temperature"):
            body["temperature"] = self._temperature
        if max_tokens and (name := self._takes("max_tokens")):
            body[name] = min(max_tokens, self.most_tokens) if self.most_tokens else max_tokens
        if not request.functions:
            body["messages"] = self._plain(request)
        elif mode is CallMode.JSON_SCHEMA:
            body["messages"] = self._plain(request)
            self._constrain(body, request)
        else:
            body["messages"] = history.tool_messages(_with_note(request), self.quirks, self.extras)
            body["tools"] = schemas.tools(request.functions, self._dropped, described=self.quirks.described)
            if choice := self._takes("tool_choice"):
                body["tool_choice"] = choice
            if self._takes("parallel_tool_calls"):
                body["parallel_tool_calls"] = False
        return body

    def believes(self, *, finished: bool, marked: bool, whole: bool) -> bool:
        """Whether to take an answer for whole, rather than for one that broke off without an error.

        An answer whose end is not marked as well as the others' is doubted once, and the next such answer believed: a
        gateway may mark the end of what broke off behind it. If ends are marked, one without any mark broke off.

        Args:
            finished: Whether it says why it ended.
            marked: Whether its stream has an end.
            whole: Whether it seems whole in any case.
        """
        if finished or whole:
            self._finishes = self._finishes or finished
            self._marks_ends = self._marks_ends or marked or finished
            self._doubted = not finished
            return True
        if marked and not self._finishes:
            self._marks_ends = True
            return True
        if not marked and self._marks_ends:
            return False
        believed, self._doubted = self._doubted, True
        return believed

    def adapt(self, body: Body, refusal: Refusal, since: int) -> str:
        """Change one thing for the next request, unless another call has changed something in the meantime.

        Args:
            body: The request that was refused.
            refusal: The refusal.
            since: `changes` when the request was made.

        Returns:
            What was changed; empty if the refusal names nothing that can be changed.
        """
        if refusal.status not in _REFUSING or refusal.meaning not in _REFUSED:
            return ""
        if since != self.changes:
            return "by another call"
        changed = self._change(body, refusal)
        self.changes += bool(changed)
        return changed

    def _change(self, body: Body, refusal: Refusal) -> str:
        text = refusal.text
        if refusal.status in (404, 405) and len(self._paths) > 1 and not _speaks_of_a_model(text):
            self._paths.pop(0)
            return "path"
        if refusal.status == 500 and refusal.meaning is Meaning.UNAVAILABLE:
            return ""
        return (
            self._limit(body, refusal) or self._option(body, text) or self._quirk(text) or self._keyword(body, text)
            or self._format(body, text)
        )  # fmt: skip

    def next_format(self) -> str:
        """Constrain answers less, after a refusal without an explanation; return an empty text if they are free."""
        if not self._takes("response_format"):
            return ""
        self._choices["response_format"].pop(0)
        return "response_format"

    def _plain(self, request: ModelRequest) -> list[dict[str, object]]:
        messages = plain.json_messages(request.messages, request.functions, request.guided_note or request.note)
        return history.without_system(messages) if self.quirks.no_system else messages

    def _constrain(self, body: Body, request: ModelRequest) -> None:
        self._unconstrained += self._takes("response_format") not in ("json_schema", "flat")
        if self._unconstrained > _RECONSIDER:
            self._unconstrained = 0
            self._choices["response_format"] = list(options.OPTIONS[-1].choices)
        match self._takes("response_format"):
            case "json_schema" | "flat" as choice:
                body["response_format"] = schemas.json_schema(
                    request.functions,
                    request.withheld,
                    self._dropped,
                    learns=request.learns,
                    flat=choice == "flat",
                )
            case "json_object":
                body["response_format"] = {"type": "json_object"}
            case _:
                pass

    def _takes(self, option: str) -> str:
        return self._choices[option][0]

    def _limit(self, body: Body, refusal: Refusal) -> str:
        """Use another name for the limit of tokens, or a lower limit."""
        name = next((name for name in (_OLD_NAME, _NEW_NAME) if name in body), "")
        if not name or not options.TOKEN_LIMIT.search(refusal.text):
            return ""
        sent = body[name]
        numbers = [int(re.sub(r"\D", "", number)) for number in options.NUMBERS.findall(refusal.text)]
        lower = [n for n in numbers if isinstance(sent, int) and _SMALLEST_LIMIT <= n < sent]
        if refusal.meaning is Meaning.OUTPUT_LIMIT and lower:
            self.most_tokens = max(lower)
            return name
        if _echoes(refusal.text, body):
            return ""
        self._choices["max_tokens"].pop(0)
        return name

    def _option(self, body: Body, text: str) -> str:
        if _echoes(text, body):
            return ""
        for option in options.OPTIONS[:-1]:
            if option.name in body and option.words.search(text):
                self._choices[option.name].pop(0)
                return option.name
        return ""

    def _quirk(self, text: str) -> str:
        for name, words in options.QUIRKS:
            if not getattr(self.quirks, name) and words.search(text):
                setattr(self.quirks, name, True)
                return name
        return ""

    def _keyword(self, body: Body, text: str) -> str:
        """Leave out a keyword of the schemas that a refusal names."""
        used = schemas.keywords(body.get("tools") or body.get("response_format") or {}) - self._dropped
        if schemas.BOOLEAN_ENUM in used and options.BOOLEANS.search(text):
            self._dropped |= {schemas.BOOLEAN_ENUM}
            return schemas.BOOLEAN_ENUM
        if schemas.TYPE_LIST in used and options.TYPE_LISTS.search(text):
            self._dropped |= {schemas.TYPE_LIST}
            return schemas.TYPE_LIST
        constrained = "response_format" in body
        for match in options.KEYWORD.finditer(text):
            word = match[0]
            if word not in used or (constrained and word in ("anyOf", "enum")):
                continue
            if options.DEMANDED.match(text, match.end()):
                continue
            if word in options.ENGLISH_WORDS and not (_quoted(text, match) and options.ABOUT_SCHEMA.search(text)):
                continue
            self._dropped |= {word}
            return word
        return ""

    def _format(self, body: Body, text: str) -> str:
        if "response_format" not in body or not options.OPTIONS[-1].words.search(text) or _echoes(text, body):
            return ""
        if options.NO_SCHEMA.search(text) and "json_object" in self._choices["response_format"]:
            while self._takes("response_format") != "json_object":
                self._choices["response_format"].pop(0)
            return "response_format"
        return self.next_format()


def _quoted(text: str, match: re.Match[str]) -> bool:
    if _LISTED.search(text, max(0, match.start() - 80), match.start()):
        return True
    return text[max(0, match.start() - 1) : match.start()] in ("'", '"', "`", ".") or text[
        match.end() : match.end() + 1
    ] in ("'", '"', "`")


def _echoes(text: str, body: Body) -> bool:
    """Whether a refusal repeats the request, so that a name in it has no meaning."""
    return "messages" in text and sum(f'"{key}"' in text or f"'{key}'" in text for key in body) > 2


def _speaks_of_a_model(text: str) -> bool:
    return re.search(r"model|deployment|endpoints? found", text, re.IGNORECASE) is not None


def _with_note(request: ModelRequest) -> Sequence[Message]:
    """Return the prompt with its note as the last message of the user."""
    return [*request.messages, Message(Role.USER, request.note)] if request.note else request.messages
