"""Tokenization for full-text search.

Milvus's analyzers differ between backends, and its standard one does not find a word inside a Chinese, Japanese or
Thai sentence, which has no spaces. So texts and queries are split into words here and given to Milvus with spaces
between them: words of letters and digits as they are, case folded, and runs of scripts without spaces as pairs of
neighboring characters (the bigrams that full-text engines commonly use for them).

English words are reduced to their stems, so that "memories" finds "memory". A query's function words ("what", "did",
"the") are left out, unless it has no others: they say nothing about what is searched for, and rank at random.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from importlib.resources import files

import Stemmer

# Han, kana, Thai, Lao, Myanmar and Khmer. Not Hangul, which has spaces.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED_RUN = re.compile(rf"([{_UNSPACED}]+)")
_WORD = re.compile(r"[^\W_]+")


_FUNCTION_WORDS = frozenset(files(__package__).joinpath("function_words.txt").read_text("utf-8").split())


def words_of(text: str) -> list[str]:
    """Return the indexed words of a text, in order: stems, and pairs of characters in scripts without spaces."""
    return [_stem(word) for word in _split(text)]


def query_words(query: str) -> list[str]:
    """Return the words of a query: those of `words_of` without function words."""
    words = _split(query)
    return [_stem(word) for word in words if word not in _FUNCTION_WORDS] or [_stem(word) for word in words]


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    # A stemmer of its own for each new word, since stemmers are not safe to share between threads.
    return str(Stemmer.Stemmer("english", 0).stemWord(word)) if word.isascii() else word


def _split(text: str) -> list[str]:
    words: list[str] = []
    # Every odd piece is a run without spaces; most texts have none, and are one piece.
    for number, piece in enumerate(_UNSPACED_RUN.split(unicodedata.normalize("NFKC", text).casefold())):
        if number % 2 == 0:
            words += _WORD.findall(piece)
        elif len(piece) == 1:
            words.append(piece)
        else:
            words += [piece[place : place + 2] for place in range(len(piece) - 1)]
    return words
