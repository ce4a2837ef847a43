"""Judges what a contender did in a dialogue, by effects alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from memgpt_agent import profiles
from memgpt_agent.context_window import guidance, note, prompt
from memgpt_agent.functions import BUILT_IN_BY_NAME
from memgpt_agent.loop.final_reply import LAST_WORDS, REJECTED
from memgpt_agent.profiles import ProfileKind

from benchmarks.dialogues.contenders import Held, TurnResult
from benchmarks.dialogues.script import Dialogue, ScriptedTurn, matches

_HAN = re.compile(r"[\u3400-\u9fff]")
_PAGES = re.compile(
    r"(?:\bpages?|\bpp?\.|第|页码?)\s*[:：]?\s*(\d{1,2}(?:\s*(?:,|and|&|to|-|–|和|、|至)\s*\d{1,2})*)", re.IGNORECASE
)
_ADMITS = re.compile(
    r"\b(?:do|does|did|could|can|was|were|have|has|is|are)(?:n['’]t| not)\b|\bcannot\b|\bunable\b|\bunknown\b"
    r"|\bno (?:\w+ )?(?:information|record|mention|answer|details?|data|results?|reference|idea)\b"
    r"|\bnot (?:\w+ )?(?:find|found|know|sure|mention|aware|specif|provid|available|recorded|stored|given|told|state)"
    r"|\bnever (?:told|mentioned|said)\b|\bnothing\b"
    r"|没有|没能|未|不知道|不清楚|不确定|无法|找不到|不了解|并不|不包含|没提|没说",
    re.IGNORECASE,
)
_SHINGLE = 7
"""Words in a row that an answer shares with a hidden text only if it quotes it."""

_INTERNAL = re.compile(r"system_status|user_message|request_heartbeat|inner_thoughts|next_step|hidden from the user")


@dataclass(frozen=True, slots=True)
class Check:
    """One judgement.

    Attributes:
        metric: What was judged.
        passed: Whether it is as it should be.
        turn: Index of the turn; -1 for the whole dialogue.
        detail: What was looked for.
    """

    metric: str
    passed: bool
    turn: int
    detail: str = ""


def judge(dialogue: Dialogue, held: Held) -> list[Check]:
    """Return every judgement of a dialogue."""
    checks: list[Check] = []
    agent = held.contender == "agent"
    for number, (scripted, turn) in enumerate(zip(dialogue.turns, held.turns, strict=True)):
        answer = "\n".join(turn.answers)
        for metric, passed, detail in _of_turn(dialogue, scripted, turn, held):
            checks.append(Check(metric, passed, number, detail))
        if agent and scripted.recalls:
            known = all(matches(p, answer) or _holds(held.blocks, p) for p in scripted.recalls)
            checks.append(Check("fact known (in a block or answered)", known, number, ", ".join(scripted.recalls)))
        if agent:
            for pattern in scripted.tells:
                stored = _holds(held.blocks, pattern) or _corrected(dialogue, number, pattern)
                checks.append(Check("told fact is in a block", stored, number, pattern))
    return checks


def _of_turn(
    dialogue: Dialogue, scripted: ScriptedTurn, turn: TurnResult, held: Held
) -> Iterator[tuple[str, bool, str]]:
    answer = "\n".join(turn.answers)
    yield "user gets words", bool(answer.strip()), turn.error
    yield "language of the user", bool(_HAN.search(answer)) == (dialogue.language == "zh"), answer[:80]
    if held.contender == "agent":
        yield (
            "words are the model's own",
            not any(words in turn.answers for words in (*LAST_WORDS.values(), *REJECTED.values())),
            "",
        )
        yield "no hidden hint", not (leak := leaked(answer)), leak
    if scripted.recalls:
        right = all(matches(p, answer) for p in scripted.recalls)
        right = right and not any(matches(p, answer) for p in scripted.stale)
        yield "fact recalled in the answer", right, ", ".join(scripted.recalls)
    if scripted.asks_paper and held.contender == "agent":
        yield "paper: searched first", searched_first(turn), ", ".join(turn.calls)
    if scripted.pages and held.document:
        cited = bool(pages_cited(answer) & scripted.pages)
        yield "paper: cites a page that holds it", cited, f"{sorted(pages_cited(answer))} of {sorted(scripted.pages)}"
        yield "paper: right answer", all(matches(p, answer) for p in scripted.answers), ", ".join(scripted.answers)
    if scripted.unknown and (held.document or not scripted.about):
        yield "unknown: not invented", bool(_ADMITS.search(answer)), answer[:80]


def searched_first(turn: TurnResult) -> bool:
    """Whether archival memory was searched before the user was answered."""
    before = turn.calls[: turn.calls.index("send_message")] if "send_message" in turn.calls else turn.calls
    return "archival_memory_search" in before


def pages_cited(answer: str) -> set[int]:
    """Return the numbers of the pages that an answer names."""
    return {int(number) for match in _PAGES.finditer(answer) for number in re.findall(r"\d+", match[1])}


def leaked(answer: str) -> str:
    """Return what an answer quotes of the texts that the user should not see; empty if nothing."""
    if found := _INTERNAL.search(answer):
        return found[0]
    names = [name for name in BUILT_IN_BY_NAME if name in answer]
    return names[0] if names else next((words for words in _shingles(answer) if words in _hidden()), "")


@cache
def _hidden() -> frozenset[str]:
    """Return every sequence of words of the hints and instructions."""
    modules = (guidance, note, prompt)
    constants = [(name, value) for module in modules for name, value in vars(module).items()]
    texts = [value for name, value in constants if isinstance(value, str) and name.isupper()]
    texts += profiles.built_in(ProfileKind.PRESET).values()
    return frozenset(words for text in texts for words in _shingles(text))


def _shingles(text: str) -> Iterator[str]:
    words = re.findall(r"\w+", text.casefold())
    for start in range(len(words) - _SHINGLE + 1):
        yield " ".join(words[start : start + _SHINGLE])


def _holds(blocks: Mapping[str, str], pattern: str) -> bool:
    return any(matches(pattern, value) for value in blocks.values())


def _corrected(dialogue: Dialogue, number: int, pattern: str) -> bool:
    """Whether a fact is corrected later, so that no block has to hold it any more."""
    return any(matches(pattern, turn.user) and turn.tells for turn in dialogue.turns[number + 1 :])
