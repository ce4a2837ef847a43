"""The words of a text, as full-text search sees them.

Milvus's analyzers differ between backends, and its standard one does not find a word inside a Chinese, Japanese or
Thai sentence, which has no spaces. So texts and queries are cut into words here and given to Milvus with spaces
between them: words of letters and digits as they are, case folded, and runs of scripts without spaces as pairs of
neighbouring characters (the bigrams that full-text engines commonly use for them).
"""

from __future__ import annotations

import re
import unicodedata

# Han, kana, Hangul is left out (it has spaces); Thai, Lao, Myanmar, Khmer.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUNS = re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|(?P<word>(?:(?![{_UNSPACED}])[^\W_])+)")


def words_of(text: str) -> list[str]:
    """The words of a text, in order, case folded; neighbouring pairs of characters in scripts without spaces."""
    words: list[str] = []
    for run in _RUNS.finditer(unicodedata.normalize("NFKC", text).casefold()):
        word = run["word"]
        if word:
            words.append(word)
            continue
        characters = run["unspaced"]
        if len(characters) == 1:
            words.append(characters)
        words += [characters[place : place + 2] for place in range(len(characters) - 1)]
    return words
