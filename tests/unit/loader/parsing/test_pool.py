from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from memgpt_loader.failures import FailureReason, FileFailure
from memgpt_loader.parsing.parser_limits import ParserLimits
from memgpt_loader.parsing.pool import ParserPool
from memgpt_loader.parsing.results import FileOpened, NotesReported, PageRead

from tests.support import pdfs
from tests.support.waiting import until

LIMITS = ParserLimits(
    processes=2,
    memory_bytes=1 << 30,
    seconds=60,
    max_pages=1000,
    max_chars=10_000_000,
    max_unpacked_bytes=1 << 30,
    max_tokens=300,
)


@pytest.fixture
async def pool() -> AsyncIterator[ParserPool]:
    pool = ParserPool(LIMITS)
    yield pool
    await pool.close()


def spooled(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


async def read(pool: ParserPool, path: Path, name: str) -> list[FileOpened | PageRead | NotesReported]:
    return [item async for item in pool.parse(path, name)]


async def test_a_file_is_read_page_by_page(pool: ParserPool, tmp_path: Path) -> None:
    path = spooled(tmp_path, "x", pdfs.pdf(["One.", "", "Three."]))
    opened, *pages = await read(pool, path, "a.pdf")
    assert opened == FileOpened("application/pdf", 3)
    assert [(page.page, [each.text for each in page.passages], page.last) for page in pages] == [  # type: ignore[union-attr]
        (1, ["One."], True),
        (2, [], True),
        (3, ["Three."], True),
    ]


async def test_a_page_of_many_passages_comes_in_parts(pool: ParserPool, tmp_path: Path) -> None:
    text = " ".join(f"{'long ' * 100}sentence {n}." for n in range(400))
    _, *parts = await read(pool, spooled(tmp_path, "x", text.encode()), "a.txt")
    pages = [part for part in parts if isinstance(part, PageRead)]
    assert len(pages) > 1
    assert [part.last for part in pages] == [False] * (len(pages) - 1) + [True]
    starts = [passage.start for part in pages for passage in part.passages]
    assert starts == sorted(set(starts))


async def test_a_bad_file_costs_the_others_nothing(pool: ParserPool, tmp_path: Path, paper: Path) -> None:
    bomb = spooled(tmp_path, "bomb", pdfs.bomb())
    broken = spooled(tmp_path, "broken", b"%PDF-1.7 nonsense")
    results = await asyncio.gather(
        read(pool, bomb, "bomb.pdf"),
        read(pool, paper, "paper.pdf"),
        read(pool, broken, "broken.pdf"),
        read(pool, paper, "paper.pdf"),
        return_exceptions=True,
    )
    reasons = [result.reason if isinstance(result, FileFailure) else None for result in results]
    assert reasons == [FailureReason.TOO_LARGE, None, FailureReason.BROKEN, None]
    assert results[1] == results[3]


async def test_memory_is_bounded_by_the_kernel(tmp_path: Path) -> None:
    pool = ParserPool(replace(LIMITS, processes=1, memory_bytes=400 << 20))
    try:
        huge = spooled(tmp_path, "huge", b"[" + b"[]," * (6 << 20) + b"0]")
        with pytest.raises(FileFailure) as failure:
            await read(pool, huge, "huge.json")
        assert failure.value.reason is FailureReason.TOO_LARGE
        assert "parser_memory_bytes" in failure.value.message
        assert await read(pool, spooled(tmp_path, "small", b"Still here."), "small.txt")
    finally:
        await pool.close()


async def test_time_is_bounded_and_the_parser_replaced(tmp_path: Path, paper: Path) -> None:
    pool = ParserPool(replace(LIMITS, processes=1, seconds=0.05))
    try:
        with pytest.raises(FileFailure, match="parser_seconds") as failure:
            await read(pool, paper, "paper.pdf")
        assert failure.value.reason is FailureReason.TIMEOUT
    finally:
        await pool.close()


async def test_a_slow_reader_is_not_a_slow_parser(tmp_path: Path, skip_time: Callable[[float], None]) -> None:
    pool = ParserPool(replace(LIMITS, processes=1, seconds=60))
    try:
        path = spooled(tmp_path, "x", pdfs.pdf([f"Page {n}." for n in range(200)]))
        results = 0
        async for _ in pool.parse(path, "a.pdf"):
            skip_time(61)
            results += 1
        assert results > 1
    finally:
        await pool.close()


async def test_broken_off_in_the_middle(pool: ParserPool, tmp_path: Path, paper: Path) -> None:
    async with aclosing(pool.parse(paper, "paper.pdf")) as items:
        assert isinstance(await anext(items), FileOpened)
    path = spooled(tmp_path, "x", b"Next.")
    assert len(await read(pool, path, "a.txt")) == 2


async def test_broken_off_with_much_left_unread(pool: ParserPool, tmp_path: Path) -> None:
    path = spooled(tmp_path, "x", b"A sentence of some words. " * 100_000)
    async with aclosing(pool.parse(path, "a.txt")) as items:
        assert isinstance(await anext(items), FileOpened)
        assert isinstance(await anext(items), PageRead)
        (parser,) = pool._all
        reader = parser._process.stdout
        assert reader is not None
        await until(lambda: reader._paused)  # type: ignore[attr-defined]
    assert not pool._all


async def test_a_parser_that_is_killed_while_idle(tmp_path: Path) -> None:
    pool = ParserPool(replace(LIMITS, processes=1))
    try:
        path = spooled(tmp_path, "x", b"Text.")
        await read(pool, path, "a.txt")
        (parser,) = pool._idle
        os.kill(parser._process.pid, 9)
        await parser._process.wait()
        assert len(await read(pool, path, "a.txt")) == 2
    finally:
        await pool.close()


async def test_a_warm_parser_is_used(pool: ParserPool, tmp_path: Path) -> None:
    pool.prestart(1)
    pool.prestart(1)
    await read(pool, spooled(tmp_path, "x", b"Text."), "a.txt")
    assert len(pool._all) == 1


@pytest.mark.linux("reads /proc")
async def test_parsers_see_no_secrets(pool: ParserPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    await read(pool, spooled(tmp_path, "x", b"Text."), "a.txt")
    (parser,) = pool._all
    environment = await asyncio.to_thread(Path(f"/proc/{parser._process.pid}/environ").read_bytes)
    assert b"PATH=" in environment
    assert b"sk-secret" not in environment
