# ruff: noqa: E501 - one pattern a line
"""Patterns for facts that users state about themselves or ask to remember, in English and Chinese."""

from __future__ import annotations

import re

# A fact ends with the sentence, or where the next fact about the user begins.
_END = r"(?=\s*(?:[.!?;。！？；]|$|,?\s+(?:and|but|so)\s+(?:i|my|we)\b|[,，]\s*(?:i|my|我)))"
_CHINESE_END = r"(?=\s*(?:[.!?;,。！？；，、]|$))"
_CAPITALIZED = r"(?!I\b|And\b|But\b|So\b)[A-Z][\w'’-]*"


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_FACTS: tuple[tuple[re.Pattern[str], str], ...] = (
    # The name itself is case sensitive: "and I live in Berlin" is not part of it.
    (re.compile(rf"(?i:\b(?:my name is|my name's|call me|i am called|i'm called))\s+(?P<fact>[^\W\d_][\w'’-]*(?:\s+{_CAPITALIZED}){{0,3}})"), "Name: {}"),
    (re.compile(r"(?:我叫|我的名字(?:是|叫)|叫我)\s*(?P<fact>[\w·]{1,20}?)(?=$|[\s,，。.！!？?；;、]|吧)"), "Name: {}"),
    (_words(rf"\bi\s+(?:really\s+)?(?:like|love|enjoy|prefer)\s+(?P<fact>.+?){_END}"), "Likes {}"),
    (_words(rf"\bi\s+(?:hate|dislike|don['’]t like|do not like)\s+(?P<fact>.+?){_END}"), "Does not like {}"),
    (_words(rf"\bi\s+live\s+(?P<fact>(?:in|near|at)\s+.+?){_END}"), "Lives {}"),
    (_words(rf"\bi\s+work\s+(?P<fact>(?:as|at|for|in|on)\s+.+?){_END}"), "Works {}"),
    (_words(rf"\bmy\s+(?P<fact>birthday is .+?){_END}"), "Their {}"),
    (re.compile(rf"我(?:很|最|特别)?喜欢(?P<fact>.+?){_CHINESE_END}"), "喜欢{}"),
    (re.compile(rf"我(?:不喜欢|讨厌)(?P<fact>.+?){_CHINESE_END}"), "不喜欢{}"),
    (re.compile(rf"我(?:现在)?住在(?P<fact>.+?){_CHINESE_END}"), "住在{}"),
    (re.compile(rf"我在(?P<fact>.{{1,30}}?(?:工作|上班)){_CHINESE_END}"), "在{}"),
    (re.compile(rf"我的生日是(?P<fact>.+?){_CHINESE_END}"), "生日是{}"),
)  # fmt: skip
_REMEMBER = (
    _words(r"\A\W*(?:please\s+)?(?:remember|note|keep in mind|don['’]t forget)(?:\s+(?:that|this))?\s*[:,]?\s+(?P<fact>.+)"),
    re.compile(r"\A\W*(?:请|麻烦)?(?:你)?(?:帮我)?(?:记住|记下|记一下|记着|别忘了|不要忘记)(?:这个|一下)?[\s:：,，]*(?P<fact>.+)", re.DOTALL),
)  # fmt: skip
_QUESTION = re.compile(r"[?？]|吗\s*[。！]?\s*\Z")


def about_the_user(text: str) -> list[str]:
    """Return the facts about the user in a statement, as lines of their block; none for a question."""
    if _QUESTION.search(text):
        return []
    found = [
        (match.start(), line.format(match["fact"].strip()))
        for pattern, line in _FACTS
        if (match := pattern.search(text))
    ]
    return [line for _, line in sorted(found)]


def to_remember(text: str) -> str:
    """Return what the user asks to remember; empty if nothing."""
    if _QUESTION.search(text):
        return ""
    match = next((match for pattern in _REMEMBER if (match := pattern.match(text))), None)
    return match["fact"].strip() if match else ""
