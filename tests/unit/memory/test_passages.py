"""The conversion of notes to passages before they are stored."""

from __future__ import annotations

import asyncio

from memgpt_memory.passages import MAX_NOTE_TOKENS, fits, texts_of
from memgpt_memory.store.layout import MAX_VARCHAR_BYTES
from memgpt_runtime.tokens import count_tokens


async def test_every_text_fits_and_nothing_is_lost() -> None:
    notes = ["a" + " " * 200_000 + "b", " ", "word " * 3_000, "漢" * 1_000, "é" * 100_000, "short"]
    texts = await texts_of(notes)
    for text in texts:
        assert text == text.strip() != ""
        assert count_tokens(text) <= MAX_NOTE_TOKENS
        assert len(text.encode()) <= MAX_VARCHAR_BYTES
        assert fits(text)
    assert "".join("".join(texts).split()) == "".join("".join(notes).split())
    assert not fits("a" + " " * MAX_VARCHAR_BYTES)


async def test_others_go_on_while_a_long_note_is_cut() -> None:
    cutting = asyncio.create_task(texts_of(["漢" * 100_000]))
    turns = 0
    while not cutting.done():
        await asyncio.sleep(0)
        turns += 1
    assert len(cutting.result()) > 300
    assert turns > 10
