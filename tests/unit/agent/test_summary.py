"""What becomes of messages that leave the window and that the model, or a filter, does not summarize."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from memgpt_agent.context_window.window import ContextWindow
from memgpt_agent.domain import Context, TurnState
from memgpt_agent.loop import summary
from memgpt_agent.models.base import BadAnswerError, Completion, FilteredError, ModelRequest
from memgpt_runtime import errors, reasons
from memgpt_runtime.tokens import count_tokens

from tests.unit.agent.fakes import NOW, FakeMemory, ScriptedModel, answered, make_loop, request, run, say, user

WINDOW = ContextWindow(8192, 1024, 0.75, 0.75, count_tokens)
POISON = "pestilence"


def talk(count: int, poisoned: Sequence[int] = (), before: str = "") -> Context:
    """A context of numbered messages, one an hour, some of which a filter refuses."""
    messages = [user(f"item{n} {POISON if n in poisoned else ''}") for n in range(count + 3)]
    placed = [replace(m, sequence=n, created_at=NOW + timedelta(hours=n)) for n, m in enumerate(messages)]
    return replace(answered(), messages=tuple(placed), summary=before, recall_count=len(placed))


def items(request: ModelRequest) -> Completion:
    """A summary that says what it is a summary of."""
    words = request.messages[1].text.replace('"', " ").split()
    return Completion(" ".join(dict.fromkeys(w for w in words if w.startswith(("item", "Ada")))))


def filtered(request: ModelRequest) -> Completion:
    """The same, at an endpoint with a filter."""
    if POISON in request.messages[1].text:
        raise FilteredError("rejected")
    return items(request)


def raising(error: Exception) -> Callable[[ModelRequest], Completion]:
    def summarize(request: ModelRequest) -> Completion:
        raise error

    return summarize


async def evicted(context: Context, model: ScriptedModel, *, always: bool = True) -> str:
    eviction, _ = await summary.evict(context, len(context.messages) - 3, model, WINDOW, always=always)
    assert eviction.before_sequence == context.messages[-3].sequence
    return eviction.summary


async def test_all_but_the_refused_messages_are_summarized() -> None:
    model = ScriptedModel(summarize=filtered)
    text = await evicted(talk(16, [5], before="Ada likes tea."), model)
    known = [n for n in range(16) if f"item{n}" in text.split()]
    assert known == [n for n in range(16) if n not in (4, 5)]
    assert text.startswith("Ada ")
    assert text.endswith(
        "[2 messages from 2024-05-01 to 2024-05-01 could not be summarized; conversation_search finds them]"
    )
    assert len(model.requests) <= 7


async def test_an_earlier_summary_that_is_refused_is_kept_as_it_was() -> None:
    text = await evicted(talk(16, before=f"Ada feared {POISON}."), ScriptedModel(summarize=filtered))
    assert text.startswith(f"Ada feared {POISON}. item2 item3")
    assert "[2 messages" in text


async def test_what_is_refused_as_a_whole_leaves_a_fact_and_the_earlier_summary() -> None:
    model = ScriptedModel(summarize=raising(FilteredError("rejected")))
    context = talk(30, before="Ada likes tea.")
    text = await evicted(context, model)
    assert text == (
        "Ada likes tea. [30 messages from 2024-05-01 to 2024-05-02 could not be summarized; conversation_search finds"
        " them]"
    )
    # The next time it is one fact about all of them, which the model does not have to repeat.
    days = [replace(message, created_at=message.created_at + timedelta(days=9)) for message in context.messages]
    later = replace(context, messages=tuple(days), summary=text)
    assert (await evicted(later, model)).startswith("Ada likes tea. [60 messages from 2024-05-01 to 2024-05-11 could")
    model = ScriptedModel(summarize=items)
    assert (await evicted(replace(talk(3), summary=text), model)).startswith("Ada item0 item1 item2 [30 messages from")
    assert "could not be summarized" not in model.requests[0].messages[1].text


@pytest.mark.parametrize("count", range(1, 70, 3))
async def test_few_requests_find_out_that_all_is_refused(count: int) -> None:
    model = ScriptedModel(summarize=raising(FilteredError("rejected")))
    await evicted(talk(count), model)
    assert len(model.requests) <= 15


async def test_a_model_that_writes_nothing_is_not_asked_in_parts() -> None:
    for problem in (raising(BadAnswerError("nothing")), lambda request: Completion("  ")):
        model = ScriptedModel(summarize=problem)
        assert (await evicted(talk(9, before="Ada likes tea."), model)).startswith("Ada likes tea. [9 messages from")
        assert len(model.requests) == 1


@pytest.mark.parametrize(
    "words",
    [
        "I'm sorry, but I can't assist with that request.",
        "Sorry, I can’t help with that.",
        "I am sorry, I am unable to do so.",
        "I cannot provide a summary of this conversation.",
        "As an AI language model, I cannot summarize this.",
        "Unfortunately, I won't do that.",
        "抱歉，我无法协助处理这个请求。",
        "对不起，我不能这样做。",
        "我无法提供该内容的摘要。",
    ],
)
async def test_a_refusal_in_words_is_no_summary(words: str) -> None:
    model = ScriptedModel(
        summarize=lambda request: Completion(words) if POISON in request.messages[1].text else items(request)
    )
    text = await evicted(talk(8, [0]), model)
    assert text.startswith("item1 item2")
    assert words not in text


@pytest.mark.parametrize(
    "words",
    [
        "I am talking with Ada, who is sorry that she cannot come on Monday.",
        "I promised Ada to look for trains; I can't book them.",
        "Ada said: I'm sorry, I can't come. I wished her well.",
        "我告诉 Ada 我不能订票，她说抱歉。",
    ],
)
async def test_a_summary_that_speaks_of_refusing_is_one(words: str) -> None:
    assert await evicted(talk(8), ScriptedModel(summarize=lambda request: Completion(words))) == words


def unusable() -> errors.ServiceError:
    return reasons.model_unusable("the endpoint refuses the request (HTTP 400)", model="m")


async def test_a_refusal_without_a_known_reason_is_one_of_the_content_if_others_pass() -> None:
    def summarize(request: ModelRequest) -> Completion:
        if POISON in request.messages[1].text:
            raise unusable()
        return items(request)

    assert (await evicted(talk(8, [0]), ScriptedModel(summarize=summarize))).startswith("item1 item2")


def crashed() -> errors.ServiceError:
    return reasons.model_unavailable("the endpoint is out of order (HTTP 500)", model="m", status=500)


async def test_messages_that_crash_the_endpoint_are_left_out_of_the_summary() -> None:
    def summarize(request: ModelRequest) -> Completion:
        if POISON in request.messages[1].text:
            raise crashed()
        return items(request)

    text = await evicted(talk(8, [4]), ScriptedModel(summarize=summarize))
    assert text.startswith("item0 item1 item2 item3 item5 item6 item7 [1 message from")


@pytest.mark.parametrize("problem", [unusable(), crashed()])
async def test_an_endpoint_that_refuses_everything_evicts_nothing(problem: errors.ServiceError) -> None:
    model = ScriptedModel(summarize=raising(problem))
    with pytest.raises(errors.ServiceError, match=r"HTTP [45]00"):
        await evicted(talk(8), model)
    assert len(model.requests) == 2


@pytest.mark.parametrize("problem", [FilteredError("rejected"), BadAnswerError("nothing")])
async def test_a_turn_goes_on_without_a_summary(problem: Exception) -> None:
    memory = FakeMemory(answered())
    memory._store([user("word " * 60 + str(n)) for n in range(40)])
    memory.context = replace(memory.context, summary="Ada likes tea.")
    model = ScriptedModel(say("Done."), repeat=True, summarize=raising(problem))
    loop = make_loop(memory, model, context_window=4096, max_answer_tokens=400)
    for n in range(12):
        await run(loop, request(f"Hello {n}? " + "word " * 60, f"r{n}"))
    assert {turn.state for turn in memory.turns.values()} == {TurnState.COMPLETED}
    assert memory.context.summary.startswith("Ada likes tea. [")
    assert "could not be summarized" in memory.context.summary
    assert [message.sequence for message in memory.history] == list(range(len(memory.history)))
    assert len(memory.context.messages) < len(memory.history)


async def test_a_summary_that_was_asked_for_fails_if_there_is_none() -> None:
    memory = FakeMemory(answered())
    memory._store([user(f"word {n}") for n in range(10)])
    loop = make_loop(memory, ScriptedModel(summarize=raising(FilteredError("the filter rejected it"))))
    with pytest.raises(errors.FailedPrecondition, match="the filter rejected it"):
        await loop.summarize("agent_1", "s1")
    assert memory.context.summary == ""
