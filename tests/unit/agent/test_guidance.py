"""What small models are told to do next."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memgpt_agent import envelopes
from memgpt_agent.context_window import prompt
from memgpt_agent.context_window.guidance import learns, next_step, withheld
from memgpt_agent.domain import Attachment, Context, FunctionCall, Message, Role
from memgpt_agent.functions import BUILT_IN
from memgpt_agent.heartbeat_plan import HeartbeatPlan

from tests.unit.agent.fakes import answered, say, user

RECALLS = {"conversation_search", "conversation_search_date"}


def after(*messages: Message, attached: bool = False, summary: str = "") -> str:
    context = answered(attachments=(Attachment("paper", 71),) if attached else ())
    return next_step(replace(context, messages=messages, summary=summary, archival_count=71 * attached))


def searched(name: str) -> tuple[Message, Message]:
    call = FunctionCall("c", name, '{"query": "x"}')
    result = Message(Role.TOOL, '{"status": "OK", "message": "Showing…"}', call_id="c")
    return Message(Role.ASSISTANT, "Look.", function_call=call), result


def test_the_question_is_repeated_after_results() -> None:
    told = after(user("Who wrote it?"), *searched("conversation_search"))
    assert "“Who wrote it?”" in told
    assert "only by archival_memory_search" not in told
    told = after(user("Who wrote it?"), *searched("conversation_search"), attached=True)
    assert "only by archival_memory_search" in told
    assert "only by" not in after(user("Who wrote it?"), *searched("archival_memory_search"))


@pytest.mark.parametrize("question", ["What is it about?", "它讲的是什么？", "你看过那篇论文吗"])
def test_a_question_with_sources_attached_points_to_them(question: str) -> None:
    assert "archival_memory_search" in after(user(question), attached=True)
    assert "archival_memory_search" not in after(user(question))


@pytest.mark.parametrize("question", ["What is my name?", "我叫什么名字？", "Where do I live?"])
def test_a_question_about_the_user_is_not_looked_up_in_documents(question: str) -> None:
    assert "archival_memory_search" not in after(user(question), attached=True)


def test_until_it_has_searched_a_question_about_documents_can_only_be_looked_up() -> None:
    context = replace(answered(attachments=(Attachment("paper", 71),)), archival_count=71)
    asked = replace(context, messages=(user("Which pages did my supervisor mean in the paper?"),))
    assert {f.name for f in BUILT_IN} - withheld(asked) == {"archival_memory_search"}
    again = replace(asked, messages=(*asked.messages, *searched("archival_memory_search")))
    assert "send_message" not in withheld(again)
    personal = replace(context, messages=(user("What is my name?"),))
    assert "send_message" not in withheld(personal)
    empty = replace(asked, archival_count=0)
    assert "send_message" not in withheld(empty)


@pytest.mark.parametrize("attached", [True, False])
def test_a_fact_is_to_be_saved_whatever_is_attached(attached: bool) -> None:
    assert "new_about_user" in after(user("My name is Anna."), attached=attached)


def test_nothing_is_added_after_a_reply_or_without_a_question() -> None:
    spoken = Message(Role.ASSISTANT, "", function_call=say("Hi.").call)
    assert after(user("Hi"), spoken) == ""
    assert after(Message(Role.USER, envelopes.heartbeat("go on", "now"))) == ""
    assert next_step(Context(answered().agent)) == ""


def test_a_question_that_left_the_window_is_still_repeated() -> None:
    summary = f"We talked.{prompt.STILL_OPEN}Who wrote it?"
    assert "“Who wrote it?”" in after(*searched("conversation_search"), summary=summary)


def test_a_long_question_is_cut() -> None:
    told = after(user("why " * 500 + "?"), *searched("archival_memory_search"))
    assert len(told) < 700


def test_an_earlier_conversation_is_searched_only_if_something_left_the_window() -> None:
    assert "conversation_search" not in after(user("Who am I?"))
    assert "conversation_search" in after(user("Who am I?"), summary="We talked.")


def offered(*messages: Message, summary: str = "We talked.", archival: int = 3) -> set[str]:
    context = replace(answered(), messages=messages, summary=summary, archival_count=archival)
    known = {"archival_memory_search", "core_memory_append", "send_message", *RECALLS}
    return known - withheld(context)


def test_a_search_that_can_find_nothing_new_is_withheld() -> None:
    assert offered(user("Hi")) >= {"archival_memory_search", *RECALLS}
    assert not offered(user("Hi"), summary="") & RECALLS
    assert "archival_memory_search" not in offered(user("Hi"), archival=0)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Tell me a fact about owls.", False),
        ("Please note that owls are birds.", True),
        ("请记住这件事。", True),
        ("Put this into archival memory: owls are birds.", True),
        ("I want this saved: owls are birds.", True),
        ("把这个归档：猫头鹰是鸟。", True),
        ("x" * 400, True),
    ],
)
def test_notes_are_written_only_of_what_the_user_wants_kept(text: str, kept: bool) -> None:
    assert ("archival_memory_insert" not in withheld(replace(answered(), messages=(user(text),)))) is kept
    alert = Message(Role.USER, envelopes.system_alert(prompt.MEMORY_PRESSURE_ALERT, "now"))
    spoken = Message(Role.ASSISTANT, "", function_call=say("Hi.").call)
    for messages in ((user(text), spoken, alert), (user(text), alert)):
        assert "archival_memory_insert" not in withheld(replace(answered(), messages=messages))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Tell me one fact about owls.", False),
        ("Please give me a name for a cat.", False),
        ("给我推荐一种适合晚上喝的茶。", False),
        ("My name is Anna.", True),
        ("The meeting was moved to Friday.", True),
        ("Write down that I like tea.", True),
        ("请记住我叫王芳。", True),
    ],
)
def test_what_asks_for_something_is_not_saved_as_a_fact(text: str, kept: bool) -> None:
    assert learns(replace(answered(), messages=(user(text),))) is kept
    assert ("new_about_user" in after(user(text))) is kept


def test_a_request_about_a_document_is_looked_up() -> None:
    assert "archival_memory_search" in after(user("Tell me about the paper."), attached=True)
    assert "archival_memory_search" not in after(user("Tell me about owls."), attached=True)


def test_pausing_is_offered_only_if_there_is_something_to_pause() -> None:
    assert "pause_heartbeats" in withheld(answered())
    assert "pause_heartbeats" not in withheld(replace(answered(), plan=HeartbeatPlan(self_scheduled=True)))


def made(name: str, arguments: str) -> Message:
    return Message(Role.ASSISTANT, "", function_call=FunctionCall("c", name, arguments))


@pytest.mark.parametrize(
    ("pages", "again"), [((0,), True), ((0, 1), True), ((0, 0), False), ((0, 1, 0), False), ((0, 1, 2, 3), True)]
)
def test_a_call_that_was_repeated_in_the_turn_is_withheld(pages: tuple[int, ...], again: bool) -> None:
    calls = [made("archival_memory_search", f'{{"query": "x", "page": {page}}}') for page in pages]
    assert ("archival_memory_search" in offered(user("What?"), *calls)) is again
    assert "archival_memory_search" in offered(user("What?"), *calls, user("And?")), "a new turn may call it"


def test_searches_of_the_conversation_and_writes_are_bounded_in_a_turn() -> None:
    recalls = [made("conversation_search", f'{{"query": "{n}"}}') for n in range(3)]
    assert offered(user("What?"), *recalls[:2]) >= RECALLS
    assert not offered(user("What?"), *recalls) & RECALLS
    writes = [made("core_memory_append", f'{{"content": "{n}"}}') for n in range(3)]
    heartbeat = Message(Role.USER, envelopes.heartbeat(prompt.HEARTBEAT_REQUESTED, "now"))
    assert "core_memory_append" in offered(user("I am Ada."), *writes[:2], heartbeat)
    assert "core_memory_append" not in offered(user("I am Ada."), *writes[:2], heartbeat, writes[2])


@pytest.mark.parametrize("reason", [prompt.HEARTBEAT_MANUAL, prompt.HEARTBEAT_TIMED.format(reason="tidy up")])
def test_a_heartbeat_that_begins_a_turn_lets_the_agent_call_again(reason: str) -> None:
    heartbeat = Message(Role.USER, envelopes.heartbeat(reason, "now"))
    calls = [made("conversation_search", '{"query": "x"}')] * 2 + [made("core_memory_append", "{}")] * 3
    assert not offered(heartbeat, *calls) & {"conversation_search", "core_memory_append"}
    assert offered(heartbeat, *calls, heartbeat) >= {*RECALLS, "core_memory_append"}


def test_speaking_and_remote_tools_are_never_withheld() -> None:
    spoken = [made("send_message", '{"message": "Hi."}')] * 3
    rolled = [made("roll", "{}")] * 3
    context = replace(answered(), messages=(user("Roll three dice."), *rolled, *spoken))
    assert not {"send_message", "roll"} & withheld(context)


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("Tell me one fact about owls.", False),
        ("给我讲一个关于猫头鹰的事实。", False),
        ("Name's Paul, from Leeds.", True),
        ("Suggest a dinner; I'm vegetarian.", True),
        ("Recommend a book. My favorite author is Le Guin.", True),
        ("说真的，我叫李明。", True),
        ("Name is Paul.", True),
        ("Suggest a gift for my wife, her name is Ann.", True),
        ("Give me short answers from now on.", True),
        ("给我简短的回答，以后都这样。", True),
        ("Which city do I live in, and what is my job?", False),
        ("我住在哪里？", False),
        ("I'm Anna. What can you do for me?", True),
        ("So, what do we do today? I have a cold.", True),
        ("Can you remember that I am allergic to nuts?", True),
        ("Could you please note that my name is Anna?", True),
        ("Will you call me Bob from now on?", True),
        ("Do me a favor and remember that I hate cilantro.", True),
        ("你能记住我对花生过敏吗？", True),
        ("May 5 is my birthday.", True),
        ("我每天喝好几杯咖啡。", True),
        ("Can you remember my name?", True),
    ],
)
def test_facts_can_be_saved_beside_a_request(told: str, kept: bool) -> None:
    assert learns(replace(answered(), messages=(user(told),))) is kept


@pytest.mark.parametrize(
    ("text", "corrects"),
    [
        ("My name is Anna.", False),
        ("Please forget my phone number.", True),
        ("Delete my address from your memory.", True),
        ("I no longer live in Berlin, I moved to Paris.", True),
        ("My name isn't Ann, it's Anna.", True),
        ("把我的电话号码忘了吧。", True),
        ("Tell me one fact about owls.", False),
    ],
)
def test_what_is_not_true_any_more_can_be_replaced(text: str, corrects: bool) -> None:
    context = replace(answered(), messages=(user(text),))
    assert ("core_memory_replace" not in withheld(context)) is corrects
    assert ("core_memory_replace" in next_step(context)) is corrects


def test_the_language_of_the_answer_is_named() -> None:
    assert "in Chinese" in after(user("我叫小雨，住在成都。"))
    assert "用户" in after(user("我叫小雨，住在成都。"))
    assert "in Chinese" in after(user("我住在哪里？"))
    told = after(user("My name is {Anna}."))
    assert "in the user's language" in told
    assert '"The user"' in told


def test_facts_are_saved_in_their_place_or_by_a_call() -> None:
    told = replace(answered(), messages=(user("My name is Anna."),))
    assert "core_memory_append" in withheld(told), "they have a place of their own"
    nowhere = replace(told, blocks=tuple(block for block in told.blocks if block.label != "human"))
    read_only = replace(told, blocks=tuple(replace(block, read_only=True) for block in told.blocks))
    for context in (nowhere, read_only):
        assert not learns(context)
        assert "core_memory_append" not in withheld(context)
        assert "new_about_user" not in next_step(context)
    called = replace(told, messages=(*told.messages, *searched("conversation_search")))
    assert not learns(called), "only the first answer to a message has the place"
    assert "core_memory_append" not in withheld(called)
