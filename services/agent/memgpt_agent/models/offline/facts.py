"""Patterns for facts that users state about themselves or ask to remember, in English and Chinese."""

# ruff: noqa: E501 - one pattern a line

from __future__ import annotations

import re

# A fact ends with the sentence, or where the next fact about the user begins.
_END = r"(?=\s*(?:[.!?;。！？；]|$|,?\s+(?:and|but|so)\s+(?:i|my|we)\b|[,，]\s*(?:i|my|我)))"
_CHINESE_END = r"(?=\s*(?:[.!?;,。！？；，、]|$))"
# Later clauses of a Chinese sentence leave out the subject, unless it changes.
_I = r"(?:我|我(?:叫|是|的名字|在|住|不?喜欢|(?:很|最|特别)喜欢|讨厌)[^。！？；;!?他她它你]*?[,，、]\s*(?:也|还|现在)?)"
_CAPITALIZED = r"(?!I\b|And\b|But\b|So\b)[^\W\d_a-z][\w'’-]*"
_PARTICLES = r"(?:(?:van|von|der|den|de|da|del|della|di|la|le|bin|ibn|al)\s+){0,2}"
_TITLE = r"(?:(?:Dr|Mr|Mrs|Ms|Prof)\.?\s+)?"
_REST = rf"(?:\s+{_PARTICLES}{_CAPITALIZED}){{0,3}}"
# "Call me later" gives no name, nor does "My name is not Anna".
_NO_NAME = r"(?!(?i:a|an|the|not|no|at|by|if|in|on|up|to|as|it|any|now|one|when|what|that|this|back|soon|again|later|today|tonight|tomorrow|before|after|anytime|whenever|whatever|maybe|please|on)\b)"
# After "I'm", a capitalized word is a name, unless it is one of these.
_NOT_I = r"(?!(?:Not|No|So|Here|OK|Ok|Okay|Sorry|Fine|Good|Happy|Sure|Back|In|On|At|From|A|An|The|Very|Just|Still|Now|Glad|Tired|Hungry|Ready|Done|Also|Really|Christian|Muslim|Jewish|Hindu|Buddhist|Catholic|Protestant|Dutch|Czech|Greek|Swiss|Thai|German|French|Afghan|European|Asian|American|African|Canadian|Mexican|Italian|Russian|Ukrainian|Indian|Brazilian|Austrian|Australian|Belgian|Norwegian|Hungarian|Romanian|Bulgarian|Estonian|Latvian|Lithuanian|Iranian|Korean|Chilean|Peruvian|Indonesian|Nigerian|Egyptian|Israeli|Iraqi|Pakistani|[A-Z][a-z]+(?:ish|ese))\b)"
_SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_FACTS: tuple[tuple[re.Pattern[str], str], ...] = (
    # The name itself is case sensitive: "and I live in Berlin" is not part of it.
    (re.compile(rf"(?i:\b(?:my name is|my name's|call me|i am called|i'm called))\s+{_NO_NAME}(?P<fact>{_TITLE}[^\W\d_][\w'’-]*{_REST})"), "Name: {}"),
    (re.compile(rf"\b(?i:i['’]?m|i\s+am)\s+{_NOT_I}(?P<fact>{_TITLE}{_CAPITALIZED}{_REST})(?=\s*(?:[.!?;,。！，；]|$)|\s+(?:and|but|from)\b)"), "Name: {}"),
    (re.compile(r"(?:我叫|我的名字(?:是|叫)|叫我)\s*(?P<fact>[\w·]{1,20}?)(?=$|[\s,，。.！!？?；;、]|吧|就好|就行|就可以|好了|即可)"), "Name: {}"),
    # Two or three characters after a surname, unless they name an occupation or an origin.
    (re.compile(rf"我是(?P<fact>[{_SURNAMES}]\w{{1,2}})(?<![生师员者人的工家手])(?=$|[\s,，。.！!；;、])"), "Name: {}"),
    (_words(rf"\bi\s+(?:really\s+)?(?:like|love|enjoy|prefer)\s+(?P<fact>.+?){_END}"), "Likes {}"),
    (_words(rf"\bi\s+(?:hate|dislike|don['’]t like|do not like)\s+(?P<fact>.+?){_END}"), "Does not like {}"),
    (_words(rf"\bi\s+live\s+(?P<fact>(?:in|near|at)\s+.+?){_END}"), "Lives {}"),
    (_words(rf"\bi\s+work\s+(?P<fact>(?:as|at|for|in|on)\s+.+?){_END}"), "Works {}"),
    (_words(rf"\bmy\s+(?P<fact>birthday is .+?){_END}"), "Their {}"),
    (re.compile(rf"{_I}(?:很|最|特别)?喜欢(?P<fact>.+?){_CHINESE_END}"), "喜欢{}"),
    (re.compile(rf"{_I}(?:不喜欢|讨厌)(?P<fact>.+?){_CHINESE_END}"), "不喜欢{}"),
    (re.compile(rf"{_I}(?:现在)?住在(?P<fact>.+?){_CHINESE_END}"), "住在{}"),
    (re.compile(rf"{_I}在(?P<fact>.{{1,30}}?(?:工作|上班)){_CHINESE_END}"), "在{}"),
    (re.compile(rf"我的生日是(?P<fact>.+?){_CHINESE_END}"), "生日是{}"),
)  # fmt: skip
_REMEMBER = (
    _words(r"\A\W*(?:please\s+)?(?:i['’]d like you to\s+|i (?:want|would like) you to\s+)?(?:remember|note|keep in mind|don['’]t forget)(?!\s+(?:when|how|what|who|where|why|me\s*\W*\Z|us\s*\W*\Z))(?:\s+(?:that|this))?\s*[:,]?\s+(?P<fact>.+)"),
    re.compile(r"\A\W*(?:请|麻烦)?(?:你)?(?:帮我)?(?:记住|记下|记一下|记着|别忘了|不要忘记)(?:这个|一下)?[\s:：,，]*(?P<fact>.+)", re.DOTALL),
    re.compile(r"\A\W*(?:请|麻烦)(?:你)?(?:帮我)?记得[\s:：,，]*(?P<fact>.+)", re.DOTALL),
)  # fmt: skip
_ASKED_TO_REMEMBER = _words(
    r"\A\W*(?:can|could|would|will) you\s+(?:please\s+)?(?:remember|note|keep in mind)\s+that\s+(?P<fact>.+?)\s*\?*\s*\Z"
)
_KINDS = (
    (_words(r"\bwho am i\b|\bmy name\b|我叫|我是谁|名字"), _words(r"\Aname:")),
    (_words(r"\blive\b|住"), _words(r"\Alives\b|\A住")),
    (_words(r"\b(?:hate|dislike)\b|\b(?:do not|don['’]t) like\b|讨厌|不喜欢"), _words(r"\Adoes not like\b|\A不喜欢")),
    (_words(r"\b(?:like|love|enjoy|prefer)\b|喜欢"), _words(r"\Alikes\b|\A喜欢")),
    (_words(r"\bbirthday\b|生日"), _words(r"birthday|生日")),
    (_words(r"\bwork\b|工作|上班"), _words(r"\Aworks\b|工作|上班")),
)
"""What questions about the user ask for, and the lines that tell it."""
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
    if asked := _ASKED_TO_REMEMBER.match(text):
        return asked["fact"]
    if _QUESTION.search(text):
        return ""
    match = next((match for pattern in _REMEMBER if (match := pattern.match(text))), None)
    return match["fact"].strip() if match else ""


def kind_asked(question: str) -> re.Pattern[str] | None:
    """Return the pattern of the facts that a question about the user asks for, such as names; None if of no kind."""
    return next((lines for asked, lines in _KINDS if asked.search(question)), None)
