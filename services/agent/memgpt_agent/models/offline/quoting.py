"""Reading passages without a language model: key words, whole sentences, and how well they fit a question."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

_CHINESE = "\u4e00-\u9fff"
_WORD = re.compile(rf"[{_CHINESE}]+|[^\W_{_CHINESE}]+(?:[-'’][^\W_{_CHINESE}]+)*")
_CHINESE_ASKING = re.compile(
    r"请问|请|告诉我|还记得|记得|说过|聊过|谈过|提过|问过|告诉过|刚才|之前|上次|介绍一下|介绍|解释|说说|总结|一下|什么是|是什么|什么时候|什么地方|什么|时候|何时|几点|哪天|多久|怎么样|怎么|怎样|如何|为什么|哪里|哪些|哪个|多少|有没有|能不能"
    r"|可以|关于|我的|你的|它的|论文|文档|文件|内容|知道|的|了|吗|呢|是|在|和|与|有|我|你|它"
)
"""Words that do not tell the topic of a question in Chinese."""

_STOP_WORDS = frozenset((files(__package__) / "stop_words.txt").read_text(encoding="utf-8").split())
"""Words that do not tell the topic of a question, including those for talking about documents."""

_ABBREVIATION = re.compile(r"(?:\b(?:et al|e\.g|i\.e|cf|vs|etc|Fig|Eq|Sec|Tab|No|Dr|Mr|Mrs|Ms|Prof|St)|\b[A-Z])\.$")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[^\W\d_a-z])|(?<=[。！？])")
_HEADING_LINES = re.compile(r"\A(?:(?:\d+(?:\.\d+)*\.?\s+)?[A-Z][^\n.!?]{0,60}\n)+(?=[A-Z“\"(])")
_NUMBERED_HEADING = re.compile(r"^\d+(?:\.\d+)*\.?\s+[A-Z][^\n.!?]{0,60}$", re.MULTILINE)
_CITATION_LIKE = re.compile(r"arXiv|https?://|doi:|\bpp\.|\bIn Proceedings|\d{4}[a-z]?\.\s*$|^\W*\d")
_YEAR_IN_BRACKETS = re.compile(r"\([^()]*\b(?:19|20)\d\d[a-z]?[^()]*\)")

_TRAILING_NUMBER = re.compile(r"(?<=[.!?)])\s+\d+(?:\.\d+)*\.$")
_REPEATED_HEADING = re.compile(r"\A((?:[A-Z][\w-]*\s+){1,4})(?=(?:The|An?)\s+\1)", re.IGNORECASE)
_TELLING_VERBS = (
    "allows|augments|can|combines|consists|delineates|enables|extends|lets|makes|manages|orchestrates|provides|uses|we"
)

_DEFINITION = 3.0
"""The score that a definition adds to a sentence: more than any single term."""

_MIN_WORDS, _MAX_WORDS = 6, 70
_SAME = 0.6


@dataclass(frozen=True, slots=True)
class Quote:
    """A sentence with its place: ``where`` is shown to the user, ``order`` is the sort key in reading order."""

    text: str
    where: str
    order: tuple[int, int]


def words(text: str) -> list[str]:
    """Return the words of a text, as they are written."""
    return _WORD.findall(text)


def key_words(text: str) -> list[str]:
    """Return the words that tell the topic of a question, each once, in order."""
    seen: dict[str, str] = {}
    for word in _split_chinese(words(text)):
        plain = re.sub(r"['’]s$", "", word)
        if plain.lower().replace("’", "'") not in _STOP_WORDS and len(plain) > 1:
            seen.setdefault(stem(plain), plain)
    return list(seen.values())


def _split_chinese(found: Iterable[str]) -> Iterable[str]:
    """Yield the words, in Chinese without the characters that only mark a question."""
    for word in found:
        if re.match(rf"[{_CHINESE}]", word):
            yield from filter(None, _CHINESE_ASKING.split(word))
        else:
            yield word


def covered(quotes: Sequence[Quote], terms: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the terms that occur in at least one quote, and the others."""
    held = {stem(word) for quote in quotes for word in words(quote.text)}
    texts = " ".join(quote.text for quote in quotes)
    found = [term for term in terms if stem(term) in held or _occurs(term.lower(), texts.lower())]
    return found, [term for term in terms if term not in found]


def _occurs(term: str, text: str) -> bool:
    """Whether a text holds a term, or most of its words if it is Chinese, of which a term may have several."""
    if term in text or not re.fullmatch(rf"[{_CHINESE}]{{3,}}", term):
        return term in text
    pairs = [term[place : place + 2] for place in range(len(term) - 1)]
    return sum(pair in text for pair in pairs) * 2 >= len(pairs)


def stem(word: str) -> str:
    """Return a word's crude stem: lower case, without the most common English endings."""
    text = word.lower()
    for ending in ("ations", "ation", "ingly", "ings", "ing", "edly", "ies", "ied", "ers", "ed", "es", "er", "ly", "s"):
        if text.endswith(ending) and len(text) - len(ending) >= 4:
            return text[: -len(ending)]
    return text


