"""What the built-in model says to the user, in English and in Chinese."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_LATIN_WORD = re.compile(r"[^\W\d_\u4e00-\u9fff]+")


@dataclass(frozen=True, slots=True)
class Phrases:
    """The sentences of one language; names in braces are filled in."""

    introduction: str
    hello: str
    hello_named: str
    here: str
    welcome: str
    still_here: str
    read: str
    noted: str
    known: str
    not_told: str
    recalled: str
    you_said: str
    what_to_know: str
    search_failed: str
    found: str
    missing: str
    no_sentence: str
    nothing_attached: str
    nothing_in_sources: str
    page: str
    note: str
    between: str
    first_person: str


ENGLISH = Phrases(
    introduction=(
        "I am the built-in offline model, a demonstration of search: I need no key and no network, and there is no"
        " language model behind me. I search your documents and our conversation, quote what I find with its page, and"
        " remember what you tell me about yourself."
    ),
    hello="Hello!",
    hello_named="Hello, {name}!",
    here="I am here.",
    welcome="You are welcome.",
    still_here="I am still here. Ask me something, or tell me something to remember.",
    read=(
        "I have read it, and our conversation keeps it: ask me later what you said. To have me note it as a fact, begin"
        " with “remember that”. I am the built-in offline model, and do not converse freely."
    ),
    noted="I will remember it. I noted: {fact}",
    known="This is what I noted about you: {facts}",
    not_told="You have not told me that yet.",
    recalled="From our conversation: {lines}",
    you_said="you said “{message}” ({day}).",
    what_to_know="What would you like to know?",
    search_failed="I could not search my archival memory: {error}",
    found="This is what I found about {topic}, word for word:",
    missing="I found nothing about {topic}.",
    no_sentence=(
        "I read {pages} of my archival memory and found no sentence about {topic}. Try other words, such as the"
        " document itself would use."
    ),
    nothing_attached=(
        "My archival memory holds nothing about {topic}, and no source is attached to me. If you have loaded a document"
        " on it, attach it to me with /attach; if not, load it first with `memgpt load`. Then ask again."
    ),
    nothing_in_sources="My archival memory, with the attached {sources}, holds nothing about {topic}.",
    page="page {page}",
    note="my note of {day}",
    between=" ",
    first_person="I",
)

CHINESE = Phrases(
    introduction=(
        "我是内置的离线模型，用来演示检索：不需要密钥和网络，背后也没有语言模型。"
        "我会搜索你的文档和我们的对话，引用找到的原文并注明页码，还会记住你告诉我的关于你自己的事。"
    ),
    hello="你好！",
    hello_named="{name}，你好！",
    here="我在。",
    welcome="不客气。",
    still_here="我还在。你可以问我问题，或者告诉我要记住的事。",
    read=(
        "我读到了，对话里会保留它：以后可以问我你说过什么。想让我把它记成一条事实，请以“记住”开头。"
        "我是内置的离线模型，不能自由交谈。"
    ),
    noted="好的，我记住了：{fact}",
    known="我记下的关于你的内容：{facts}",
    not_told="你还没有告诉过我。",
    recalled="在我们的对话里，{lines}",
    you_said="你说过“{message}”（{day}）。",
    what_to_know="你想了解什么？",
    search_failed="我无法搜索归档记忆：{error}",
    found="关于{topic}，我找到了这些原文：",
    missing="没有找到关于{topic}的内容。",
    no_sentence="我读了归档记忆中的{pages}结果，没有找到关于{topic}的句子。请换个说法，最好用文档里的原词。",
    nothing_attached=(
        "我的归档记忆里没有关于{topic}的内容，也没有附加任何数据源。如果你已经加载了相关文档，请用 /attach 附加；"
        "如果还没有，请先用 `memgpt load` 加载，然后再问我。"
    ),
    nothing_in_sources="我的归档记忆（包括已附加的 {sources}）里没有关于{topic}的内容。",
    page="第 {page} 页",
    note="我在 {day} 的笔记",
    between="",
    first_person="我",
)


def phrases_for(text: str) -> Phrases:
    """Return the phrases in the language of a text: Chinese if it has more Chinese characters than Latin words."""
    return CHINESE if len(_CHINESE.findall(text)) > len(_LATIN_WORD.findall(text)) else ENGLISH


def pages(count: int, phrases: Phrases) -> str:
    """Return a number of pages in words."""
    if phrases is CHINESE:
        return f" {count} 页"
    return f"{count} {'page' if count == 1 else 'pages'}"
