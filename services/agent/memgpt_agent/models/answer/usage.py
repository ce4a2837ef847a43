"""Parsing of the token counts that an endpoint reports, in all spellings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from memgpt_agent.domain import NO_USAGE, Usage

_PROMPT = re.compile("(?:prompt|input)(?:tokens|tokencount|evalcount)")
_COMPLETION = re.compile("(?:completion|output|candidates)(?:tokens|tokencount)|evalcount")
_OPENAIS_PROMPT = re.compile("prompttokens|prompttokencount")
_TOTAL = re.compile("total(?:tokens|tokencount)")
_CACHED = re.compile(r"\w*(?<!un)(?<!non)cached\w*|\w*cache(?:read|hit)\w*")
_READ = re.compile("cachereadinputtokens?(?:count)?")
_WRITTEN = re.compile(r"\w*cache(?:creation|write)\w*")
_REASONING = re.compile("(?:reasoning|thoughts)(?:tokens|tokencount)")
_DETAILS = re.compile("(?:prompt|input)(?:tokens?)?details")
"""Names of counts in lower case, without underscores."""

_MAX_DIGITS = 16


@dataclass(frozen=True, slots=True)
class ReportedUsage:
    """Token counts as an endpoint reports them.

    Attributes:
        usage: The counts; the prompt's includes the cached tokens wherever it is certain that they are counted apart.
        apart: Whether that is certain.
    """

    usage: Usage = NO_USAGE
    apart: bool = False

    def larger(self, other: ReportedUsage | None) -> ReportedUsage:
        """Return the larger counts of both: some endpoints report a part of them in each chunk, or zeros at the end."""
        if other is None:
            return self
        one, two = self.usage, other.usage
        usage = Usage(
            max(one.prompt_tokens, two.prompt_tokens),
            max(one.completion_tokens, two.completion_tokens),
            max(one.cached_tokens, two.cached_tokens),
        )
        return ReportedUsage(usage, self.apart or other.apart)


def read_usage(chunk: Mapping[str, object]) -> ReportedUsage | None:
    """Return the usage in a chunk, or in its choice; None if there is none."""
    usage = chunk.get("usage") or chunk.get("usageMetadata") or _in_choice(chunk) or _in_extension(chunk)
    if not usage and chunk.get("done") is True:
        usage = chunk  # Ollama's own form
    timings = chunk.get("timings")  # llama.cpp
    if not usage and isinstance(timings, Mapping):
        read, new = _number(timings.get("cache_n")), _number(timings.get("prompt_n"))
        usage = {"prompt_tokens": read + new, "completion_tokens": timings.get("predicted_n")}
    if not isinstance(usage, Mapping):
        return None
    if isinstance(usage.get("tokens"), Mapping):
        usage = usage["tokens"]  # Cohere
    cached = max(_largest(part, _CACHED) for part in (usage, *_details(usage)))
    if not cached and isinstance(timings, Mapping):
        cached = _number(timings.get("cache_n"))
    prompt, completion = _largest(usage, _PROMPT), _largest(usage, _COMPLETION)
    missing = _counted_apart(usage, prompt, completion, cached)
    return ReportedUsage(Usage(prompt + missing, completion, cached), apart=prompt > 0 and missing > 0)


def _counted_apart(usage: Mapping[str, object], prompt: int, completion: int, cached: int) -> int:
    """Return the tokens read from the cache, and written to it, that the prompt's count certainly leaves out."""
    written = _largest(usage, _WRITTEN)
    anthropic = not _largest(usage, _OPENAIS_PROMPT)
    if cached > prompt or (anthropic and (written or _largest(usage, _READ))):
        return cached + written
    total = _largest(usage, _TOTAL)
    return next((apart for apart in (cached, cached + written) if apart and total == prompt + apart + completion), 0)


def _details(usage: Mapping[str, object]) -> Iterator[object]:
    return (value for key, value in usage.items() if _DETAILS.fullmatch(_plain(key)))


def reasoning_tokens(chunk: Mapping[str, object]) -> int:
    """Return how many tokens of the answer were reasoning; 0 if the chunk does not say."""
    usage = chunk.get("usage")
    if not isinstance(usage, Mapping):
        return 0
    details = (usage.get(key) for key in ("completion_tokens_details", "output_tokens_details"))
    return next(filter(None, (_largest(part, _REASONING) for part in (*details, usage))), 0)


def _in_choice(chunk: Mapping[str, object]) -> object:
    choices = chunk.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first.get("usage") if isinstance(first, Mapping) else None  # Moonshot


def _in_extension(chunk: Mapping[str, object]) -> object:
    extension = chunk.get("x_groq")
    return extension.get("usage") if isinstance(extension, Mapping) else None


def _largest(values: object, names: re.Pattern[str]) -> int:
    """Return the largest count with one of the names; 0 if there is none."""
    if not isinstance(values, Mapping):
        return 0
    return max((_number(value) for key, value in values.items() if names.fullmatch(_plain(key))), default=0)


@lru_cache(maxsize=256)
def _plain(key: object) -> str:
    return str(key).replace("_", "").lower()


def _number(value: object) -> int:
    if isinstance(value, str) and value.isdecimal() and len(value) < _MAX_DIGITS:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
