"""Notes of agents: store, read and delete the passages that an agent owns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from memgpt_memory.agents._commands import DeleteNotes, InsertNotes
from memgpt_memory.agents._live_agent import LiveAgent
from memgpt_memory.agents._repository import AgentRepository
from memgpt_memory.passages import Passage, note_id, passage_of


class AgentNotes:
    """The notes of every agent."""

    def __init__(self, repository: AgentRepository) -> None:
        """Change notes with commits of `repository`."""
        self._repository = repository
        self._passages = repository.passages

    async def insert(self, live: LiveAgent, command: InsertNotes) -> Sequence[Passage]:
        """Store notes. A repeated request returns the notes that it stored before."""
        async with live.lock:
            await self._repository.settle(live)
            key = command.request_key
            done = next((insert for insert in live.row.inserts if key and insert.key == key), None)
            if done is None:
                return (await self._repository.commit(live, command)).passages
            ids = [note_id(live.id, number) for number in range(done.first, done.first + done.count)]
            rows = await self._passages.read(live.row.tenant, {live.id: ids})
            return [passage_of(rows[id_]) for id_ in ids if id_ in rows]

    async def delete(self, live: LiveAgent, ids: Iterable[str]) -> int:
        """Delete notes and return how many existed. Ids of anything else are ignored."""
        numbers = {number for id_ in ids if (number := _number(live.id, id_)) is not None}
        async with live.lock:
            await self._repository.settle(live)
            before = live.state.dead_notes
            freed = await self.size(live, [n for n in numbers if n not in before])
            await self._repository.commit(live, DeleteNotes(numbers, freed))
            deleted = [n for n in sorted(numbers) if n in live.state.dead_notes and n not in before]
        if deleted:  # already invisible; their rows are deleted now or with the agent
            gone = [note_id(live.id, number) for number in deleted]
            await self._repository.tidy(self._passages.delete(live.row.tenant, live.id, gone, unread=True))
        return len(deleted)

    async def texts(self, live: LiveAgent, ids: Sequence[str]) -> Sequence[str]:
        """Return the texts of those of the agent's notes that exist. Ids of anything else are ignored."""
        numbers = {id_: number for id_ in ids if (number := _number(live.id, id_)) is not None}
        dead = live.state.dead_notes
        existing = [id_ for id_, number in numbers.items() if number < live.row.next_note and number not in dead]
        rows = await self._passages.read(live.row.tenant, {live.id: existing})
        return [rows[id_].text for id_ in existing if id_ in rows]

    async def size(self, live: LiveAgent, numbers: Sequence[int]) -> int:
        """Return the bytes of the texts of notes, given by their numbers. Missing ones are ignored."""
        ids = [note_id(live.id, number) for number in numbers if number < live.row.next_note]
        rows = await self._passages.read(live.row.tenant, {live.id: ids})
        return sum(len(row.text.encode()) for row in rows.values())


def _number(agent_id: str, id_: str) -> int | None:
    """Return the number of an agent's note, or None for the id of anything else."""
    prefix = note_id(agent_id, 0).removesuffix("0")
    number = id_.removeprefix(prefix)
    return int(number) if id_.startswith(prefix) and number.isdecimal() and len(number) < 16 else None
