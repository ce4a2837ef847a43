"""The rows of turns, which keep the requests of an agent as long as it exists.

The agent's row holds the turn that it is in, or was in last. A row for each request is written when the turn begins and
when it has ended; in between, the agent's row is more recent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from memgpt_runtime.pagination import PAGE_BYTES

from memgpt_memory.agents import CurrentTurn, EndedTurn, LiveAgent, TurnRow, turn_pointer, turn_pointer_id
from memgpt_memory.list_pages import Page
from memgpt_memory.messages import Message, Messages
from memgpt_memory.records import Record, Records, key_of
from memgpt_memory.turns._errors import request_id_reused, unknown_turn

_MAX_PAGE = PAGE_BYTES // (5 << 10)
"""Maximum number of turns in a page: the reason and the request id of one have up to 4.6 kB."""


@dataclass(frozen=True, slots=True)
class Step:
    """A committed step."""

    index: int
    messages: Sequence[Message]


class _Span(Protocol):
    """Where the messages of a turn are."""

    @property
    def first_sequence(self) -> int: ...

    @property
    def end_sequence(self) -> int: ...


def turn_key(tenant: str, request_id: str) -> str:
    """Return the key of a turn's row."""
    return key_of("turn", tenant, request_id)


def turn_record(live: LiveAgent, key: str, turn: TurnRow) -> Record:
    """Return a turn as a row to store."""
    return Record(key, "turn", live.row.tenant, live.id, turn.created, turn.model_dump_json())


def turns_version(live: LiveAgent) -> tuple[int, int | None]:
    """Return what changes whenever a turn begins, is resumed, or is cancelled in the queue."""
    return live.row.epoch, live.row.turn_count


class TurnHistory:
    """Reads stored turns."""

    def __init__(self, records: Records, messages: Messages) -> None:
        """Read from the given parts of one store."""
        self._records = records
        self._messages = messages

    async def find(self, live: LiveAgent, key: str) -> TurnRow | None:
        """Return the record of a turn; None if it was never granted."""
        last, held = live.row.turn, live.turn_row
        if last is not None and held is not None and (last.key, last.turn_id) == (key, held.turn_id):
            return _merged(held, last)
        while True:
            version = turns_version(live)
            record = await self._records.get(key)
            if version == turns_version(live):
                break  # else the turn may have ended, and another begun, after its row was read
        if record is None:
            return None
        row = TurnRow.model_validate_json(record.body)
        last = live.row.turn
        if last is not None and last.key == key:
            live.turn_row = row
            return _merged(row, last)
        if row.agent_id == live.id and not row.state.ended:
            return None  # a crash came between this row and the agent's, so the turn never began
        return row

    async def get(self, live: LiveAgent, key: str, request_id: str) -> TurnRow:
        """Return a turn.

        Raises:
            NotFound: It was never granted.
        """
        turn = await self.find(live, key)
        if turn is None:
            raise unknown_turn(request_id)
        return turn

    async def find_same(self, live: LiveAgent, key: str, request_id: str, fingerprint: bytes) -> TurnRow | None:
        """Return the record of the turn that a request asks for; None if it was never granted.

        Raises:
            InvalidArgument: The request's id belongs to another agent or input.
        """
        turn = await self.find(live, key)
        if turn is not None and (turn.agent_id != live.id or (fingerprint and turn.fingerprint != fingerprint.hex())):
            raise request_id_reused(request_id)
        return turn

    async def last_ended(self, live: LiveAgent) -> list[Record]:
        """Return the last turn's row as it ended, to be stored before the next turn takes its place."""
        turn = live.state.turn
        if not isinstance(turn, EndedTurn):
            return []
        row = await self.find(live, turn.key)
        return [] if row is None else [turn_record(live, turn.key, row)]

    async def steps(self, live: LiveAgent, turn: _Span, after: int, last: int) -> list[Step]:
        """Read the steps of a turn after `after`, up to and including `last`, without forgotten messages."""
        if last <= after:
            return []
        forgotten = live.state.forgotten
        kept = [one for one in range(turn.first_sequence, turn.end_sequence) if one not in forgotten]
        messages = await self._messages.read(live.id, kept)
        steps = {index: list(of_step) for index, of_step in groupby(messages, key=lambda message: message.step)}
        return [Step(index, steps.get(index, [])) for index in range(after + 1, last + 1)]

    async def list(self, live: LiveAgent, size: int, after: str) -> Page[TurnRow]:
        """Return a page of the agent's turns, the latest first.

        Args:
            live: The agent.
            size: Maximum number of turns.
            after: The number of the last turn of the page before, as its next token says; empty for a first page.
        """
        old = await self._scan(live) if live.row.turn_count is None else []
        count = len(old) if live.row.turn_count is None else live.row.turn_count
        end = min(int(after), count) if after.isdecimal() else count
        numbers = range(end - 1, max(end - min(size, _MAX_PAGE), 0) - 1, -1)
        keys = [old[number] for number in numbers] if old else await self._keys(live, numbers)
        turns = await self._read(live, keys)
        return Page(turns, str(numbers[-1]) if numbers and numbers[-1] else "", count)

    async def index(self, live: LiveAgent) -> int:
        """Number the turns of an agent of an older version, and return how many there are.

        The numbers take effect with the commit that stores the agent's counter.
        """
        if live.row.turn_count is not None:
            return live.row.turn_count
        keys = await self._scan(live)
        await self._records.put(*(turn_pointer(live.state, number, key) for number, key in enumerate(keys)))
        return len(keys)

    async def _scan(self, live: LiveAgent) -> Sequence[str]:
        """Return the keys of the turns of an agent of an older version, in order."""
        found = await self._records.find("turn", parent=live.id)
        ids = {record.id: TurnRow.model_validate_json(record.body).turn_id for record in found}
        return sorted((key for key, turn_id in ids.items() if turn_id), key=lambda key: ids[key])

    async def _keys(self, live: LiveAgent, numbers: Iterable[int]) -> Sequence[str]:
        """Return the keys of turns by their numbers."""
        ids = [turn_pointer_id(live.id, number) for number in numbers]
        pointers = await self._records.get_many(ids)
        return [pointers[id_].body for id_ in ids if id_ in pointers]

    async def _read(self, live: LiveAgent, keys: Sequence[str]) -> Sequence[TurnRow]:
        """Read turns by their keys."""
        found = await self._records.get_many(keys)
        rows = [TurnRow.model_validate_json(found[key].body) for key in keys if key in found]
        last = live.row.turn
        return [_merged(row, last) if last is not None and last.turn_id == row.turn_id else row for row in rows]


def _merged(row: TurnRow, turn: CurrentTurn) -> TurnRow:
    """Return a turn's row, updated with the more recent values in the agent's row."""
    return row.model_copy(
        update={
            "state": turn.state,
            "reason": turn.reason,
            "steps": turn.steps,
            "first_sequence": turn.first_sequence,
            "end_sequence": turn.end_sequence,
            "ended": turn.ended,
        }
    )