def sentences(text: str) -> list[str]:
    """Return the complete sentences of a passage: lines and broken words joined, without headings and fragments."""
    text = re.sub(r"(?<=[a-z])[-\u2010]\n(?=[a-z])", "", text.strip())
    parts = []
    for paragraph in re.split(r"\n\s*\n", _NUMBERED_HEADING.sub("\n\n", text)):
        joined = re.sub(r"\s+", " ", _HEADING_LINES.sub("", paragraph))
        parts += [_REPEATED_HEADING.sub("", _TRAILING_NUMBER.sub("", part)) for part in _split(joined)]
    return [part for part in parts if _is_complete(part)]


def _split(text: str) -> list[str]:
    parts = []
    begin = 0
    for match in _SENTENCE_END.finditer(text):
        piece = text[begin : match.end()].strip()
        if not _ABBREVIATION.search(piece):
            parts.append(piece)
            begin = match.end()
    parts.append(text[begin:].strip())
    return parts


def _is_complete(sentence: str) -> bool:
    """Whether the text is a sentence, rather than a heading, a table's row or an entry of a bibliography."""
    if not sentence or not re.match(r"[\"'“‘(\[]*[^\W\d_a-z]", sentence) or sentence[-1] not in '.!?。！？"”’)':
        return False
    if not sentence.isascii() and not re.search(r"[a-zA-Z]{3}", sentence):
        return len(sentence) >= 8  # a script without spaces or capitals
    found = words(sentence)
    if not _MIN_WORDS <= len(found) <= _MAX_WORDS or _CITATION_LIKE.search(sentence):
        return False
    plain = sum(word[0].islower() for word in found)
    return plain / len(found) >= 0.5


def topic_of(question: str, terms: Sequence[str]) -> str:
    """Return the thing that a question asks about as a whole; empty if it asks for a detail."""
    if len(terms) == 1:
        return terms[0]
    match = re.search(r"(?:called|named|titled)\s+[\"“'‘]?([^\s\"”'’.,;:!?]+)", question)
    if match is None:
        match = re.search(
            r"(?:what(?:\s+is|'s|’s)|who\s+is|tell\s+me\s+about|about)\s+(?:an?\s+|the\s+)?([^\s.,;:!?]+)",
            question,
            re.I,
        )
    candidate = match[1] if match else ""
    return candidate if any(stem(candidate) == stem(term) for term in terms[:1]) else ""


def best(candidates: Iterable[Quote], terms: Sequence[str], topic: str, limit: int) -> list[Quote]:
    """Return the sentences that fit best, without near duplicates, in order of their places.

    A sentence's score is the weight of the terms it holds (rarer terms weigh more), and more where it says what the
    topic is. Citations and excessive length cost a little.
    """
    pool = list(candidates)
    if not pool or not terms:
        return []
    stems = {stem(term) for term in terms}
    # Chinese has no spaces between words, so its terms are searched for as substrings.
    held = [
        {stem(word) for word in words(q.text)} | {s for s in stems if not s.isascii() and _occurs(s, q.text)}
        for q in pool
    ]
    weights = {s: 1 + math.log((1 + len(pool)) / (1 + sum(s in h for h in held))) for s in stems}
    scored = []
    for quote, hold in zip(pool, held, strict=True):
        common = stems & hold
        if not common or (len(stems) > 2 and len(common) < 2):
            continue
        score = sum(weights[s] for s in common) + _says_what_it_is(quote.text, topic)
        score -= 0.4 * len(_YEAR_IN_BRACKETS.findall(quote.text))
        score -= 0.02 * max(0, len(words(quote.text)) - 35)
        scored.append((score, quote, hold))
    scored.sort(key=lambda item: (-item[0], item[1].order))
    chosen: list[tuple[Quote, set[str]]] = []
    for score, quote, hold in scored:
        if len(chosen) == limit or score < scored[0][0] * 0.35:
            break
        if all(len(hold & other) / len(hold | other) < _SAME for _, other in chosen):
            chosen.append((quote, hold))
    return [quote for quote, _ in sorted(chosen, key=lambda item: item[0].order)]


def defines(sentence: str, topic: str) -> bool:
    """Whether a sentence introduces the topic, or says what it is."""
    return _says_what_it_is(sentence, topic) >= _DEFINITION


def _says_what_it_is(sentence: str, topic: str) -> float:
    """Return how much a sentence resembles a definition of the topic."""
    if not topic:
        return 0.0
    name = re.escape(topic)
    if re.search(rf"\b(?:introduce|propose|present|describe|call(?:ed)?)\b[^.]{{0,40}}\b{name}\b", sentence, re.I):
        return _DEFINITION
    if re.search(rf"\b{name}(?:\s*\([^)]*\))?,?\s+(?:is|are|was|refers to)\s+(?:an?|the)\b", sentence, re.I):
        return _DEFINITION
    if re.search(rf"\b{name}(?:[’']s)?(?:\s+\w+)?\s+(?:{_TELLING_VERBS})\b", sentence, re.I):
        return 1.5
    return 0.5 if re.match(rf"\W*{name}\b", sentence, re.I) else 0.0
