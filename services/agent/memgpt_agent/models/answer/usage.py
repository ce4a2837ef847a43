"""Parsing of the token counts that an endpoint reports, in all spellings."""

from __future__ import annotations

from collections.abc import Mapping

from memgpt_agent.domain import Usage

_PROMPT = ("prompt_tokens", "input_tokens", "prompt_eval_count", "promptTokens", "promptTokenCount")
_COMPLETION = ("completion_tokens", "output_tokens", "eval_count", "completionTokens", "candidatesTokenCount")
_CACHED = (
    "cached_tokens",
    "prompt_cache_hit_tokens",
    "cache_read_input_tokens",
    "cache_read_tokens",
    "cached_prompt_tokens",
    "num_cached_tokens",
    "cachedContentTokenCount",
)
_DETAILS = ("prompt_tokens_details", "input_tokens_details", "prompt_details", "prompt_token_details")


def read_usage(chunk: Mapping[str, object]) -> Usage | None:
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
    cached = _first(usage, _CACHED) or max((_first(usage.get(key), _CACHED) for key in _DETAILS), default=0)
    if not cached and isinstance(timings, Mapping):
        cached = _number(timings.get("cache_n"))
    prompt = _first(usage, _PROMPT)
    if prompt and not _first(usage, ("prompt_tokens",)):
        # Anthropic's own form counts what was read from its cache, and written to it, apart.
        prompt += _first(usage, ("cache_read_input_tokens",)) + _first(usage, ("cache_creation_input_tokens",))
    return Usage(prompt, _first(usage, _COMPLETION), min(cached, prompt) if prompt else cached)


def larger(one: Usage, other: Usage | None) -> Usage:
    """Return the larger counts of both: some endpoints report a part of them in each chunk, or zeros at the end."""
    if other is None:
        return one
    return Usage(
        max(one.prompt_tokens, other.prompt_tokens),
        max(one.completion_tokens, other.completion_tokens),
        max(one.cached_tokens, other.cached_tokens),
    )


def reasoning_tokens(chunk: Mapping[str, object]) -> int:
    """Return how many tokens of the answer were reasoning; 0 if the chunk does not say."""
    usage = chunk.get("usage")
    if not isinstance(usage, Mapping):
        return 0
    for key in ("completion_tokens_details", "output_tokens_details"):
        if found := _first(usage.get(key), ("reasoning_tokens",)):
            return found
    return _first(usage, ("reasoning_tokens",))


def _in_choice(chunk: Mapping[str, object]) -> object:
    choices = chunk.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first.get("usage") if isinstance(first, Mapping) else None  # Moonshot


def _in_extension(chunk: Mapping[str, object]) -> object:
    extension = chunk.get("x_groq")
    return extension.get("usage") if isinstance(extension, Mapping) else None


def _first(values: object, keys: tuple[str, ...]) -> int:
    if not isinstance(values, Mapping):
        return 0
    return next((number for key in keys if (number := _number(values.get(key)))), 0)


def _number(value: object) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
