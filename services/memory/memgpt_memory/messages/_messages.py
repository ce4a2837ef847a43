"""Messages as rows: one row per message, and more for a text that is longer than a row."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cachetools import LRUCache
from memgpt_runtime import reasons

from memgpt_memory.messages._model import MAX_MESSAGE_BYTES, FunctionCall, Message, NewMessage, Role, Usage
from memgpt_memory.records import split
from memgpt_memory.store import Store
from memgpt_memory.store.filters import AnyOf, Between, Equals, OneOf, all_of
from memgpt_memory.store.layout import MESSAGES
from memgpt_memory.store.rows import AgentRowTime, Key, MessageRow, RowTime

_INLINE_ARGUMENTS = 32_768
"""Arguments that are longer than this many bytes, with the endpoint's data, go after the text, so that the head always
fits its column."""

_MAX_CACHED_BYTES, _BYTES_OF_A_ROW = 16 << 20, 1_000
"""Bytes of all cached rows, and of one row without its texts."""


def message_id(agent_id: str, sequence: int) -> str:
    """Return the key of a message's first row."""
    return f"{agent_id}-m{sequence}"


def message_rows(
    agent_id: str, sequence: int, created: int, turn_id: str, step: int, new: NewMessage
) -> list[MessageRow]:
    """Return the rows of a message.

    Raises:
        InvalidArgument: It is longer than 1 MiB.
    """
    call = new.function_call
    arguments = call.arguments if call else ""
    if len(new.text.encode()) + len(arguments.encode()) > MAX_MESSAGE_BYTES:
        raise reasons.too_large(
            f"message has {len(new.text.encode()) + len(arguments.encode())} bytes, its maximum is "
            f"{MAX_MESSAGE_BYTES}; split it or load it as a document",
            limit_bytes=MAX_MESSAGE_BYTES,
            field="messages.text",
        )
    inline = len(json.dumps(arguments)) + len(json.dumps(call.endpoint_data if call else ""))
    apart = arguments != "" and inline > _INLINE_ARGUMENTS
    pieces = split(new.text + arguments if apart else new.text)
    head: dict[str, Any] = {"role": new.role.value, "turn": turn_id, "step": step, "parts": len(pieces)}
    if call:
        head["call"] = [call.call_id, call.name, "" if apart else arguments]
        head["call"] += [call.endpoint_data] if call.endpoint_data else []
        if apart:
            head["cut"] = len(new.text)
    if new.call_id:
        head["call_id"] = new.call_id
    if new.usage:
        head["usage"] = [new.usage.prompt_tokens, new.usage.completion_tokens]
        if new.usage.cached_tokens:
            head["usage"].append(new.usage.cached_tokens)
    if new.replaces is not None:
        head["replaces"] = new.replaces
    first = message_id(agent_id, sequence)
    return [
        MessageRow(
            id=first if part == 0 else f"{first}-{part}",
            agent=agent_id,
            sequence=sequence,
            part=part,
            created=created,
            head=json.dumps(head, ensure_ascii=False) if part == 0 else "",
            text=piece,
        )
        for part, piece in enumerate(pieces)
    ]


