"""Token counts: by the model's own tokenizer if there is one, otherwise by an estimate that is calibrated.

No network is needed. The prompt sizes that an endpoint reports correct the later counts for its model.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from memgpt_runtime.tokens import count_tokens

from memgpt_agent.domain import Usage

CountTokens = Callable[[str], int]

_REMEMBERED = 65_536
"""Most texts whose counts are kept: about 10 MB. The texts themselves are not kept."""

_LOWEST, _HIGHEST = 0.6, 4.0
_IMPLAUSIBLE = 0.5
"""Endpoints that report less than this fraction of our count leave out the cached part of the prompt."""

_GREW = 32
_CUT = 0.75
"""A prompt that grew by more than `_GREW` tokens was cut if less than this fraction of it is reported."""

_CUT_IN_A_ROW = 2
"""Requests in a row whose prompt seems cut before that is believed: an endpoint that counts only the part of a prompt
that it had not cached reports such a count now and then."""

_SMALLEST_WINDOW, _STEADY = 1024, 16
"""A count that stays the same within `_STEADY` tokens is a window's size, if it is not below the smallest one."""

_CLEAR = 0.2
"""Relative distance up to which a count confirms ours."""

_FALL = 0.2
"""How fast a correction falls. It rises at once: a prompt that is too long is worse than one that is too short."""


class TokenCounter:
    """Counts tokens and caches the counts: most of a prompt is the same from one step to the next.

    A plain first-in-first-out dictionary, since prompts have thousands of look-ups and cachetools is slower.
    """

    def __init__(self, count: CountTokens = count_tokens) -> None:
        self._count = count
        self._known: OrderedDict[tuple[int, int], int] = OrderedDict()

    def __call__(self, text: str) -> int:
        """Return the tokens of a text."""
        # The key has the 64-bit hash, so that texts are not kept alive.
        key = hash(text), len(text)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._count(text)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known


class TokenCalibration:
    """Ratio of the endpoint's token counts to ours, per model. Kept in memory; a new process learns it again."""

    def __init__(self) -> None:
        self._scales: dict[str, float] = {}
        self._needed: dict[str, int] = {}
        self._last: dict[str, tuple[int, int]] = {}
        self._cuts: dict[str, int] = {}
        self._apart: dict[str, bool] = {}

    def needed(self, model: str) -> int:
        """Return the tokens that an answer needs, with reasoning if that counts too; 0 while nothing is known."""
        return self._needed.get(model, 0)

    def need(self, model: str, tokens: int) -> None:
        """Note that answers of the model need this many tokens."""
        self._needed[model] = max(tokens, self.needed(model))

    def whole_prompt(self, model: str, ours: int, usage: Usage, *, apart: bool = False) -> tuple[Usage, int]:
        """Return the usage with the cached tokens in the prompt's count, and the most tokens that the prompt may have.

        Some endpoints count cached tokens apart, and some do so under names that others use for a part of the prompt.
        What is certain of one answer of a model is remembered; while nothing is, both counts are possible.

        Args:
            model: The model.
            ours: Our uncorrected count.
            usage: The endpoint's counts.
            apart: Whether it certainly counts the cached tokens apart; then they are included in ``usage`` already.
        """
        if apart or not usage.cached_tokens or not usage.prompt_tokens:
            self._apart |= {model: True} if apart else {}
            return usage, usage.prompt_tokens
        expected = max(ours * self.scale(model), 1.0)
        both = usage.prompt_tokens + usage.cached_tokens
        off, off_by_both = (abs(math.log(count / expected)) for count in (usage.prompt_tokens, both))
        if off < _CLEAR < off_by_both / 2:
            self._apart[model] = False
        if self._apart.get(model) and off_by_both < off:
            return replace(usage, prompt_tokens=both), both
        return usage, usage.prompt_tokens if self._apart.get(model) is False else both

    def truncated(self, model: str, ours: int, reported: int, *, kept: int = 0) -> bool:
        """Whether the endpoint seems to have cut the prompt silently, as Ollama does.

        This is assumed if its count stays the same, and clearly below ours, although the prompt grows.

        Args:
            model: The model.
            ours: Our uncorrected count.
            reported: The endpoint's count.
            kept: Our uncorrected count of system message and functions, which are cut last. A count below it that is
                not a window's size leaves out what is cached.
        """
        before = self._last.get(model, (0, 0))
        self._last[model] = ours, reported
        below = _CUT * self.scale(model)
        stuck = before[1] * _IMPLAUSIBLE < reported <= before[1] and ours > before[0] + _GREW
        at_window = reported >= _SMALLEST_WINDOW and before[1] - reported <= _STEADY
        cut = stuck and reported < ours * below and (at_window or reported >= kept * below)
        self._cuts[model] = self._cuts.get(model, 0) + 1 if cut else 0
        return self._cuts[model] >= _CUT_IN_A_ROW

    def scale(self, model: str) -> float:
        """Return the ratio of the endpoint's token counts to ours; 1 before the first comparison."""
        return self._scales.get(model, 1.0)

    def observe(self, model: str, ours: int, reported: int, *, most: int = 0) -> None:
        """Correct later counts.

        Args:
            model: The model.
            ours: Our uncorrected count.
            reported: The endpoint's count.
            most: The most tokens that the prompt may have, if the endpoint's count leaves that open.
        """
        if ours <= 0 or reported < ours * _IMPLAUSIBLE or self._cuts.get(model):
            return
        if reported < min(most, ours * self.scale(model)):
            return
        ratio = min(max(reported / ours, _LOWEST), _HIGHEST)
        current = self._scales.get(model, ratio)
        self._scales[model] = ratio if ratio > current else current + (ratio - current) * _FALL


def from_tokenizer(path: Path) -> CountTokens:
    """Return a counter that uses a model's ``tokenizer.json``.

    Raises:
        ValueError: The package ``tokenizers`` is missing, or the file is not valid; the text says what to do.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ValueError("agent.tokenizer needs the package tokenizers: pip install tokenizers") from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain exceptions
        raise ValueError(f"agent.tokenizer is not a readable tokenizer.json: {path}") from error
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
