"""The options of requests that endpoints may refuse, their fallbacks, and the words of the refusals. Data only."""

# ruff: noqa: E501 - one pattern a line

from __future__ import annotations

import re
from dataclasses import dataclass

from memgpt_agent.models.request import schemas


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a request.

    Attributes:
        name: Its name in the body.
        choices: Its values, the best one first; the empty one leaves it out.
        words: The words of its refusals.
    """

    name: str
    choices: tuple[str, ...]
    words: re.Pattern[str]


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


OPTIONS = (
    Option("parallel_tool_calls", ("false", ""), _words(r"parallel[_ ](?:tool|function)")),
    Option("stream_options", ("include_usage", ""), _words(r"stream_options|include_usage")),
    Option("tool_choice", ("required", "auto", ""), _words(r"tool[_ ]?choice")),
    Option("temperature", ("given", ""), _words(r"temperature")),
    Option("stream", ("true", ""), _words(r"\bstream(?:ing|ed)?\b(?![_ ]options)")),
    Option(
        "response_format",
        ("json_schema", "flat", "json_object", ""),
        _words(
            r"response[_ ]?(?:format|schema)|json[_ ]?(?:schema|object|mode)|grammar|schema|regex|structured output|guided"
        ),
    ),
)
"""In the order of the search: a refusal of ``response_format`` together with ``stream`` is fixed without ``stream``."""

NO_SCHEMA = _words(
    r"json_schema\W{0,3}(?:is |type )?.{0,20}(?:unavailable|(?:not|un)[ -]?(?:supported|available|allowed))|type is unavailable|(?:must be|expected|one of|only)\b.{0,40}json_object"
)
"""The endpoint has no schemas at all, rather than not understanding one."""

TOKEN_LIMIT = _words(r"max_(?:completion_|new_|output_)?tokens")
NUMBERS = re.compile(r"\d[\d,_]{0,12}")
QUIRKS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("signatures", _words(r"thought[_ ]?signature")),
    ("named_results", _words(r"function_?response\.name|tool (?:message|result|response)s?\b.{0,40}\bname\b.{0,20}(?:required|missing|empty)|tool (?:message|result|response)s? must (?:have|include|contain) (?:a |the )?name|\bname\b.{0,20}(?:required|missing).{0,40}tool (?:message|result|response)")),
    ("described", _words(r"\bdescriptions?\b(?!.{0,60}(?:too long|at most|exceed|maximum|less than))")),
    ("reasoning", _words(r"reasoning_content|reasoning content")),
    ("no_system", _words(r"system (?:role|messages?|prompt|instruction)\w* .{0,20}(?:not|un)|(?:un|not )supported role.{0,10}system|n[o']t support\W{1,4}system|\brole\b(?!.{0,120}system).{0,60}(?:one of|permitted|expected)\b.{0,20}user|only user and assistant|developer instruction is not enabled")),
    ("thinking", _words(r"thinking[_ ]?blocks?|redacted_thinking|reasoning_details")),
    ("no_empty_content", _words(r"at least one (?:content element|parts field)|content\b.{0,10} is a required field|non-whitespace|content\b.{0,30}at least 1 character|at least 1 character.{0,60}content\b|field required\W{0,4}(?:\w+ )?messages?\W.{0,12}content\b|(?:content|text)\b.{0,60}(?:(?:not|cannot|can't) be (?:empty|blank|null)|non-?empty|is (?:empty|blank|required))|empty (?:content|text)")),
    ("answer_after_result", _words(r"after (?:the )?role .?tool|role .?user.? after|must alternate|should alternate with|roles? .{0,40}alternat|tool (?:message|result|response)s?\b.{0,60}(?:must be )?followed by")),
)  # fmt: skip
BOOLEANS = _words(r"TYPE_STRING|enum")
TYPE_LISTS = _words(
    r"cannot start list|\btype\b.{0,60}(?:must be a string|should be a (?:valid )?string|not a string|expected string)"
)
KEYWORD = re.compile("|".join(rf"(?<![\w$]){re.escape(word)}(?!\w)" for word in schemas.DROPPABLE))
DEMANDED = _words(
    r"\W{0,3}(?:false)?\W{0,3}\b(?:is required|(?:must|should|needs to) be (?:explicitly )?(?:set|supplied|present|false))"
)
"""Follows the name of a keyword that is missed rather than refused."""

ENGLISH_WORDS = frozenset(
    [
        "format",
        "default",
        "title",
        "pattern",
        "contains",
        "not",
        "if",
        "then",
        "else",
        "examples",
        "const",
        "enum",
        "minimum",
        "maximum",
        "deprecated",
        "nullable",
    ]
)
"""Keywords that are English words too: they count only if they are quoted, or if the text mentions a schema."""

ABOUT_SCHEMA = _words(
    r"schema|keyword|function_declarations|parameters|tools\[|grammar|properties|unknown name|additional"
)