class Messages:
    """Reads messages by their sequences, which must be below the agent's counter.

    A window is read at every step, and most of it was read at the step before, so rows are kept in an LRU cache of
    bounded size. Only this process writes to the store, so they are never out of date.
    """

    def __init__(self, store: Store) -> None:
        """Read from `store`."""
        self._store = store
        self._cache: LRUCache[str, MessageRow] = LRUCache(_MAX_CACHED_BYTES, _bytes)
        self._forgets = 0

    async def write(self, rows: Sequence[MessageRow]) -> None:
        """Write rows of messages; return when they are stored."""
        try:
            await self._store.upsert(MESSAGES, rows)
        except BaseException:
            self._forget(row.id for row in rows)  # they may or may not be stored now
            raise
        self._cache.update({row.id: row for row in rows})

    async def read(self, agent_id: str, sequences: Iterable[int]) -> list[Message]:
        """Read messages in the order of `sequences`."""
        ids = [message_id(agent_id, sequence) for sequence in sequences]
        if not ids:
            return []
        rows = await self._rows(ids)
        heads = {id_: json.loads(row.head) for id_, row in rows.items()}
        more = [f"{id_}-{part}" for id_, head in heads.items() for part in range(1, head["parts"])]
        rest = await self._rows(more)
        return [
            _message(
                id_,
                rows[id_],
                heads[id_],
                rows[id_].text + "".join(rest[f"{id_}-{part}"].text for part in range(1, heads[id_]["parts"])),
            )
            for id_ in ids
            if id_ in rows
        ]

    async def times(self, agent_id: str, before: int) -> list[RowTime]:
        """Return the rows of an agent's messages that were stored before a time; a long message has several."""
        condition = all_of(Equals("agent", agent_id), Between("created", end=before))
        return await self._store.query(MESSAGES, condition, RowTime)

    async def times_of(self, before: Mapping[str, int]) -> list[AgentRowTime]:
        """Return the rows of several agents' messages that were stored before a time, which is that of the agent."""
        agents: dict[int, list[str]] = defaultdict(list)
        for agent_id, time in before.items():
            agents[time].append(agent_id)
        conditions = [all_of(OneOf("agent", ids), Between("created", end=time)) for time, ids in agents.items()]
        return await self._store.query(MESSAGES, AnyOf(tuple(conditions)), AgentRowTime) if conditions else []

    async def delete(self, ids: Sequence[str]) -> None:
        """Delete rows by key."""
        try:
            await self._store.delete(MESSAGES, ids)
        finally:
            self._forget(ids)

    async def delete_from(self, agent_id: str, sequence: int = 0) -> None:
        """Delete all rows of an agent's messages from a sequence on: all of them, or what a failed write left."""
        condition = all_of(Equals("agent", agent_id), Between("sequence", sequence))
        await self.delete([row.id for row in await self._store.query(MESSAGES, condition, Key)])

    async def delete_sequences(self, agent_id: str, ranges: Iterable[tuple[int, int]]) -> None:
        """Delete all rows of an agent's messages whose sequences are in ranges ``[first, end)``."""
        for first, end in ranges:
            condition = all_of(Equals("agent", agent_id), Between("sequence", first, end))
            await self.delete([row.id for row in await self._store.query(MESSAGES, condition, Key)])

    async def _rows(self, ids: Sequence[str]) -> dict[str, MessageRow]:
        found = {id_: self._cache[id_] for id_ in ids if id_ in self._cache}
        missing = [id_ for id_ in ids if id_ not in found]
        if missing:
            forgets = self._forgets
            read = await self._store.get(MESSAGES, missing, MessageRow)
            if self._forgets == forgets:  # otherwise it may have read what is deleted now
                # Rows that were written in the meantime are newer.
                self._cache.update({id_: row for id_, row in read.items() if id_ not in self._cache})
            found.update(read)
        return found

    def _forget(self, ids: Iterable[str]) -> None:
        self._forgets += 1
        for id_ in ids:
            self._cache.pop(id_, None)


def _bytes(row: MessageRow) -> int:
    """Return about how much memory a row takes."""
    return _BYTES_OF_A_ROW + len(row.text) + len(row.head)


def stored(agent_id: str, sequence: int, created: int, turn_id: str, step: int, new: NewMessage) -> Message:
    """Return a new message as it reads once it is stored."""
    return Message(
        message_id(agent_id, sequence),
        agent_id,
        sequence,
        new.role,
        new.text,
        created,
        turn_id,
        step,
        new.function_call,
        new.call_id,
        new.usage,
        new.replaces,
    )


def _message(id_: str, row: MessageRow, head: dict[str, Any], text: str) -> Message:
    call = head.get("call")
    usage = head.get("usage")
    if call and "cut" in head:
        text, call[2] = text[: head["cut"]], text[head["cut"] :]
    return Message(
        id=id_,
        agent_id=row.agent,
        sequence=row.sequence,
        role=Role(head["role"]),
        text=text,
        created=row.created,
        turn_id=head["turn"],
        step=head["step"],
        function_call=FunctionCall(*call) if call else None,
        call_id=head.get("call_id", ""),
        usage=Usage(*usage) if usage else None,
        replaces=head.get("replaces"),
    )
