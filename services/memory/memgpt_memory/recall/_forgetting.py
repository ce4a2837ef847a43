"""Forgetting messages and notes for good, everywhere their texts are stored.

A message is first hidden by the agent's commit, then its rows, its vector and what is cached of it are deleted. If that
is interrupted, a repetition or the next compaction completes it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from memgpt_memory.agents import AgentNotes, Agents, AgentState, ForgetMessages, LiveAgent
from memgpt_memory.messages import Message, Role, text_size
from memgpt_memory.recall._recall import Recall
from memgpt_memory.tasks import run_to_end

_CHUNK = 200
"""Messages that are read at a time."""

_STORES_NOTES = "archival_memory_insert"

_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a call forgot.

    Attributes:
        messages: Number of messages.
        notes: Number of notes.
    """

    messages: int = 0
    notes: int = 0


class Forgetting:
    """Forgets messages and notes of agents."""

    def __init__(self, agents: Agents, notes: AgentNotes, recall: Recall) -> None:
        """Delete from `agents`, their `notes`, and what `recall` derives from them."""
        self._agents = agents
        self._notes = notes
        self._recall = recall

    async def messages(self, live: LiveAgent, sequences: Iterable[int]) -> Forgotten:
        """Forget messages, with the calls, results and copies that belong to them. Missing ones are not an error.

        Raises:
            FailedPrecondition: One belongs to the running turn.
        """
        return Forgotten(messages=await run_to_end(self._messages(live, set(sequences))))

    async def notes(self, live: LiveAgent, ids: Sequence[str]) -> Forgotten:
        """Delete notes, and forget the messages that hold their texts word for word. Other ids are ignored.

        Raises:
            FailedPrecondition: Such a message belongs to the running turn.
        """
        texts = await self._notes.texts(live, ids)
        quoting = [m.sequence async for m in self._all(live.state, 0) if _quotes(m, texts)] if texts else []
        # The notes go last: a repetition after a failure still finds what quotes them.
        messages = await run_to_end(self._messages(live, set(quoting)))
        return Forgotten(messages, await self._notes.delete(live, ids))

    async def sweep(self) -> None:
        """Delete what a failure or a crash left of forgotten messages."""
        async for live in self._agents.all():
            await self._recall.sweep(live)

    async def _messages(self, live: LiveAgent, sequences: set[int]) -> int:
        repository = self._agents.repository
        async with live.lock:
            await repository.settle(live)
            before = live.state.forgotten
            wanted = await self._with_companions(live.state, sequences)
            counted = [
                one
                for one in sorted(wanted)
                if one < live.row.message_count and (one not in before or one in live.state.unfreed_messages)
            ]
            read = await repository.messages.read(live.id, counted)
            freed = sum(text_size(message.text, message.function_call) for message in read)
            await repository.commit(live, ForgetMessages(wanted, freed))
            gone = sorted(one for one in wanted if one < live.row.message_count)
            # Also those that were hidden before: their deletion may have failed.
            await repository.messages.delete_sequences(live.id, [(one, one + 1) for one in gone])
        await self._recall.drop(live, gone)
        return sum(one not in before for one in gone)

    async def _with_companions(self, state: AgentState, sequences: set[int]) -> set[int]:
        """Return messages with the result of each call, the call of each result, and all copies of each.

        The copies are in the turns that took their originals back.
        """
        wanted = set(sequences)
        frontier = {one for one in wanted if one < state.row.message_count and one not in state.forgotten}
        while frontier:
            found: set[int] = set()
            originals: set[int] = set()
            for message in await self._agents.messages.read(state.id, sorted(frontier)):
                found |= {message.replaces} if message.replaces is not None else set()
                found |= await self._other_half(state, message)
                if message.sequence in state.rewinds:
                    originals.add(message.sequence)
            if originals:
                found |= {m.sequence async for m in self._all(state, min(originals)) if m.replaces in originals}
            frontier = {one for one in found - wanted if one not in state.forgotten}
            wanted |= frontier
        return wanted

    async def _other_half(self, state: AgentState, message: Message) -> set[int]:
        """Return the result of a call, or the call of a result: both are in one turn, near each other."""
        if message.function_call is not None:
            async for later in self._all(state, message.sequence + 1):
                if later.turn_id != message.turn_id:
                    break
                if later.role is Role.TOOL and later.call_id == message.function_call.call_id:
                    return {later.sequence}
        elif message.role is Role.TOOL:
            for number in range(message.sequence - 1, -1, -1):
                for earlier in await self._agents.messages.read(state.id, [number]):
                    if earlier.turn_id != message.turn_id:
                        return set()
                    call = earlier.function_call
                    if call is not None and call.call_id == message.call_id:
                        return {earlier.sequence}
        return set()

    async def _all(self, state: AgentState, first: int) -> AsyncIterator[Message]:
        """Yield the messages that exist from a sequence on, taken back or not."""
        for start in range(first, state.row.message_count, _CHUNK):
            end = min(start + _CHUNK, state.row.message_count)
            kept = [one for one in range(start, end) if one not in state.forgotten]
            for message in await self._agents.messages.read(state.id, kept):
                yield message


def _quotes(message: Message, texts: Sequence[str]) -> bool:
    """Whether a message is a call that stored one of the texts as a note, or a result that holds one."""
    call = message.function_call
    if call is not None and call.name == _STORES_NOTES:
        held = list(_strings(call.arguments, _MAX_DEPTH))
    elif message.role is Role.TOOL:
        held = list(_strings(message.text, _MAX_DEPTH))
    else:
        return False
    return any(text in one for one in held for text in texts)


def _strings(text: str, depth: int) -> Iterable[str]:
    """Yield a text, and the strings in it if it is JSON or ends in a JSON list, as the results of searches do."""
    yield text
    start = min((place for mark in "[{" if (place := text.find(mark)) >= 0), default=-1)
    if start < 0 or not depth:
        return
    try:
        value, _ = json.JSONDecoder(strict=False).raw_decode(text, start)
    except (ValueError, RecursionError):
        return
    yield from _strings_of(value, depth - 1)


def _strings_of(value: object, depth: int) -> Iterable[str]:
    match value:
        case str():
            yield from _strings(value, depth)
        case dict():
            for part in value.values():
                yield from _strings_of(part, depth)
        case list():
            for part in value:
                yield from _strings_of(part, depth)
