"""The directory of listed rows agrees with what was written, whatever happens while it is read."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence

import pytest
from memgpt_memory.records import Record
from memgpt_memory.records._directory import Directory, labels_of

from tests.support.waiting import until


def row(id_: str, kind: str = "agent", tenant: str = "t", body: str = "") -> Record:
    return Record(id_, kind, tenant, "", 1, body)


class Shelf:
    """Rows that a directory reads, and how often it did."""

    def __init__(self, *rows: Record) -> None:
        self.rows = list(rows)
        self.reads: list[str] = []
        self.reading = asyncio.Event()
        self.opened = asyncio.Event()
        self.opened.set()

    async def read(self, kind: str, with_bodies: bool) -> Sequence[Record]:
        self.reads.append(kind)
        self.reading.set()
        found = [one for one in self.rows if one.kind == kind]
        await self.opened.wait()
        return found


async def test_a_kind_is_read_once_and_kept_up_to_date() -> None:
    shelf = Shelf(row("b"), row("a"), row("x", tenant="other"))
    directory = Directory(shelf.read)
    directory.put([row("c")])  # before it is asked for: the store has it
    assert list(await directory.ids("agent", "t")) == ["a", "b"]
    directory.put([row("c"), row("s", "source"), row("y", tenant="other")])
    directory.delete(["a", "unknown"])
    assert list(await directory.ids("agent", "t")) == ["b", "c"]
    assert list(await directory.ids("agent", "other")) == ["x", "y"]
    assert list(await directory.ids("agent", "nobody")) == []
    assert shelf.reads == ["agent"]


async def test_what_is_written_while_a_kind_is_read_counts() -> None:
    shelf = Shelf(row("gone"), row("stays"))
    shelf.opened.clear()
    directory = Directory(shelf.read)
    reading = asyncio.create_task(directory.ids("agent", "t"))
    await shelf.reading.wait()
    directory.put([row("new"), row("brief")])
    directory.delete(["gone", "brief"])
    shelf.opened.set()
    assert list(await reading) == ["new", "stays"]


@pytest.mark.parametrize("requested", [True, False])
async def test_a_row_deleted_and_written_again_while_another_kind_is_read_is_listed(requested: bool) -> None:
    shelf = Shelf(row("a"))
    directory = Directory(shelf.read)
    if requested:
        await directory.ids("agent", "t")
    shelf.reading.clear()
    shelf.opened.clear()
    reading = asyncio.create_task(directory.ids("source", "t"))
    await shelf.reading.wait()
    directory.delete(["a"])
    directory.put([row("a")])
    listing = asyncio.create_task(directory.ids("agent", "t"))
    shelf.opened.set()
    await reading
    await listing
    assert list(await directory.ids("agent", "t")) == ["a"]


async def test_bodies_are_kept_of_what_is_listed_by_them() -> None:
    directory = Directory(Shelf(row("p", "profile", body='{"n": 1}')).read)
    assert dict(await directory.bodies("profile", "t")) == {"p": {"n": 1}}
    directory.put([row("p", "profile", body='{"n": 2}')])
    assert dict(await directory.bodies("profile", "t")) == {"p": {"n": 2}}


async def test_a_write_that_may_have_happened_is_looked_for_again() -> None:
    shelf = Shelf(row("a"))
    directory = Directory(shelf.read)
    await directory.ids("agent", "t")
    directory.doubt([row("a")])  # known already, whatever has become of it
    assert shelf.reads == ["agent"]
    shelf.rows.append(row("b"))
    directory.doubt([row("b")])
    assert list(await directory.ids("agent", "t")) == ["a", "b"]
    assert shelf.reads == ["agent", "agent"]


async def test_a_change_of_a_body_that_may_have_happened_is_looked_for() -> None:
    shelf = Shelf(row("p", "profile", body='{"n": 1}'))
    directory = Directory(shelf.read)
    assert dict(await directory.bodies("profile", "t")) == {"p": {"n": 1}}
    shelf.rows = [row("p", "profile", body='{"n": 2}')]
    directory.doubt(shelf.rows)
    assert dict(await directory.bodies("profile", "t")) == {"p": {"n": 2}}


def test_labels_are_kept_of_agents_that_have_some() -> None:
    assert labels_of('{"name":"the \\"tags\\" of origin"}') == {}
    assert labels_of('{"name":"a","tags":["x"],"origin":"af"}') == {"tags": ["x"], "origin": "af"}


async def test_a_write_that_may_have_happened_while_a_kind_is_read_is_looked_for_again() -> None:
    shelf = Shelf(row("a"))
    shelf.opened.clear()
    directory = Directory(shelf.read)
    reading = asyncio.create_task(directory.ids("agent", "t"))
    await shelf.reading.wait()
    shelf.rows.append(row("b"))
    directory.doubt([row("b")])
    shelf.opened.set()
    await reading
    directory.delete(["a"])
    shelf.rows.pop(0)
    assert list(await directory.ids("agent", "t")) == ["b"]
    assert shelf.reads == ["agent", "agent"]


async def test_a_failure_to_read_is_not_kept() -> None:
    shelf = Shelf(row("a"))
    failures = [OSError("first")]

    async def read(kind: str, with_bodies: bool) -> Sequence[Record]:
        if failures:
            raise failures.pop()
        return await shelf.read(kind, with_bodies)

    directory = Directory(read)
    with pytest.raises(OSError, match="first"):
        await directory.ids("agent", "t")
    assert list(await directory.ids("agent", "t")) == ["a"]


async def test_what_was_written_during_a_read_that_failed_is_not_noted_later() -> None:
    shelf = Shelf()
    shelf.opened.clear()
    failures = [OSError("first")]

    async def read(kind: str, with_bodies: bool) -> Sequence[Record]:
        found = await shelf.read(kind, with_bodies)
        if failures:
            raise failures.pop()
        return found

    directory = Directory(read)
    reading = asyncio.create_task(directory.ids("agent", "t"))
    await shelf.reading.wait()
    directory.put([row("brief")])
    shelf.opened.set()
    with pytest.raises(OSError, match="first"):
        await reading
    directory.delete(["brief"])
    assert list(await directory.ids("agent", "t")) == []


async def test_a_read_that_failed_for_callers_that_have_gone_is_repeated() -> None:
    shelf = Shelf(row("a"))
    shelf.opened.clear()
    failures = [OSError("first")]

    async def read(kind: str, with_bodies: bool) -> Sequence[Record]:
        found = await shelf.read(kind, with_bodies)
        if failures:
            raise failures.pop()
        return found

    directory = Directory(read)
    reading = asyncio.create_task(directory.ids("agent", "t"))
    await shelf.reading.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    shelf.opened.set()
    await until(directory._loads["agent"].done)
    assert list(await directory.ids("agent", "t")) == ["a"]


async def test_rows_are_in_order_of_a_field_whatever_is_written_and_deleted() -> None:
    source = random.Random(1)
    fields = {f"r{number}": f"{source.randrange(1000)} {number}" for number in range(40)}

    def load(id_: str) -> Record:
        return row(id_, "load", body=json.dumps({"load": fields[id_], "at": source.random()}))

    left = set(source.sample(sorted(fields), 10))
    directory = Directory(Shelf(*map(load, sorted(left))).read)
    await directory.ids("load", "t")
    for id_ in source.choices(sorted(fields), k=200):
        if source.random() < 0.3:
            directory.delete([id_])
            left.discard(id_)
        else:
            directory.put([load(id_)])
            left.add(id_)
        keys, bodies = await directory.in_order("load", "t", "load")
        assert list(keys) == sorted(left, key=fields.__getitem__)
        assert [bodies[key]["load"] for key in keys] == sorted(fields[one] for one in left)
