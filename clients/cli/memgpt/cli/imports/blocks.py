"""Mapping of core memory: labels, limits, and what is too long for a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from memgpt.cli.imports import names
from memgpt.cli.imports.bounded import clean
from memgpt.cli.imports.pieces import Block, Passage
from memgpt.cli.imports.report import Report
from memgpt.memory.v1.block_pb2 import Block as BlockMessage

MAX_BLOCKS = 32
MAX_VALUE = 20_000
MAX_DESCRIPTION = 1_000
_DEFAULT_LIMIT = 2_000


@dataclass(frozen=True, slots=True)
class Fitted:
    """Core memory of one agent.

    Attributes:
        blocks: At most 32 blocks with unique labels.
        notes: What did not fit, with a tag ``block:<label>`` each.
        identities: What blocks are known by there, by label, as far as other agents can have them.
    """

    blocks: list[BlockMessage] = field(default_factory=list)
    notes: list[Passage] = field(default_factory=list)
    identities: dict[str, str] = field(default_factory=dict)


def fit_blocks(blocks: Sequence[Block], where: str, report: Report) -> Fitted:
    """Return the blocks that fit, and as notes what does not.

    Args:
        blocks: Core memory of one agent, in order.
        where: The agent's place in the file.
        report: Where changes are recorded.

    Returns:
        The blocks and notes.
    """
    result = Fitted()
    fitted, notes = result.blocks, result.notes
    for block in blocks:
        place = f'{where}, block "{names.visible(block.label)[:64]}"'
        value = clean(block.value)
        if len(fitted) == MAX_BLOCKS:
            report.changed(place, "more than 32 blocks; the last ones became notes", block.label)
            notes.extend(_note(names.label(block.label), value, place))
            continue
        label = _label(block, [each.label for each in fitted], place, report)
        if len(value) > MAX_VALUE:
            report.changed(place, "rest of a block over 20,000 characters became a note", len(value) - MAX_VALUE)
            notes.extend(_note(label, value[MAX_VALUE:], place))
            value = value[:MAX_VALUE]
        if block.identity and block.identity not in result.identities.values():
            result.identities[label] = block.identity
        fitted.append(
            BlockMessage(
                label=label,
                value=value,
                limit=_limit(block, len(value), place, report),
                description=_description(block, place, report),
                read_only=block.read_only,
            )
        )
    return result


def _label(block: Block, taken: Sequence[str], place: str, report: Report) -> str:
    label = names.label(block.label)
    if label != block.label:
        report.changed(place, "label has characters that labels here do not have", f"{block.label} -> {label}")
    unique = names.numbered(label, taken, names.MAX_LABEL)
    if unique != label:
        report.changed(place, "label repeats; it got a number", f"{block.label} -> {unique}")
    return unique


def _limit(block: Block, length: int, place: str, report: Report) -> int:
    wanted = block.limit if block.limit > 0 else _DEFAULT_LIMIT
    limit = min(max(wanted, length), MAX_VALUE)
    if block.limit > 0 and limit != block.limit:
        report.changed(place, "limit of a block is over 20,000, or under its text", block.limit)
    return limit


def _description(block: Block, place: str, report: Report) -> str:
    description = clean(block.description).strip()
    if len(description) > MAX_DESCRIPTION:
        report.left_out(place, "rest of a description over 1,000 characters", description[MAX_DESCRIPTION:])
    return description[:MAX_DESCRIPTION]


def _note(label: str, text: str, place: str) -> list[Passage]:
    return [Passage(text, (f"block:{label}"[: names.MAX_TAG],), where=place)] if text.strip() else []
