"""The state of an agent: an immutable value that each commit replaces."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memgpt_memory.agents._ranges import Ranges
from memgpt_memory.agents._rewinds import Rewinds
from memgpt_memory.agents._rows import AgentRow, Attachment, Block, BlockRef, ToolServer
from memgpt_memory.agents._turn_state import AgentTurn, EndedTurn, Lease, NoTurn, RunningTurn, lease_lost, turn_of
from memgpt_memory.records import TextRef, text_ids


@dataclass(frozen=True, slots=True)
class AgentState:
    """An agent as a commit left it.

    Attributes:
        id: The agent.
        row: Its row; not to be changed.
        blocks: Values of its blocks by label.
        system: Its instructions.
        description: Its description for people.
        block_descriptions: Descriptions of its blocks by label, without empty ones.
        summary: The recursive summary.
        links: Attached sources, in order.
        tools: Functions that run elsewhere, by address, in order.
        heartbeats: Its timed heartbeats, as the Agent service wrote them.
        dead_notes: Numbers of deleted notes.
        rewinds: Messages that were taken back.
        forgotten: Sequences of messages that were forgotten; their rows are deleted after they appear here.
        unfreed_messages: Those of `forgotten` whose bytes still count; their rows are kept until they do not.
        unfreed_notes: Those of `dead_notes` whose bytes still count; their rows are kept until they do not.
    """

    id: str
    row: AgentRow
    blocks: Mapping[str, str] = field(default_factory=dict)
    system: str = ""
    description: str = ""
    block_descriptions: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""
    links: Sequence[Attachment] = ()
    tools: Sequence[ToolServer] = ()
    heartbeats: str = ""
    dead_notes: Ranges = field(default_factory=Ranges)
    rewinds: Rewinds = field(default_factory=Rewinds)
    forgotten: Ranges = field(default_factory=Ranges)
    unfreed_messages: Ranges = field(default_factory=Ranges)
    unfreed_notes: Ranges = field(default_factory=Ranges)

    @property
    def turn(self) -> AgentTurn:
        """The agent's current turn, or its last one."""
        return turn_of(self.row.turn)

    def turn_under(self, lease: Lease) -> RunningTurn | EndedTurn:
        """Return the turn of a lease.

        Raises:
            Aborted: Another worker has the lease by now.
        """
        turn = self.turn
        if isinstance(turn, NoTurn) or turn.turn_id != lease.turn_id or self.row.epoch != lease.epoch:
            raise lease_lost(self.id, lease.epoch)
        return turn

    @property
    def note_count(self) -> int:
        """Number of notes that exist."""
        return self.row.next_note - self.row.dead_count

    @property
    def hidden(self) -> Ranges:
        """Sequences of the messages that neither the window nor a search has: taken back, or forgotten."""
        return self.forgotten.union((rewind.first, rewind.end) for rewind in self.rewinds)

    @property
    def message_count(self) -> int:
        """Number of messages that exist."""
        return self.row.message_count - len(self.forgotten)

    @property
    def rewound_count(self) -> int:
        """Number of messages that exist and were taken back."""
        return len(self.hidden) - len(self.forgotten)

    @property
    def window(self) -> list[int]:
        """Sequences of the messages in the context window."""
        hidden = self.hidden
        return [s for s in range(self.row.window_start, self.row.message_count) if s not in hidden]

    def block(self, reference: BlockRef) -> Block:
        """Return a block with its value."""
        return Block(
            reference.label,
            self.blocks[reference.label],
            reference.limit,
            block_etag(reference),
            reference.updated,
            reference.read_only,
            self.block_descriptions.get(reference.label, ""),
        )

    def all_blocks(self) -> list[Block]:
        """Return all blocks, in order of creation."""
        return [self.block(reference) for reference in self.row.blocks]


@dataclass(frozen=True, slots=True)
class TextField:
    """A field of the state that is stored as a text of its own.

    Attributes:
        stored_name: Name under which the text is stored.
        dump: Converts the value to text; an empty text is not stored.
        parse: Converts the text back to the value.
    """

    stored_name: str
    dump: Callable[[Any], str]
    parse: Callable[[str], Any]


def _dump_links(links: Sequence[Attachment]) -> str:
    return json.dumps([link.model_dump() for link in links]) if links else ""


def _parse_links(text: str) -> list[Attachment]:
    return [Attachment.model_validate(link) for link in json.loads(text)] if text else []


def _dump_tools(servers: Sequence[ToolServer]) -> str:
    return json.dumps([server.model_dump() for server in servers], ensure_ascii=False) if servers else ""


def _parse_tools(text: str) -> list[ToolServer]:
    return [ToolServer.model_validate(server) for server in json.loads(text)] if text else []


def _dump_descriptions(descriptions: Mapping[str, str]) -> str:
    return json.dumps(descriptions, ensure_ascii=False) if descriptions else ""


def _parse_descriptions(text: str) -> dict[str, str]:
    return dict(json.loads(text)) if text else {}


TEXT_FIELDS: Mapping[str, TextField] = {
    "system": TextField("system", str, str),
    "description": TextField("about", str, str),
    "block_descriptions": TextField("blocks", _dump_descriptions, _parse_descriptions),
    "summary": TextField("summary", str, str),
    "links": TextField("links", _dump_links, _parse_links),
    "tools": TextField("tools", _dump_tools, _parse_tools),
    "heartbeats": TextField("heartbeats", str, str),
    "dead_notes": TextField("dead", Ranges.dump, Ranges.parse),
    "rewinds": TextField("rewinds", Rewinds.dump, Rewinds.parse),
    "forgotten": TextField("forgotten", Ranges.dump, Ranges.parse),
    "unfreed_messages": TextField("unfreed", Ranges.dump, Ranges.parse),
    "unfreed_notes": TextField("unfreed_notes", Ranges.dump, Ranges.parse),
}
"""By field name, which the state and the agent's row share; the row says which version of the text is current."""


def block_etag(reference: BlockRef) -> str:
    """An etag that changes with every write of a block."""
    return f"v{reference.text.version}-{reference.updated}"


def block_text_name(label: str) -> str:
    """Name under which a block's text is stored: short and plain, whatever the label."""
    return "b" + hashlib.sha256(label.encode()).hexdigest()[:10]


def text_references(row: AgentRow) -> dict[str, TextRef]:
    """Return the text versions that the agent's row points to, by the names under which they are stored."""
    return {
        **{text.stored_name: getattr(row, field) for field, text in TEXT_FIELDS.items()},
        **{block_text_name(reference.label): reference.text for reference in row.blocks},
    }


def used_text_ids(state: AgentState) -> set[str]:
    """Return the keys of all texts that the agent's row points to."""
    references = text_references(state.row).items()
    return {id_ for name, reference in references for id_ in text_ids(state.id, name, reference)}
