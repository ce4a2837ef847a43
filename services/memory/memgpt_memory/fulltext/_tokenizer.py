"""Tokenization for full-text search.

Milvus's analyzers differ between backends, and its standard one does not find a word inside a Chinese, Japanese or
Thai sentence, which has no spaces. So texts and queries are split into words here and given to Milvus with spaces
between them. Every word consists of letters and digits, since Milvus drops other characters.

| in a text | its words |
| --- | --- |
| words | folded (see `_folding`), English ones reduced to their stems: "memories" finds "memory" |
| Chinese, Japanese, Korean, Thai and the like | pairs of neighboring characters, and each character once |
| emoji | the code point of each, without skin tone and the signs that join or style them |
| `user_name`, `userName` | the identifier without its marks, and its parts |
| `ann.lee@example.org` | the address as one word, and its parts |
| `C++`, `C#`, `.NET` | spelled as `cplusplus`, `csharp`, `dotnet`, and the word without the sign |
| `00042` | the digits, and the number without its leading zeros |

A query has the same words, except that it says what it means: a word with a sign, or a number with leading zeros, is
looked for only as it is written, and single characters only where they stand alone. Its function words ("what",
"did", "the") are left out, unless it has no others: they say nothing about what is searched for, and rank at random.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files

import Stemmer

from memgpt_memory.fulltext._folding import fold_case, without_marks

VERSION = 2
"""Increase it whenever the words of any text change: the words of stored rows are then made again at the next start."""

# Han, kana, bopomofo, Hangul, Thai, Lao, Myanmar and Khmer. Korean has spaces, but joins particles to its words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u309f\u30a1-\u30fa\u30fc-\u30ff"
    "\u3100-\u318f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
# No box drawings and bullets, which are not written to be found.
_EMOJI = "\u231a-\u23ff\u2600-\u27bf\u2b05-\u2b55\U0001f000-\U0001f3fa\U0001f400-\U0001faff"
_WORD = rf"[^\W_{_UNSPACED}]"
_TOKENS = (
    rf"(?P<word>{_WORD}+(?:_+{_WORD}+)*)(?P<sign>\+\+|[#♯+](?![\w+#]))?"
    r"|(?P<dotted>(?<![\w.])\.[a-zA-Z]\w{1,30}|\.(?:net|Net|NET)(?!\w))"
    rf"|(?P<unspaced>[{_UNSPACED}]+)"
    rf"|(?P<emoji>[\U0001f1e6-\U0001f1ff]{{2}}|[{_EMOJI}])"
)
_EMAIL = rf"(?P<email>{_WORD}[\w.+-]{{0,63}}+@(?:{_WORD}[\w-]{{0,62}}\.){{1,8}}{_WORD}{{2,63}})"
_TOKEN = re.compile(_TOKENS)
_TOKEN_OR_EMAIL = re.compile(f"{_EMAIL}|{_TOKENS}")  # slower: it looks for the @ after every word
_HUMP = re.compile(r"(?<=[^\W\d_A-ZÀ-ÖØ-Þ])(?=[A-ZÀ-ÖØ-Þ])|(?<=[A-Z0-9])(?=[A-Z][a-z])")
_SIGN = str.maketrans({"+": "plus", "#": "sharp", "♯": "sharp", ".": "dot", "@": "at", "_": "", "-": "dash"})
_PARTS = re.compile(r"[^\W_]+")
_SHORTEST_PADDED = 3
"""Shorter numbers with a zero in front are months and fractions."""
_FUNCTION_WORDS = frozenset(files(__package__).joinpath("function_words.txt").read_text("utf-8").split())


def words_of(text: str) -> list[str]:
    """Return the words that a text is found by; single characters of scripts without spaces come last."""
    words: list[str] = []
    characters: dict[str, None] = {}
    for token in _tokens(text):
        word, sign = token.group("word", "sign")
        if word and not sign and word[0] != "0":
            words += _stems(word)
            continue
        words += map(_stem, _words(token))
        if token["unspaced"] and len(token[0]) > 1:
            characters |= dict.fromkeys(filter(str.isalnum, token[0]))
    return [*words, *characters]


def query_words(query: str) -> list[str]:
    """Return the words that a query looks for."""
    words: list[str] = []
    for token in _tokens(query):
        found = _words(token)
        words += found[:1] if token["dotted"] or _has_sign(token) or _is_padded(token) else found
    return [_stem(word) for word in words if word not in _FUNCTION_WORDS] or [_stem(word) for word in words]


@lru_cache(maxsize=1 << 16)
def _stems(word: str) -> tuple[str, ...]:
    return tuple(map(_stem, _identifier(word)))


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    # A stemmer of its own for each new word, since stemmers are not safe to share between threads.
    return str(Stemmer.Stemmer("english", 0).stemWord(word)) if word.isascii() else word


def _tokens(text: str) -> Iterator[re.Match[str]]:
    return (_TOKEN_OR_EMAIL if "@" in text else _TOKEN).finditer(without_marks(text))


def _words(token: re.Match[str]) -> list[str]:
    """Return the words of a token, the most specific first."""
    if word := token["word"]:
        if _has_sign(token):
            return [fold_case(word) + token["sign"].translate(_SIGN), fold_case(word)]
        return [word, word.lstrip("0")] if _is_padded(token) else _identifier(word)
    text = token[0]
    if token["unspaced"]:
        return [text[at : at + 2] for at in range(max(1, len(text) - 1))]
    if token["dotted"]:
        return [f"dot{''.join(_identifier(text[1:])[:1])}", *_identifier(text[1:])]
    if token["emoji"]:
        return ["".join(f"u{ord(char):x}" for char in text)]
    return [fold_case(text).translate(_SIGN), *map(fold_case, _PARTS.findall(text))]


def _identifier(word: str) -> list[str]:
    """Return a word; if it is an identifier of several, without underscores and followed by its parts."""
    if word[1:].islower() and "_" not in word:
        return [fold_case(word)]
    parts = [part for piece in word.split("_") for part in _HUMP.split(piece) if part]
    whole = fold_case("".join(parts))
    return [whole, *map(fold_case, parts)] if len(parts) > 1 else [whole]


def _has_sign(token: re.Match[str]) -> bool:
    """Whether a word is the name of a language or a grade: C++, C#, A+. In "item#" and "1+" the sign does not count."""
    word, sign = token["word"], token["sign"]
    return bool(sign) and word.isalpha() and (sign == "++" or len(word) == 1)


def _is_padded(token: re.Match[str]) -> bool:
    word = token["word"] or ""
    if len(word) < _SHORTEST_PADDED or word[0] != "0" or not word.isdecimal() or not word.strip("0"):
        return False
    before = token.string[max(0, token.start() - 2) : token.start()]
    return not (before[-1:] in (".", ",") and before[:1].isdecimal())  # the digits of a fraction, or thousands
