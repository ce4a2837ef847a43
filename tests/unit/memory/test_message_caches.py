"""The caches of messages: a read that is under way while messages are deleted must not bring their texts back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from memgpt_memory.messages import Messages, NewMessage, Role, Transcripts, message_rows
from memgpt_memory.store import Store
from memgpt_memory.store.layout import Collection
from memgpt_memory.store.rows import MessageRow


class SlowStore:
    """Returns what it read only when it is told to; deletes at once, or when told to."""

    def __init__(self) -> None:
        self.rows = {
            row.id: row
            for sequence in range(2)
            for row in message_rows("a", sequence, 1, "t", 0, NewMessage(Role.USER, f"text {sequence}"))
        }
        self.reading = asyncio.Event()
        self.may_return = asyncio.Event()
        self.may_delete = asyncio.Event()
        self.may_delete.set()

    async def get(self, collection: Collection, ids: Sequence[str], row: type[MessageRow]) -> dict[str, MessageRow]:
        found = {id_: self.rows[id_] for id_ in ids if id_ in self.rows}
        self.reading.set()
        await self.may_return.wait()
        return found

    async def delete(self, collection: Collection, ids: Sequence[str]) -> None:
        await self.may_delete.wait()
        for id_ in ids:
            self.rows.pop(id_, None)


async def texts(messages: Messages) -> list[str]:
    return [message.text for message in await messages.read("a", range(2))]


async def test_a_read_that_ends_after_a_deletion_caches_nothing_of_it() -> None:
    store = SlowStore()
    messages = Messages(cast(Store, store))
    reading = asyncio.create_task(texts(messages))
    await store.reading.wait()
    await messages.delete(["a-m0"])
    store.may_return.set()
    assert await reading == ["text 0", "text 1"]
    assert await texts(messages) == ["text 1"]


async def test_a_read_during_a_deletion_caches_nothing_of_it() -> None:
    store = SlowStore()
    messages = Messages(cast(Store, store))
    store.may_return.set()
    store.may_delete.clear()
    deleting = asyncio.create_task(messages.delete(["a-m0"]))
    await asyncio.sleep(0)
    assert await texts(messages) == ["text 0", "text 1"]
    store.may_delete.set()
    await deleting
    assert await texts(messages) == ["text 1"]


async def test_a_search_that_ends_after_a_deletion_caches_no_line_of_it() -> None:
    store = SlowStore()
    messages = Messages(cast(Store, store))
    transcripts = Transcripts(messages)
    searching = asyncio.create_task(transcripts.chunk("a", 0, 2))
    await store.reading.wait()
    await messages.delete(["a-m0"])
    transcripts.forget("a")
    store.may_return.set()
    assert [line.sequence for line in await searching] == [0, 1]
    assert [line.sequence for line in await transcripts.chunk("a", 0, 2)] == [1]
