"""Token counts: by the model's own tokenizer if there is one, otherwise by an estimate that is calibrated.

No network is needed. The prompt sizes that an endpoint reports correct the later counts for its model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from memgpt_runtime.tokens import count_tokens

CountTokens = Callable[[str], int]

_REMEMBERED = 65_536
"""Most texts whose counts are kept: about 10 MB. The texts themselves are not kept."""

_LOWEST, _HIGHEST = 0.6, 4.0
_IMPLAUSIBLE = 0.5
"""Endpoints that report less than this fraction of our count leave out the cached part of the prompt."""

_GREW = 32
_CUT = 0.75
"""A prompt that grew by more than `_GREW` tokens was cut if less than this fraction of it is reported."""

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

    def needed(self, model: str) -> int:
        """Return the tokens that an answer needs, with reasoning if that counts too; 0 while nothing is known."""
        return self._needed.get(model, 0)

    def need(self, model: str, tokens: int) -> None:
        """Note that answers of the model need this many tokens."""
        self._needed[model] = max(tokens, self.needed(model))

    def truncated(self, model: str, ours: int, reported: int) -> bool:
        """Whether the endpoint seems to have cut the prompt silently, as Ollama does.

        This is assumed if its count has stayed the same, and clearly below ours, although the prompt grew.
        """
        before = self._last.get(model, (0, 0))
        self._last[model] = ours, reported
        stuck = before[1] > 0 and reported <= before[1] and ours > before[0] + _GREW
        return stuck and reported < ours * self.scale(model) * _CUT

    def scale(self, model: str) -> float:
        """Return the ratio of the endpoint's token counts to ours; 1 before the first comparison."""
        return self._scales.get(model, 1.0)

    def observe(self, model: str, ours: int, reported: int) -> None:
        """Note that the endpoint counted ``reported`` tokens in a prompt; ``ours`` is our uncorrected count."""
        if ours <= 0 or reported < ours * _IMPLAUSIBLE:
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
