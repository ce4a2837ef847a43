"""The rows of turns, by which a request is known for as long as its agent lives.

The agent's row holds the turn that it is in, or was in last. A row for each request is written when the turn begins and
when it has ended; in between the agent's row knows better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from memgpt_memory.agents import CurrentTurn, EndedTurn, LiveAgent, TurnRow
from memgpt_memory.messages import Message, Messages
from memgpt_memory.paging import Page, list_page
from memgpt_memory.records import Record, Records, key_of
from memgpt_memory.turns._errors import request_id_reused, unknown_turn


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
    """Key of a turn's row."""
    return key_of("turn", tenant, request_id)


def turn_record(live: LiveAgent, key: str, turn: TurnRow) -> Record:
    """A turn's row, to be stored."""
    return Record(key, "turn", live.row.tenant, live.id, turn.created, turn.model_dump_json())


class TurnHistory:
    """Reads what is known of turns."""

    def __init__(self, records: Records, messages: Messages) -> None:
        """Read from the given parts of one store."""
        self._records = records
        self._messages = messages

    async def find(self, live: LiveAgent, key: str) -> TurnRow | None:
        """Return what is known of a turn; None if it was never granted."""
        last, held = live.row.turn, live.turn_row
        if last is not None and held is not None and (last.key, last.turn_id) == (key, held.turn_id):
            return _merged(held, last)
        record = await self._records.get(key)
        if record is None:
            return None
        row = TurnRow.model_validate_json(record.body)
        last = live.row.turn
        if last is not None and last.key == key:
            live.turn_row = row
            return _merged(row, last)
        if row.agent_id == live.id and not row.state.ended:
            return None  # a crash came between this row and the agent's: the turn has never begun
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
        """Return what is known of a turn that is asked for; None if it was never granted.

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

    async def steps(self, agent_id: str, turn: _Span, after: int, last: int) -> list[Step]:
        """Read the steps of a turn after `after`, up to and including `last`."""
        if last <= after:
            return []
        messages = await self._messages.read(agent_id, range(turn.first_sequence, turn.end_sequence))
        steps = {index: list(of_step) for index, of_step in groupby(messages, key=lambda message: message.step)}
        return [Step(index, steps.get(index, [])) for index in range(after + 1, last + 1)]

    async def list(self, live: LiveAgent, size: int, after: str) -> Page[TurnRow]:
        """Return a page of the agent's turns, the latest first, after the turn id `after`."""
        rows = {
            row.turn_id: row
            for record in await self._records.find("turn", parent=live.id)
            if (row := TurnRow.model_validate_json(record.body))
        }
        last = live.row.turn
        if last is not None and last.turn_id in rows:
            rows[last.turn_id] = _merged(rows[last.turn_id], last)
        known = sorted((id_ for id_, row in rows.items() if row.turn_id), reverse=True)
        places = [f"{place:012d}" for place in range(len(known))]
        page = list_page(places, size, f"{known.index(after):012d}" if after in known else "")
        items = [rows[known[int(place)]] for place in page.items]
        return Page(items, items[-1].turn_id if page.next_token else "", len(known))


def _merged(row: TurnRow, turn: CurrentTurn) -> TurnRow:
    """A turn's row with what the agent's row knows better."""
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
