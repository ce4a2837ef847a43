"""How many tokens a text has: by the model's own tokenizer where there is one, else by an estimate that learns.

No network is needed. What an endpoint reports as the size of a prompt corrects the counts of its model from then on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from memgpt_runtime.tokens import count_tokens

CountTokens = Callable[[str], int]

_REMEMBERED = 65_536
"""Texts whose counts are kept: some 10 MB. The texts themselves are not."""

_LOWEST, _HIGHEST = 0.6, 4.0
_IMPLAUSIBLE = 0.5
"""Endpoints that report less than this part of our count leave out what they had cached."""

_FALL = 0.2
"""How fast a correction falls. It rises at once: a prompt that is too long is worse than one that could be longer."""


class Counter:
    """Counts tokens, and remembers the counts: most of a prompt is the same from one step to the next."""

    def __init__(self, count: CountTokens = count_tokens) -> None:
        self._count = count
        self._known: OrderedDict[tuple[int, int], int] = OrderedDict()

    def __call__(self, text: str) -> int:
        """Tokens of a text."""
        # By its hash of 64 bits, so that texts are not kept alive.
        key = hash(text), len(text)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._count(text)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known


class TokenCalibration:
    """How the endpoint's counts relate to ours, model by model. Held in memory: a new process learns it again."""

    def __init__(self) -> None:
        self._scales: dict[str, float] = {}

    def scale(self, model: str) -> float:
        """What our counts are to be multiplied by; 1 while nothing is known."""
        return self._scales.get(model, 1.0)

    def observe(self, model: str, ours: int, reported: int) -> None:
        """The endpoint counted ``reported`` tokens in a prompt in which we counted ``ours``, uncorrected."""
        if ours <= 0 or reported < ours * _IMPLAUSIBLE:
            return
        ratio = min(max(reported / ours, _LOWEST), _HIGHEST)
        current = self._scales.get(model, ratio)
        self._scales[model] = ratio if ratio > current else current + (ratio - current) * _FALL


def from_tokenizer(path: Path) -> CountTokens:
    """Counts as the ``tokenizer.json`` of a model does.

    Raises:
        ValueError: The package ``tokenizers`` is missing, or the file is none of its; the text says what to do.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ValueError("agent.tokenizer needs the package tokenizers: pip install tokenizers") from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # It raises bare ones.
        raise ValueError(f"agent.tokenizer is no readable tokenizer.json: {path}") from error
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
