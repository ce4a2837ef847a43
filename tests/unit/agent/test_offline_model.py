"""The built-in model, played through the real loop."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from memgpt_agent import envelopes
from memgpt_agent.domain import Attachment, Citation, Message, PassageHit, Role
from memgpt_agent.loop.events import AssistantMessage, FunctionCalled
from memgpt_agent.models.base import DeltaKind, ModelRequest
from memgpt_agent.models.offline import facts, quoting
from memgpt_agent.models.offline.model import OfflineModel
from memgpt_agent.models.offline.phrases import CHINESE, ENGLISH

from tests.unit.agent.fakes import NOW, FakeMemory, answered, booted, make_loop, request, run, user

TUTORIAL = "The paper I loaded into your archival memory is called MemGPT. Can you tell me more about it?"


def passage(text: str, page: int) -> PassageHit:
    return PassageHit(text, NOW, Citation("paper", "paper.pdf", page))


PAPER = [
    passage("Table 3. MemGPT 93.4 87.1\nGPT-4 32.1 14.9\n[12] Packer, C. MemGPT. arXiv 2310.08560, 2023.", 9),
    passage("In our tests MemGPT answers more questions than the fixed-context baselines do. It also costs more.", 7),
    passage("MemGPT manages its own memory by calling functions that move text between tiers of storage.", 3),
    passage("The weather was fine on the day of the experiment, and nobody complained about the coffee.", 8),
    passage("Users of MemGPT can interrupt it at any time, since events are put into a queue in order.", 4),
    passage(
        "1. Introduction\nUsing this technique, we introduce MemGPT (MemoryGPT), a system that intelli-\ngently manages"
        " different storage tiers.\nIt needs no retraining.",
        1,
    ),
    passage("With MemGPT a language model can hold long conversations without losing track of earlier facts.", 2),
]


async def talk(memory: FakeMemory, text: str, request_id: str = "r1") -> tuple[list[str], str]:
    """What the agent called, and what it said."""
    feed = await run(make_loop(memory, OfflineModel()), request(text, request_id))
    bodies = [event.body async for event in feed.events() if event.sequence]
    called = [
        f"{b.name} {json.loads(b.arguments).get('page', '')}".strip() for b in bodies if isinstance(b, FunctionCalled)
    ]
    return called, "\n".join(b.text for b in bodies if isinstance(b, AssistantMessage))


@pytest.mark.parametrize("context", [booted(), answered()], ids=["new", "known"])
async def test_the_question_of_the_tutorial(context: object) -> None:
    memory = FakeMemory(context)  # type: ignore[arg-type]
    memory.passages = PAPER
    called, said = await talk(memory, TUTORIAL)
    assert called == ["archival_memory_search 0", "archival_memory_search 1", "send_message"]
    # Whole sentences, words joined, headings gone, with file and page; in order of the pages.
    assert (
        "“Using this technique, we introduce MemGPT (MemoryGPT), a system that intelligently manages different storage"
        " tiers.” (paper.pdf, page 1)"
    ) in said
    assert said.index("page 1)") < said.index("page 3)")
    assert "Table" not in said
    assert "arXiv" not in said
    assert "coffee" not in said


async def test_it_reads_on_until_it_has_enough_and_no_further() -> None:
    memory = FakeMemory(answered())
    filler = [
        passage(f"Nothing of interest stands on page number {n} of this long and tedious book.", n) for n in range(200)
    ]
    memory.passages = [*filler[:7], *PAPER, *filler[7:]]
    called, said = await talk(memory, TUTORIAL)
    assert 3 <= len(called) - 1 <= 6
    assert "we introduce MemGPT" in said


async def test_it_stops_at_the_last_page() -> None:
    memory = FakeMemory(answered())
    memory.passages = [passage("The coffee was fine, and nobody said anything else about that day.", 1)] * 7
    called, said = await talk(memory, "What are the zebras doing?")
    assert called == ["archival_memory_search 0", "archival_memory_search 1", "send_message"]
    assert "found no sentence about zebras" in said


async def test_it_gives_up_after_a_bounded_number_of_pages() -> None:
    memory = FakeMemory(answered())
    memory.passages = [passage("The coffee was fine, and nobody said anything else about that day.", 1)] * 500
    called, _ = await talk(memory, "What are the zebras doing?")
    assert len(called) == 7


async def test_nothing_to_search() -> None:
    called, said = await talk(FakeMemory(answered()), "What is MemGPT?")
    assert called == ["archival_memory_search", "send_message"] or called[0].startswith("archival_memory_search")
    assert "attach it" in said


@pytest.mark.parametrize(("text", "answer"), [("Hello!", "Hello! I am here."), ("Thanks", "You are welcome.")])
async def test_it_greets_back_and_is_thanked(text: str, answer: str) -> None:
    assert (await talk(FakeMemory(answered()), text))[1] == answer


async def test_it_greets_at_a_login_and_says_what_it_is() -> None:
    memory = FakeMemory(booted())
    event = Message(Role.USER, envelopes.heartbeat("begin", "now"))
    feed = await run(make_loop(memory, OfflineModel()), replace(request(), messages=(event,)))
    said = [e.body.text async for e in feed.events() if isinstance(e.body, AssistantMessage)]
    assert said == [f"Hello! {ENGLISH.introduction}"]


@pytest.mark.parametrize("context", [booted(), answered()], ids=["new", "known"])
async def test_it_remembers_a_name(context: object) -> None:
    memory = FakeMemory(context)  # type: ignore[arg-type]
    _, said = await talk(memory, "Hi, my name is Ada Lovelace.")
    assert memory.context.blocks[1].value.endswith("Name: Ada Lovelace")
    assert "Ada Lovelace" in said
    _, said = await talk(memory, "What is my name?", "r2")
    assert "Ada Lovelace" in said
    _, said = await talk(memory, "Hello!", "r3")
    assert said


async def test_it_notes_what_it_is_told_to_remember() -> None:
    memory = FakeMemory(answered())
    called, said = await talk(memory, "Remember that the key lies under the blue stone.")
    assert called == ["archival_memory_insert", "send_message"]
    assert memory.notes == ["the key lies under the blue stone."]
    assert "blue stone" in said


async def test_a_full_block_is_no_reason_to_forget() -> None:
    full = answered()
    memory = FakeMemory(replace(full, blocks=tuple(replace(b, limit=len(b.value)) for b in full.blocks)))
    called, _ = await talk(memory, "I like green tea.")
    assert called == ["core_memory_append", "archival_memory_insert", "send_message"]
    assert memory.notes == ["Likes green tea"]


async def test_it_finds_what_was_said() -> None:
    memory = FakeMemory(answered())
    await talk(memory, "The meeting with Grace takes place in Lisbon, as far as they told us.")
    called, said = await talk(memory, "What did I say about the meeting?", "r2")
    assert called[0].startswith("conversation_search")
    assert "Lisbon" in said


async def test_more_about_it_goes_back_to_what_was_asked() -> None:
    memory = FakeMemory(answered())
    memory.passages = PAPER
    await talk(memory, TUTORIAL)
    _, said = await talk(memory, "Can you tell me more about it?", "r2")
    assert "MemGPT" in said


@pytest.mark.parametrize("text", ["?", "…", "🙂", "a" * 5000, "ignore </human> tags", '{"type": "login"}', "你好"])
async def test_it_always_answers(text: str) -> None:
    memory = FakeMemory(answered())
    memory.passages = PAPER
    _, said = await talk(memory, text)
    assert said


async def test_it_saves_under_pressure() -> None:
    memory = FakeMemory(answered())
    alert = Message(Role.USER, envelopes.system_alert("save", "now"))
    await talk(memory, "The meeting takes place in Lisbon, they told me yesterday.")
    feed = await run(make_loop(memory, OfflineModel()), replace(request(request_id="r2"), messages=(alert,)))
    assert [e.body.name async for e in feed.events() if isinstance(e.body, FunctionCalled)] == [
        "archival_memory_insert"
    ]
    assert "Lisbon" in memory.notes[0]


async def test_an_evicted_question_is_still_answered() -> None:
    context = replace(
        answered(),
        messages=(),
        summary=("I was asked something. Still to be answered, in the user's words: What is MemGPT?"),
    )
    memory = FakeMemory(context)
    memory.passages = PAPER
    model = OfflineModel()
    feed = await run(
        make_loop(memory, model), replace(request(), messages=(Message(Role.USER, envelopes.heartbeat("x", "t")),))
    )
    called = [e.body.name async for e in feed.events() if isinstance(e.body, FunctionCalled)]
    assert called[0] == "archival_memory_search"


async def test_it_summarizes_in_fewer_than_100_words() -> None:
    text = (
        "Your former summary: "
        + "old " * 200
        + "\n\n"
        + "\n\n".join(f"user: {user('new ' * 80).text}" for _ in range(5))
    )

    class Nowhere:
        def delta(self, kind: DeltaKind, text: str) -> None: ...

        def restart(self, reason: str) -> None: ...

    answer = await OfflineModel().complete(ModelRequest([Message(Role.USER, text)]), Nowhere())
    assert len(answer.text.split()) < 100
    assert "old" in answer.text
    assert "new" in answer.text


# Reading.


def test_key_words() -> None:
    assert quoting.key_words(TUTORIAL) == ["MemGPT"]
    assert quoting.key_words("How does the queue manager evict messages?") == ["queue", "manager", "evict", "messages"]
    assert quoting.key_words("What's the paper's topic?") == ["topic"]


def test_sentences_are_whole() -> None:
    text = (
        "Abstract\nLarge models are con-\nstrained, cf. Smith et al. (2020), by J. Doe and others. 2.1."
        " Method\nWe test them"
    )
    assert quoting.sentences(text) == ["Large models are constrained, cf. Smith et al. (2020), by J. Doe and others."]


def test_the_best_do_not_repeat_themselves() -> None:
    quotes = [
        quoting.Quote(f"MemGPT is a system for memory, they say{mark}", "p", (0, n)) for n, mark in enumerate(".!")
    ]
    assert len(quoting.best(quotes, ["MemGPT"], "MemGPT", 5)) == 1
    assert quoting.best([], ["MemGPT"], "", 5) == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("My name is Anna and I live in Berlin", ["Name: Anna", "Lives in Berlin"]),
        ("Hi, my name is anna", ["Name: anna"]),
        ("My name is Ada Lovelace.", ["Name: Ada Lovelace"]),
        ("I'm called Jean-Luc Picard, and I like tea, earl grey", ["Name: Jean-Luc Picard", "Likes tea, earl grey"]),
        ("I really love jazz and I work as a nurse.", ["Likes jazz", "Works as a nurse"]),
        ("我叫安娜，我住在柏林。", ["Name: 安娜", "住在柏林"]),
        ("你好，我叫小明", ["Name: 小明"]),
        ("我喜欢绿茶", ["喜欢绿茶"]),
        ("我叫王芳，住在北京", ["Name: 王芳", "住在北京"]),
        ("我叫李雷，现在住在上海，喜欢跑步，在银行工作。", ["Name: 李雷", "住在上海", "喜欢跑步", "在银行工作"]),
        ("我妈妈叫李梅，住在北京", []),
        ("我叫小明，他住在广州", ["Name: 小明"]),
        ("I'm Anna.", ["Name: Anna"]),
        ("Hi, I’m Anna-Lena, and I live in Brest.", ["Name: Anna-Lena", "Lives in Brest"]),
        ("I am Chad, a sailor from Brest", ["Name: Chad"]),
        ("My name is Sean O'Brien, nice to meet you", ["Name: Sean O'Brien"]),
        ("My name is Ludwig van Beethoven", ["Name: Ludwig van Beethoven"]),
        ("My name is María de la Cruz and I like tea", ["Name: María de la Cruz", "Likes tea"]),
        ("My name is Dr. Émilie Duval", ["Name: Dr. Émilie Duval"]),
        ("Call me Al.", ["Name: Al"]),
        ("call me ishmael", ["Name: ishmael"]),
        ("你好，我是王芳。", ["Name: 王芳"]),
        ("我是欧阳", []),
        ("叫我小王就好", ["Name: 小王"]),
        ("我是学生", []),
        ("我是高中生", []),
        ("我是江苏人", []),
        ("I'm hungry.", []),
        ("I'm German.", []),
        ("I'm Not sure", []),
        ("I'm Japanese and you?", []),
        ("Call me later", []),
        ("Call me when you are done.", []),
        ("My name is not Anna", []),
        ("Is my name Anna?", []),
        ("我叫什么名字？", []),
        ("The paper calls me in the abstract", []),
    ],
)
def test_facts_about_the_user(text: str, lines: list[str]) -> None:
    assert facts.about_the_user(text) == lines


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("Remember that the key lies under the stone", "the key lies under the stone"),
        ("please note: the code is 42", "the code is 42"),
        ("记住钥匙在石头下面", "钥匙在石头下面"),
        ("请记住：密码是42", "密码是42"),
        ("帮我记一下，明天开会", "明天开会"),
        ("Could you remember that I am allergic to nuts?", "I am allergic to nuts"),
        ("I want you to remember that the code is 42", "the code is 42"),
        ("请你记得我对花生过敏", "我对花生过敏"),
        ("Do you remember our trip?", ""),
        ("Remember when we talked about bees", ""),
        ("Remember me", ""),
        ("记得我吗", ""),
    ],
)
def test_what_is_to_be_remembered(text: str, fact: str) -> None:
    assert facts.to_remember(text) == fact


async def test_a_name_is_kept_and_used() -> None:
    memory = FakeMemory(answered())
    _, said = await talk(memory, "My name is Anna and I live in Berlin")
    assert memory.context.blocks[1].value.endswith("Name: Anna\nLives in Berlin")
    assert "Name: Anna; Lives in Berlin" in said


async def test_it_remembers_in_chinese_and_answers_in_it() -> None:
    memory = FakeMemory(answered())
    called, said = await talk(memory, "请记住：钥匙在石头下面")
    assert called == ["archival_memory_insert", "send_message"]
    assert memory.notes == ["钥匙在石头下面"]
    assert said == "好的，我记住了：钥匙在石头下面"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("我住在哪里？", "我记下的关于你的内容：住在北京"),
        ("我喜欢什么？", "我记下的关于你的内容：喜欢绿茶"),
        ("我在哪里工作？", "我的归档记忆里没有关于工作的内容"),
        ("我的名字是什么？", "我记下的关于你的内容：Name: 王芳"),
        ("Where do I live?", "This is what I noted about you: 住在北京"),
        ("谢谢", "不客气。"),
        ("你好", "王芳，你好！我在。"),
        ("你好，你是谁？", CHINESE.introduction),
        ("今天天气很好。", CHINESE.read),
        ("我今天去公园了", CHINESE.read),
        ("蜜蜂", "我的归档记忆里没有关于蜜蜂的内容，也没有附加任何数据源"),
    ],
)
async def test_it_answers_the_question_in_its_language(text: str, answer: str) -> None:
    memory = FakeMemory(answered())
    await talk(memory, "我叫王芳，住在北京，喜欢绿茶。")
    assert (await talk(memory, text, "r2"))[1].startswith(answer)


async def test_it_finds_what_was_said_in_chinese() -> None:
    memory = FakeMemory(answered())
    await talk(memory, "下周三我们在里斯本和格蕾丝见面。")
    _, said = await talk(memory, "你还记得我说过什么吗？", "r2")
    assert said == f"在我们的对话里，你说过“下周三我们在里斯本和格蕾丝见面。”（{NOW:%Y-%m-%d}）。"


async def test_what_was_not_told_is_not_made_up() -> None:
    memory = FakeMemory(answered())
    await talk(memory, "我叫王芳。")
    assert (await talk(memory, "我住在哪里？", "r2"))[1] == "你还没有告诉过我。"


async def test_it_finds_chinese_words_in_another_order() -> None:
    memory = FakeMemory(answered())
    memory.passages = [
        PassageHit("队列的管理器会把最旧的消息淘汰到召回存储。", NOW, Citation("s", "f.txt", 3)),
        PassageHit("函数由模型调用，结果写回上下文。", NOW, Citation("s", "f.txt", 4)),
    ]
    _, said = await talk(memory, "队列管理器什么时候淘汰消息？")
    head, quoted = said.split("\n\n")
    assert head == "关于队列管理器 淘汰消息，我找到了这些原文："
    assert quoted == "“队列的管理器会把最旧的消息淘汰到召回存储。” (f.txt, 第 3 页)"


async def test_not_attached_is_told_from_attached_and_silent() -> None:
    _, said = await talk(FakeMemory(answered()), "What is Milvus?")
    assert "no source is attached" in said
    assert "memgpt load" in said
    attached = FakeMemory(answered(attachments=(Attachment("paper", 74),)))
    _, said = await talk(attached, "What is Milvus?")
    assert "the attached paper (74), holds nothing about Milvus" in said


async def test_it_does_not_answer_another_question_than_the_one_asked() -> None:
    memory = FakeMemory(answered())
    memory.passages = [
        PassageHit("Zebras live in large herds on the open plains of Africa.", NOW, Citation("s", "f.txt", 1))
    ]
    _, said = await talk(memory, "Where do zebras sleep?")
    assert said.startswith("I found nothing about sleep. This is what I found about zebras")
    await talk(memory, "Tell me about zebras.", "r2")
    _, said = await talk(memory, "And you?", "r3")
    assert "herds" not in said


def test_key_words_in_chinese() -> None:
    assert quoting.key_words("请问MemGPT是什么？") == ["MemGPT"]
    assert quoting.key_words("队列管理器如何淘汰消息？") == ["队列管理器", "淘汰消息"]
