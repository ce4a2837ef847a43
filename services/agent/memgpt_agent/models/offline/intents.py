"""Patterns for the kind of a user's message: a greeting, or a question about the chat, the user or documents."""

# ruff: noqa: E501 - one pattern a line

from __future__ import annotations

import re

GREETING = re.compile(
    r"\W*(?:hi|hello|hey|good (?:morning|afternoon|evening)|greetings|how are you|thanks?|thank you|bye|goodbye)\b[^?]{0,30}\W*\Z"
    r"|\W*(?:你好|您好|嗨|早上好|下午好|晚上好|谢谢|多谢|再见)\W{0,3}(?:你|您|啊|呀|了)?\W*\Z",
    re.IGNORECASE,
)
THANKS = re.compile(r"\W*(?:thank|谢谢|多谢)", re.IGNORECASE)
WHO_ARE_YOU = re.compile(
    r"\b(?:who|what) are you\b|\bwhat can you do\b|\A\W*help\W*\Z|你是谁|你是什么|你能做什么|你会什么", re.IGNORECASE
)
PAST = re.compile(
    r"\b(?:did|have|had|was)\s+(?:i|we|you)\b.*\b(?:say|said|tell|told|talk|talked|ask|asked|mention|mentioned|discuss\w*)"
    r"|\b(?:i|we|you)\s+(?:said|told|talked|asked|mentioned|discussed)\b"
    r"|\bdo you remember\b|\bremember (?:when|what|our)\b|\b(?:last time|our conversation)\b"
    r"|(?:我|我们|你)(?:刚才|之前|上次)?(?:说|聊|谈|提|问)(?:过|到)|还记得|上次",
    re.IGNORECASE,
)
ABOUT_ME = re.compile(
    r"\bwho am i\b|\babout me\b"
    r"|\b(?:what|where|when|which|who|do you know)\b[^.?!]*\bmy (?!documents?|papers?|files?|sources?|pdfs?)\w+"
    r"|\b(?:what|where|which)\b[^.?!]*\b(?:do|did|am) i (?:like|love|live|work|prefer|hate|enjoy)\b"
    r"|我叫什么|我是谁|我(?:现在)?住(?:在)?哪|我(?:最|不)?喜欢(?:什么|啥|喝什么|吃什么|谁)|我讨厌(?:什么|啥|谁)|我的(?:名字|生日)(?:是|叫|在)?(?:什么|哪|几)|我在哪(?:里|儿)?(?:工作|上班)|关于我",
    re.IGNORECASE,
)
ASKS = re.compile(
    r"\?|\A\W*(?:please\s+)?(?:can|could|would|will)?\s*(?:you\s+)?(?:tell|explain|describe|summari[sz]e|find|search|list|show"
    r"|define|compare|what|who|where|when|why|how|which|is|are|does|do|did)\b"
    r"|？|吗\s*\Z|什么|怎么|怎样|如何|为什么|哪|谁|多少|介绍|解释|说说|告诉我|总结|查找|搜索",
    re.IGNORECASE,
)
REFERS_BACK = re.compile(
    r"\b(?:it|its|that|this|them|they|these|those|more|else|he|she|him|her)\b|它|这个|那个|更多|继续", re.IGNORECASE
)
"""Matches a message that refers to an earlier question."""

CHINESE_STATEMENT = re.compile(
    r"\A(?=(?:.*[\u4e00-\u9fff]){5}).*[。！!]\s*\Z|[\u4e00-\u9fff]{2}[了过][\u4e00-\u9fff]?", re.DOTALL
)
"""Matches a Chinese sentence: its words are not separated, so their number does not tell it from a topic."""
