"""The scripted dialogues, and how they are judged."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from memgpt_agent.context_window import guidance
from memgpt_agent.loop import final_reply

from benchmarks.dialogues import command, report
from benchmarks.dialogues.checks import judge, leaked, pages_cited, searched_first
from benchmarks.dialogues.contenders import BareContender, Held, TurnResult
from benchmarks.dialogues.recorder import Recorder, new_tokens, prompt_text
from benchmarks.dialogues.script import Dialogue, ScriptedTurn, read, sample
from tests.support.scripted_llm import ScriptedLLM, say

NOTE = '{"type": "system_status", "about": "hidden"}'


def dialogue(*turns: ScriptedTurn, language: str = "en", document: bool = False) -> Dialogue:
    return Dialogue("facts-1", language, "tune", document, 0, turns)


def held(*answers: str, calls: tuple[str, ...] = (), blocks: dict[str, str] | None = None) -> Held:
    turns = [TurnResult([answer] if answer else [], [*calls, "send_message"]) for answer in answers]
    return Held("facts-1", "agent", blocks or {}, turns, document=True)


def failed(script: Dialogue, what: Held) -> set[str]:
    return {check.metric for check in judge(script, what) if not check.passed}


def test_the_dialogues_are_many_and_of_every_kind():
    dialogues = read()
    assert len(dialogues) == len({one.name for one in dialogues}) == 40
    assert all(4 <= len(one.turns) <= 12 for one in dialogues)
    splits = Counter(one.split for one in dialogues)
    assert splits["final"] >= 13
    assert splits["tune"] >= 26
    for split in splits:
        chosen = [one for one in dialogues if one.split == split]
        assert {one.kind for one in chosen} == {one.kind for one in dialogues}
        assert {one.language for one in chosen} == {"en", "zh"}


def test_a_sample_has_every_kind_before_a_second_one_of_any():
    kinds = [one.kind for one in sample(read(), "tune", 6)]
    assert len(set(kinds)) == 6


def test_an_unknown_field_is_refused(tmp_path: Path):
    (tmp_path / "x.json").write_text('[{"name": "x-1", "language": "en", "split": "tune", "says": 1, "turns": []}]')
    with pytest.raises(ValueError, match="'says'"):
        read(tmp_path)


def test_facts_are_judged_by_blocks_and_answers():
    script = dialogue(ScriptedTurn("I am Ada.", tells=("Ada",)), ScriptedTurn("Who am I?", recalls=("Ada",)))
    assert not failed(script, held("Hi Ada!", "You are Ada.", blocks={"human": "Name: Ada"}))
    assert failed(script, held("Hi Ada!", "You are Ada.")) == {"told fact is in a block"}
    stored = held("Hi!", "No idea who.", blocks={"human": "Name: Ada"})
    assert failed(script, stored) == {"fact recalled in the answer"}
    lost = failed(script, held("Hi!", "You are Bob."))
    assert lost == {"told fact is in a block", "fact recalled in the answer", "fact known (in a block or answered)"}


def test_a_corrected_fact_must_not_be_told_again():
    script = dialogue(ScriptedTurn("Where do I live?", recalls=("York",), stale=("Leeds",)))
    assert not failed(script, held("In York."))
    assert "fact recalled in the answer" in failed(script, held("In Leeds and York."))


def test_paper_questions_need_a_search_before_the_answer_and_the_right_page():
    script = dialogue(ScriptedTurn("How many?", pages=frozenset({8}), answers=("140",)), document=True)
    assert not failed(script, held("140 pairs (page 8).", calls=("archival_memory_search",)))
    assert failed(script, held("140 pairs (page 8).")) == {"paper: searched first"}
    wrong = failed(script, held("141 (page 7)", calls=("archival_memory_search",)))
    assert wrong == {"paper: cites a page that holds it", "paper: right answer"}
    assert not searched_first(TurnResult(calls=["send_message", "archival_memory_search"]))


@pytest.mark.parametrize("answer", ["I don't know.", "You have not told me.", "There is no information on it.",
                                    "我不知道。", "您没有告诉我。"])  # fmt: skip
def test_admitting_is_recognized(answer: str):
    language = "en" if answer.isascii() else "zh"
    assert not failed(dialogue(ScriptedTurn("When?", unknown=True), language=language), held(answer))


def test_inventing_is_recognized():
    assert "unknown: not invented" in failed(dialogue(ScriptedTurn("When?", unknown=True)), held("On 3 May 1970."))


@pytest.mark.parametrize(
    ("answer", "pages"),
    [
        ("See page 4.", {4}),
        ("(pages 4, 5 and 12)", {4, 5, 12}),
        ("p. 3", {3}),
        ("见第8页", {8}),
        ("第 2 页和第 3 页", {2, 3}),
        ("70% of 128 tokens", set()),
    ],
)
def test_cited_pages_are_read(answer: str, pages: set[int]):
    assert pages_cited(answer) == pages


def test_leaks_are_found_whatever_they_come_from():
    assert leaked(f"OK. {guidance._AFTER_SEARCH}")
    assert leaked("I will call archival_memory_search now.")
    assert leaked('{"type": "user_message"}')
    assert not leaked("Your name is Ada, and you live in Bergen; I will remember that for you.")


def test_silence_the_wrong_language_and_words_of_the_loop_are_told_apart():
    script = dialogue(ScriptedTurn("Hi"))
    assert "user gets words" in failed(script, held(""))
    assert failed(script, held("你好")) == {"language of the user"}
    assert failed(script, held(final_reply.LAST_WORDS["en", False])) == {"words are the model's own"}


def test_new_tokens_are_those_after_the_common_beginning():
    first = [{"role": "system", "content": "Be kind. " * 40}, {"role": "user", "content": f"Hello\n{NOTE}"}]
    second = [first[0], {"role": "user", "content": "Hello"}, {"role": "user", "content": f"And now? {NOTE}"}]
    before = prompt_text(first)
    new = new_tokens(before, prompt_text(second), 1000)
    assert new is not None
    assert 0 < new < 500
    assert new_tokens("", before, 1000) is None
    changed = [{"role": "system", "content": "Be rude."}, *second[1:]]
    assert new_tokens(before, prompt_text(changed), 1000) is None


def test_the_bare_model_is_asked_through_the_recorder_within_its_window():
    script = dialogue(*(ScriptedTurn(f"{number}: " + "long story " * 200) for number in range(4)))
    with ScriptedLLM([say(f"Answer {number}.") for number in range(4)]) as model, Recorder(model.base_url) as recorder:
        what = BareContender(recorder, model.model, "", 1200, "page " * 9999).hold(script)
        asked = model.requests
    assert [turn.answers for turn in what.turns] == [[f"Answer {number}."] for number in range(4)]
    assert not what.document, "the paper does not fit"
    assert all(len(turn.exchanges) == 1 and turn.exchanges[0]["prompt"] > 0 for turn in what.turns)
    assert "3: long" in str(asked[-1].messages)
    assert "0: long" not in str(asked[-1].messages)


def test_the_recorder_passes_refusals_on():
    with ScriptedLLM() as model, Recorder(model.base_url) as recorder:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
        request = urllib.request.Request(f"{recorder.base_url}/nowhere", body, {"content-type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request)
        error.value.close()
        assert error.value.code == 404
        assert recorder.take() == []


def test_results_survive_a_line_that_was_cut_off(tmp_path: Path):
    path = tmp_path / "results.jsonl"
    one = held("Hi.")
    command._keep(path, one)
    with path.open("a") as file:
        file.write('{"dialogue": "fac')
    assert list(command.results(path)) == [one]
    command._keep(path, one)
    assert list(command.results(path)) == [one, one]


def test_the_report_counts_and_names_failures():
    script = dialogue(ScriptedTurn("Who am I?", recalls=("Ada",)))
    what = held("You are Bob.")
    what.turns[0].exchanges = [{"prompt": 100, "cached": 80, "completion": 9, "seconds": 1.0, "new": 20}]
    table = report.table([script], [what]).text()
    assert "fact recalled in the answer (0/1)" in table
    assert "prompt tokens read per new one (1 requests)" in table
    assert "met" in table
    found = report.failures([script], [what])
    assert {"fact recalled in the answer", "fact known (in a block or answered)"} == {one["failed"] for one in found}
